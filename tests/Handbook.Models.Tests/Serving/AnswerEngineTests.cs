using System.Collections.Concurrent;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Models.Files;
using Handbook.Models.Generation;
using Handbook.Models.Serving;
using Handbook.Testing;
using Handbook.Torch;

namespace Handbook.Models.Tests.Serving;

[Collection("tensors")]
public sealed class AnswerEngineTests
{
    /// <summary>Prompts of many lengths; every other begins as others do.</summary>
    private static int[] Prompt(int i) =>
        [.. i % 2 == 0 ? Enumerable.Range(0, 20 + i % 3 * 9).Select(j => 5 * j % 17) : [], .. Enumerable.Range(0, 1 + 5 * i % 13).Select(j => (7 * i + 3 * j + 1) % 19)];

    private static SamplingOptions Sampling(int i) => new()
    {
        MaxNewTokens = 3 + i * 7 % 23,
        Temperature = i % 4 == 0 ? 0 : 1.2,
        TopP = i % 3 == 0 ? 0.9 : 1,
        TopK = i % 5 == 0 ? 7 : 0,
        RepetitionPenalty = i % 7 == 0 ? 1.2 : 1,
        PresencePenalty = i % 6 == 1 ? 0.7 : 0,
        FrequencyPenalty = i % 6 == 2 ? 0.4 : 0,
        Seed = i,
        StopIds = [3],
        TopLogProbs = i % 3,
    };

    private static Answer[] Alone(Decoder model, int i, int count) =>
        new Generator(model).Sample([new SampleRequest(Prompt(i), [.. Enumerable.Range(0, count).Select(k => (long)k)])], Sampling(i))[0];

    [Theory, InlineData("llama", 16), InlineData("llama", 3), InlineData("mixtral", 16), InlineData("window", 7)]
    public async Task Every_answer_has_the_bits_that_it_has_alone(string kind, int rows)
    {
        using var model = Model(kind switch
        {
            "llama" => Some.Llama(),
            "mixtral" => Some.Mixtral(),
            _ => Some.Llama(("model_type", "mistral"), ("sliding_window", 9)),
        });
        const int requests = 40;
        var expected = Enumerable.Range(0, requests).Select(i => Alone(model, i, 1 + i % 3)).ToArray();
        using var engine = new AnswerEngine(new() { MaxRows = rows, MaxWaiting = requests, TokensAtOnce = 11 });
        var asked = Enumerable.Range(0, requests).Select(i => Task.Run(() => Ask(engine, model, i, 1 + i % 3))).ToArray();
        for (var i = 0; i < requests; i++)
            AssertSame(expected[i], await asked[i]);
        // All of it once more, from what is kept.
        var before = engine.Statistics.ReusedTokens;
        for (var i = 0; i < requests; i += 4)
            AssertSame(expected[i], await Ask(engine, model, i, 1 + i % 3));
        Assert.True(before > 0 && engine.Statistics.ReusedTokens > before, "nothing was shared");
    }

    [Fact]
    public async Task A_conversation_reads_only_what_is_new()
    {
        using var model = Model(Some.Llama());
        using var engine = new AnswerEngine(new());
        var text = Enumerable.Range(0, 30).Select(i => i * 3 % 19).ToArray();
        for (var turn = 0; turn < 4; turn++)
        {
            var sampling = new SamplingOptions { MaxNewTokens = 9, Seed = turn };
            var before = engine.Statistics.ReusedTokens;
            var answer = (await Ask(engine, model, text, sampling, 1))[0];
            AssertSame(new Generator(model).Sample([new SampleRequest(text, [0])], sampling)[0], [answer]);
            // all but the last token of the answer was read, and the new turn's
            Assert.Equal(turn == 0 ? 0 : text.Length - 5 - 1, engine.Statistics.ReusedTokens - before);
            text = [.. text, .. answer.Tokens, 1, 2, 3, 4, 5];
        }
    }

    [Fact]
    public async Task Memory_stays_below_its_bound_and_is_given_back()
    {
        using var model = Model(Some.Llama());
        var live = Tensor.LiveCount;
        var token = KeyValueCache.BytesPerToken(model.Config, DType.Float32);
        using (var engine = new AnswerEngine(new() { CacheBytes = 400 * token, MaxWaiting = 100 }))
        {
            var asked = Enumerable.Range(0, 60).Select(i => Task.Run(() => Ask(engine, model, i, 1))).ToArray();
            while (!Task.WhenAll(asked).IsCompleted)
            {
                Assert.InRange(engine.Statistics.CacheBytes, 0, 400 * token);
                await Task.Delay(1);
            }
            await Task.WhenAll(asked);
            Assert.Contains("keys and values", Assert.Throws<InputException>(() => engine.Submit(Request(model, Prompt(0),
                new SamplingOptions { MaxNewTokens = 1000 }, 1))).What, StringComparison.Ordinal);
        }
        Assert.Equal(live, Tensor.LiveCount);
    }

    [Fact]
    public async Task A_client_that_leaves_makes_room_and_a_full_queue_refuses()
    {
        using var model = Model(Some.Llama());
        var live = Tensor.LiveCount;
        using (var engine = new AnswerEngine(new() { MaxRows = 2, MaxWaiting = 2 }))
        {
            using var leaves = new CancellationTokenSource();
            var endless = new SamplingOptions { MaxNewTokens = 1_000_000 };
            var heard = new TaskCompletionSource();
            var first = new Waiting(3);
            engine.Submit(first.Request(model, [1, 2], endless, leaves.Token, () => heard.TrySetResult()));     // two of its three answers run
            await heard.Task;
            var second = new Waiting(1);
            engine.Submit(second.Request(model, [4], endless with { MaxNewTokens = 3 }, default));
            var busy = Assert.Throws<EngineBusyException>(() => engine.Submit(Request(model, [5], endless, 1)));
            Assert.InRange(busy.RetryAfter.TotalSeconds, 1, 60);
            Assert.Equal(1, engine.Statistics.Refused);
            leaves.Cancel();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => first.Done);
            Assert.Equal(3, (await second.Done)[0].Tokens.Length);
        }
        Assert.Equal(live, Tensor.LiveCount);
    }

    [Fact]
    public async Task A_stopped_engine_says_so_to_everybody()
    {
        using var model = Model(Some.Llama());
        var engine = new AnswerEngine(new() { MaxRows = 1 });
        var asked = Enumerable.Range(0, 5).Select(_ => Ask(engine, model, [1, 2], new() { MaxNewTokens = 1_000_000 }, 1)).ToArray();
        engine.Dispose();
        foreach (var one in asked)
            await Assert.ThrowsAsync<EngineStoppedException>(() => one);
        Assert.Throws<EngineStoppedException>(() => engine.Submit(Request(model, [1], new(), 1)));
    }

    [Fact]
    public async Task Weights_that_are_not_numbers_fail_their_request_alone()
    {
        using var broken = Model(Some.Llama(), scale: float.NaN);
        using var model = Model(Some.Llama());
        using var engine = new AnswerEngine(new());
        var (bad, good) = (Ask(engine, broken, [1, 2], new() { MaxNewTokens = 5 }, 2), Ask(engine, model, 3, 2));
        Assert.Contains("not numbers", (await Assert.ThrowsAsync<InputException>(() => bad)).What, StringComparison.Ordinal);
        AssertSame(Alone(model, 3, 2), await good);
    }

    [Fact]
    public async Task The_likeliest_tokens_are_told()
    {
        using var model = Model(Some.Llama());
        using var engine = new AnswerEngine(new());
        var heard = new List<DrawnToken>();
        var done = new Waiting(1);
        engine.Submit(done.Request(model, [1, 2, 3], new() { Temperature = 0, MaxNewTokens = 4, TopLogProbs = 3 }, default, drawn: heard.Add));
        await done.Done;
        foreach (var token in heard)
        {
            Assert.Equal(3, token.Likeliest.Length);
            Assert.Equal(new TokenScore(token.Token, token.LogProb), token.Likeliest[0]);       // at temperature 0 it is the first
            Assert.True(token.Likeliest[0].LogProb >= token.Likeliest[1].LogProb && token.Likeliest[1].LogProb >= token.Likeliest[2].LogProb);
        }
    }

    [Fact]
    public async Task A_bias_decides_and_penalties_change_what_is_said_again()
    {
        using var model = Model(Some.Llama());
        using var engine = new AnswerEngine(new());
        var greedy = new SamplingOptions { Temperature = 0, MaxNewTokens = 6 };
        Assert.Equal((int[])[7, 7, 7, 7, 7, 7], (await Ask(engine, model, [1], greedy with { LogitBias = new Dictionary<int, double> { [7] = 1000 } }, 1))[0].Tokens);
        var varied = (await Ask(engine, model, [1], greedy with { PresencePenalty = 1000 }, 1))[0].Tokens;
        Assert.Equal(6, varied.Distinct().Count());
        Assert.Equal(varied, (await Ask(engine, model, [1], greedy with { FrequencyPenalty = 1000 }, 1))[0].Tokens);
    }

    private static Task<Answer[]> Ask(AnswerEngine engine, Decoder model, int i, int count) => Ask(engine, model, Prompt(i), Sampling(i), count);

    private static Task<Answer[]> Ask(AnswerEngine engine, Decoder model, int[] prompt, SamplingOptions sampling, int count)
    {
        var waiting = new Waiting(count);
        engine.Submit(waiting.Request(model, prompt, sampling, default));
        return waiting.Done;
    }

    private static EngineRequest Request(Decoder model, int[] prompt, SamplingOptions sampling, int count) =>
        new Waiting(count).Request(model, prompt, sampling, default);

    /// <summary>The answers of one request.</summary>
    private sealed class Waiting(int count)
    {
        private readonly TaskCompletionSource<Answer[]> _done = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly Answer[] _answers = new Answer[count];
        private readonly ConcurrentQueue<int>[] _heard = [.. Enumerable.Range(0, count).Select(_ => new ConcurrentQueue<int>())];

        public Task<Answer[]> Done => _done.Task;

        public EngineRequest Request(Decoder model, int[] prompt, SamplingOptions sampling, CancellationToken cancel, Action? first = null,
            Action<DrawnToken>? drawn = null) => new()
            {
                Model = model,
                Tokens = prompt,
                Sampling = sampling,
                Count = count,
                Cancel = cancel,
                OnToken = (answer, token) =>
                {
                    _heard[answer].Enqueue(token.Token);
                    first?.Invoke();
                    drawn?.Invoke(token);
                    return true;
                },
                OnAnswer = (place, answer) =>
                {
                    Assert.Equal(answer.Tokens, _heard[place]);
                    _answers[place] = answer;
                },
                OnEnd = failure =>
                {
                    if (failure is null)
                        _done.SetResult(_answers);
                    else
                        _done.SetException(failure);
                },
            };
    }

    private static void AssertSame(IEnumerable<Answer> expected, IEnumerable<Answer> actual)
    {
        Assert.Equal(expected.Select(a => a.Tokens), actual.Select(a => a.Tokens));
        Assert.Equal(expected.Select(a => a.LogProbs), actual.Select(a => a.LogProbs));
        Assert.Equal(expected.Select(a => (a.Finish, a.EndToken, a.EndLogProb)), actual.Select(a => (a.Finish, a.EndToken, a.EndLogProb)));
    }

    private static Decoder Model(PublishedConfig config, float scale = 0.5f)
    {
        using var folder = new TemporaryFolder();
        var json = (JsonObject)config.Json.DeepClone();
        json["initializer_range"] = float.IsNaN(scale) ? 0.5f : scale;
        config = PublishedConfig.Parse(System.Text.Encoding.UTF8.GetBytes(json.ToJsonString()), "config.json");
        WeightFilesWriter.Save(folder.Path, NewModel.Tensors(config, 11, DType.Float32));
        using var weights = ModelWeights.Open(folder.Path, config, fused: true);
        var model = Decoder.Load(weights, ParameterPlan.Frozen(weights, DType.Float32));
        if (float.IsNaN(scale))
            model.Parameters["final_norm.weight"].Value.FillInPlace(scale);
        return model;
    }
}
