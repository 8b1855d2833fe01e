using System.Net;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using Handbook.Models.Generation;
using Handbook.Serving;

namespace Handbook.Server.Tests;

/// <summary>What the server answers, over HTTP: it is what the model says alone.</summary>
[Collection("tensors")]
public sealed class ServedAnswersTests(ServedFixture served) : IClassFixture<ServedFixture>
{
    private static readonly object[] s_hello = [new { role = "user", content = "one two" }];

    private async Task<JsonElement> Post(string path, object body, HttpStatusCode status = HttpStatusCode.OK)
    {
        using var response = await served.Http.PostAsJsonAsync(path, body);
        var text = await response.Content.ReadAsStringAsync();
        Assert.True(status == response.StatusCode, $"{response.StatusCode}: {text}");
        return JsonElement.Parse(text);
    }

    /// <summary>Answers of the model alone, as `generate` has them.</summary>
    private string[] Alone(string model, int[] prompt, SamplingOptions sampling, int count, bool continues = false)
    {
        var one = served.Models.Find(model)!;
        var answers = new Generator(one.Network).Sample([new SampleRequest(prompt, [.. Enumerable.Range(0, count).Select(i => (long)i)])],
            sampling with { StopIds = one.Prompts.StopIds })[0];
        return [.. answers.Select(answer =>
        {
            var text = new AnswerText(one.Tokenizer, [], continues ? prompt : []);
            foreach (var token in answer.Tokens)
                text.Append(token);
            text.Finish();
            return text.Text;
        })];
    }

    private int[] ChatPrompt(string model, object messages) =>
        served.Models.Find(model)!.Prompts.EncodeChat(JsonSerializer.SerializeToElement(messages));

    [Theory, InlineData("base"), InlineData("one"), InlineData("two")]
    public async Task A_chat_is_answered_as_the_model_answers_alone(string model)
    {
        var answer = await Post("/v1/chat/completions", new { model, messages = s_hello, seed = 5, n = 3, max_tokens = 12, temperature = 1.1 });
        var expected = Alone(model, ChatPrompt(model, s_hello), new() { Seed = 5, MaxNewTokens = 12, Temperature = 1.1 }, 3);
        Assert.Equal(expected, Texts(answer));
        Assert.Equal(3, expected.Distinct().Count());
        Assert.Equal("chat.completion", answer.GetProperty("object").GetString());
        Assert.Equal(model, answer.GetProperty("model").GetString());
        var usage = answer.GetProperty("usage");
        Assert.Equal(ChatPrompt(model, s_hello).Length, usage.GetProperty("prompt_tokens").GetInt32());
        Assert.InRange(usage.GetProperty("completion_tokens").GetInt32(), 3, 36);
        Assert.All(answer.GetProperty("choices").EnumerateArray(), choice =>
            Assert.Contains(choice.GetProperty("finish_reason").GetString(), (string[])["stop", "length"]));
    }

    private static string[] Texts(JsonElement answer) => [.. answer.GetProperty("choices").EnumerateArray().Select(choice =>
        choice.TryGetProperty("message", out var message) ? message.GetProperty("content").GetString()! : choice.GetProperty("text").GetString()!)];

    [Fact]
    public async Task Adapters_are_different_models()
    {
        var said = new List<string>();
        foreach (var model in (string[])["base", "one", "two"])
            said.Add(Texts(await Post("/v1/chat/completions", new { model, messages = s_hello, temperature = 0, max_tokens = 20 }))[0]);
        Assert.Equal(3, said.Distinct().Count());
    }

    [Fact]
    public async Task A_stream_says_what_the_whole_answer_says_and_no_half_of_a_character()
    {
        for (var seed = 0; seed < 6; seed++)
        {
            var whole = await Post("/v1/chat/completions", new { model = "base", messages = s_hello, seed, n = 2, max_tokens = 40, temperature = 1.5 });
            var parts = await Stream("/v1/chat/completions",
                new { model = "base", messages = s_hello, seed, n = 2, max_tokens = 40, temperature = 1.5, stream = true, stream_options = new { include_usage = true } });
            var texts = new[] { new StringBuilder(), new StringBuilder() };
            var ends = new string?[2];
            foreach (var part in parts[..^1])
                foreach (var choice in part.GetProperty("choices").EnumerateArray())
                {
                    var i = choice.GetProperty("index").GetInt32();
                    var delta = choice.GetProperty("delta");
                    Assert.Null(ends[i]);
                    if (delta.TryGetProperty("content", out var content))
                        texts[i].Append(content.GetString());
                    ends[i] = choice.GetProperty("finish_reason").GetString();
                }
            Assert.Equal(Texts(whole), texts.Select(text => text.ToString()));
            Assert.Equal(whole.GetProperty("choices").EnumerateArray().Select(c => c.GetProperty("finish_reason").GetString()), ends);
            Assert.Equal(whole.GetProperty("usage").ToString(), parts[^1].GetProperty("usage").ToString());
            Assert.Empty(parts[^1].GetProperty("choices").EnumerateArray());
        }
    }

    private async Task<List<JsonElement>> Stream(string path, object body)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = JsonContent.Create(body) };
        using var response = await served.Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        Assert.Equal("text/event-stream", response.Content.Headers.ContentType?.MediaType);
        var lines = (await response.Content.ReadAsStringAsync()).Split("\n\n", StringSplitOptions.RemoveEmptyEntries);
        Assert.All(lines, line => Assert.StartsWith("data: ", line, StringComparison.Ordinal));
        Assert.Equal("data: [DONE]", lines[^1]);
        return [.. lines[..^1].Select(line => JsonElement.Parse(line["data: ".Length..]))];
    }

    [Fact]
    public async Task Log_probabilities_are_the_model_s_and_the_likeliest_stand_beside_them()
    {
        var answer = await Post("/v1/chat/completions",
            new { model = "base", messages = s_hello, temperature = 0, max_tokens = 5, logprobs = true, top_logprobs = 3 });
        var alone = new Generator(served.Models.Find("base")!.Network).Generate([ChatPrompt("base", s_hello)],
            new() { Temperature = 0, MaxNewTokens = 5, StopIds = served.Models.Find("base")!.Prompts.StopIds })[0];
        var tokens = answer.GetProperty("choices")[0].GetProperty("logprobs").GetProperty("content").EnumerateArray().ToArray();
        Assert.Equal(alone.LogProbs, tokens.Select(token => token.GetProperty("logprob").GetDouble()));
        Assert.All(tokens, token =>
        {
            var top = token.GetProperty("top_logprobs").EnumerateArray().ToArray();
            Assert.Equal(3, top.Length);
            Assert.Equal(token.GetProperty("token").GetString(), top[0].GetProperty("token").GetString());
        });
        var completion = await Post("/v1/completions", new { model = "base", prompt = "one two", temperature = 0, max_tokens = 4, logprobs = 2 });
        var logProbs = completion.GetProperty("choices")[0].GetProperty("logprobs");
        Assert.Equal(4, logProbs.GetProperty("token_logprobs").GetArrayLength());
        Assert.Equal(2, logProbs.GetProperty("top_logprobs")[0].EnumerateObject().Count());
        Assert.Equal(0, logProbs.GetProperty("text_offset")[0].GetInt32());
    }

    [Fact]
    public async Task A_stop_text_ends_the_answer_and_is_not_part_of_it()
    {
        var free = Texts(await Post("/v1/completions", new { model = "base", prompt = "one two", temperature = 0, max_tokens = 30 }))[0];
        var stop = free[5..8];
        var stopped = await Post("/v1/completions", new { model = "base", prompt = "one two", temperature = 0, max_tokens = 30, stop = new[] { stop } });
        Assert.Equal(free[..free.IndexOf(stop, StringComparison.Ordinal)], Texts(stopped)[0]);
        Assert.Equal("stop", stopped.GetProperty("choices")[0].GetProperty("finish_reason").GetString());
    }

    [Fact]
    public async Task Several_prompts_are_continued_at_once()
    {
        var sampling = new SamplingOptions { Seed = 9, MaxNewTokens = 6, Temperature = 1 };
        var answer = await Post("/v1/completions", new { model = "one", prompt = new[] { "one two", "the sun" }, n = 2, seed = 9, max_tokens = 6, temperature = 1 });
        var prompts = served.Models.Find("one")!.Prompts;
        Assert.Equal([.. Alone("one", prompts.EncodeText("one two"), sampling, 2, continues: true),
            .. Alone("one", prompts.EncodeText("the sun"), sampling, 2, continues: true)], Texts(answer));
        var parts = await Stream("/v1/completions",
            new { model = "one", prompt = new[] { "one two", "the sun" }, n = 2, seed = 9, max_tokens = 6, temperature = 1, stream = true });
        Assert.Equal(Texts(answer), parts.SelectMany(part => part.GetProperty("choices").EnumerateArray()).GroupBy(choice => choice.GetProperty("index").GetInt32())
            .OrderBy(group => group.Key).Select(group => string.Concat(group.Select(choice => choice.GetProperty("text").GetString()))));
        var ids = await Post("/v1/completions", new { model = "one", prompt = prompts.EncodeText("the sun"), seed = 9, max_tokens = 6, temperature = 1 });
        Assert.Equal(Texts(answer)[2], Texts(ids)[0]);
        Assert.Equal(16, (await Post("/v1/completions", new { model = "one", prompt = "one", logit_bias = new Dictionary<string, int> { ["20"] = 100 } }))
            .GetProperty("usage").GetProperty("completion_tokens").GetInt32());
    }

    [Fact]
    public async Task Texts_have_embeddings()
    {
        var both = await Post("/v1/embeddings", new { model = "base", input = new[] { "one two three", "the sun" } });
        var vectors = both.GetProperty("data").EnumerateArray().Select(item => item.GetProperty("embedding").EnumerateArray()
            .Select(x => x.GetSingle()).ToArray()).ToArray();
        Assert.All(vectors, vector => Assert.Equal(1, Math.Sqrt(vector.Sum(x => (double)x * x)), 1e-6));
        var packed = await Post("/v1/embeddings", new { model = "base", input = "the sun", encoding_format = "base64" });
        var bytes = packed.GetProperty("data")[0].GetProperty("embedding").GetBytesFromBase64();
        Assert.Equal(vectors[1], System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(bytes).ToArray());
        Assert.NotEqual(vectors[1], (await Post("/v1/embeddings", new { model = "two", input = "the sun" })).GetProperty("data")[0].GetProperty("embedding")
            .EnumerateArray().Select(x => x.GetSingle()));
    }

    [Fact]
    public async Task Models_are_listed_and_described()
    {
        var list = JsonElement.Parse(await served.Http.GetStringAsync("/v1/models"));
        Assert.Equal(["base", "one", "two"], list.GetProperty("data").EnumerateArray().Select(model => model.GetProperty("id").GetString()));
        var one = JsonElement.Parse(await served.Http.GetStringAsync("/v1/models/one"));
        Assert.Equal("base", one.GetProperty("parent").GetString());
        Assert.Equal(640, one.GetProperty("max_model_len").GetInt32());
    }

    [Fact]
    public async Task Health_and_metrics_are_told()
    {
        Assert.Equal("""{"status":"ok"}""", await served.Http.GetStringAsync("/health"));
        await Post("/v1/completions", new { model = "base", prompt = "one two", max_tokens = 3 });
        var metrics = await served.Http.GetStringAsync("/metrics");
        Assert.Contains("handbook_http_requests_total{endpoint=\"/v1/completions\",status=\"200\"}", metrics, StringComparison.Ordinal);
        Assert.Contains("handbook_first_part_seconds_bucket{le=\"+Inf\"}", metrics, StringComparison.Ordinal);
        Assert.All(metrics.Split('\n', StringSplitOptions.RemoveEmptyEntries).Where(line => line[0] != '#'), line =>
            Assert.Matches("""\A[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.eE+-]+\z""", line));
    }

    [Theory]
    [InlineData("""{"messages": []}""", "model is missing")]
    [InlineData("""{"model": "base", "messages": []}""", "at least one message")]
    [InlineData("""{"model": "base", "messages": [{"role": "poet", "content": "x"}]}""", "messages[0].role is \"poet\"")]
    [InlineData("""{"model": "base", "messages": [{"role": "user"}]}""", "messages[0].content is missing")]
    [InlineData("""{"model": "base", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}""", "type image_url")]
    [InlineData("""{"model": "base", "messages": [{"role": "user", "content": "x"}], "temperature": 1000}""", "temperature is 1000, but must lie between")]
    [InlineData("""{"model": "base", "messages": [{"role": "user", "content": "x"}], "temperature": "hot"}""", "temperature is \"hot\", but must be a number")]
    [InlineData("""{"model": "base", "messages": [{"role": "user", "content": "x"}], "temprature": 1}""", "did you mean temperature?")]
    [InlineData("""{"model": "base", "messages": [{"role": "user", "content": "x"}], "n": 99}""", "n is 99")]
    [InlineData("""{"model": "base", "messages": [{"role": "user", "content": "x"}], "top_logprobs": 2}""", "only with logprobs")]
    [InlineData("""{"model": "base", "messages": [{"role": "user", "content": "x"}], "stop": [""]}""", "stop has an empty text")]
    [InlineData("""{"model": "base", "messages": [{"role": "user", "content": "x"}], "stream_options": {}}""", "only with stream: true")]
    [InlineData("""{"model": "base", "messages": [{"role": "user", "content": "x"}], "logit_bias": {"9999": 1}}""", "is no token id of the model")]
    [InlineData("""{"model": "base", "messages": [{"role": "user", "content": "x"}], "store": true}""", "nothing is stored here")]
    [InlineData("""{"model": "base", "messages": [{"role": "user", "content": "x"}], "max_tokens": 5000}""", "more than the model's window of 640")]
    public async Task A_request_that_cannot_be_meant_is_told_what_is_wrong(string body, string message)
    {
        using var response = await served.Http.PostAsync("/v1/chat/completions", new StringContent(body, Encoding.UTF8, "application/json"));
        var error = JsonElement.Parse(await response.Content.ReadAsStringAsync()).GetProperty("error");
        Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
        Assert.Contains(message, error.GetProperty("message").GetString(), StringComparison.Ordinal);
        Assert.Equal("invalid_request_error", error.GetProperty("type").GetString());
    }
}
