using System.Net;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using Handbook.Recipes;
using Handbook.Runs;
using Handbook.Server.Dashboard;
using Handbook.Testing;
using Handbook.Training.Methods;

namespace Handbook.Server.Tests;

/// <summary>Two models side by side, and the rows that come of it.</summary>
[Collection("tensors")]
public sealed class PlaygroundTests(ServedFixture served) : IClassFixture<ServedFixture>, IAsyncLifetime
{
    private readonly TemporaryFolder _folder = new();
    private DashboardServer _server = null!;
    private HttpClient _http = null!;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    private string Base => Path.Combine(served.Folder, "base");

    public async ValueTask InitializeAsync()
    {
        Directory.CreateDirectory(_folder["runs"]);
        _server = await DashboardServer.Start(new()
        {
            Folder = _folder["runs"],
            Port = 0,
            Models = [Base, Path.Combine(served.Folder, "one"), Path.Combine(served.Folder, "two")],
        });
        _http = new() { BaseAddress = _server.Address };
    }

    public async ValueTask DisposeAsync()
    {
        _http.Dispose();
        await _server.DisposeAsync();
        _folder.Dispose();
    }

    [Fact]
    public async Task Two_models_answer_and_a_choice_becomes_a_row_that_dpo_trains_on()
    {
        var told = JsonElement.Parse(await _http.GetStringAsync("api/playground", Stop));
        Assert.Equal([Base, Path.Combine(served.Folder, "one"), Path.Combine(served.Folder, "two")],
            told.GetProperty("models").EnumerateArray().Select(name => name.GetString()!));
        Assert.Equal(0, told.GetProperty("rows").GetInt32());

        // Three models in turn, of which two are in memory; each says what it says alone.
        foreach (var adapter in (string[])["one", "two", "one"])
        {
            var (left, right) = await Ask(Base, Path.Combine(served.Folder, adapter), temperature: 0);
            Assert.Equal(await Alone("base"), left);
            Assert.Equal(await Alone(adapter), right);
        }
        // The same model draws twice.
        var (first, second) = await Ask(Base, Base, temperature: 1);
        Assert.NotEqual(first, second);

        for (var i = 1; i <= 2; i++)
        {
            using var kept = await _http.PostAsJsonAsync("api/preferences", new
            {
                messages = s_messages,
                chosen = "sun",
                rejected = $"moon {i}",
                chosen_model = "a",
                rejected_model = "b",
            }, Stop);
            Assert.Equal(i, JsonElement.Parse(await kept.Content.ReadAsStringAsync(Stop)).GetProperty("rows").GetInt32());
            if (i == 1)     // somebody's editor has taken the last line's end away
                File.WriteAllText(_folder["runs/playground.jsonl"], File.ReadAllText(_folder["runs/playground.jsonl"]).TrimEnd());
        }
        File.WriteAllText(_folder["dpo.yaml"], $"""
            model_name_or_path: {Base}
            dataset_name: {_folder["runs/playground.jsonl"]}
            output_dir: {_folder["out"]}
            eval_strategy: "no"
            per_device_train_batch_size: 2
            max_steps: 2
            logging_steps: 1
            save_strategy: "no"
            report_to: none
            """);
        Assert.True(Recipe.Load(new FileInfo(_folder["dpo.yaml"]), [], TrainingMethod.Dpo).TryGet(out var recipe, out var problems), problems.ToString());
        var result = TrainingRun.Run(recipe);
        Assert.Equal(2, result.Train!.Number("train_samples"));
    }

    [Theory]
    [InlineData("api/answers", """{"left": "nobody", "right": "nobody", "messages": [{"role": "user", "content": "x"}]}""", 404, "there is no model nobody")]
    [InlineData("api/answers", """{"left": "BASE", "right": "BASE", "messages": []}""", 400, "messages must be a list")]
    [InlineData("api/answers", """{"left": "BASE", "right": "BASE", "messages": [{"role": "user", "content": "x"}], "max_new_tokens": 0}""", 400, "max_new_tokens is 0")]
    [InlineData("api/answers", """{"left": "BASE", "right": "BASE", "messages": [{"role": "user", "content": "x"}], "more": 1}""", 400, "more is not known here")]
    [InlineData("api/preferences", """{"messages": [{"role": "user", "content": "x"}], "chosen": "a", "rejected": "a", "chosen_model": "", "rejected_model": ""}""", 400, "both answers are the same")]
    [InlineData("api/preferences", """{"messages": [{"role": "user", "content": "x"}], "chosen": " ", "rejected": "a", "chosen_model": "", "rejected_model": ""}""", 400, "one of the answers is empty")]
    [InlineData("api/preferences", """{"prompt": "", "chosen": "b", "rejected": "a", "chosen_model": "", "rejected_model": ""}""", 400, "the prompt is empty")]
    [InlineData("api/preferences", "[", 400, "the request is not JSON")]
    public async Task What_cannot_be_done_is_told_and_nothing_is_written(string path, string body, int status, string message)
    {
        using var content = new StringContent(body.Replace("BASE", Base, StringComparison.Ordinal), Encoding.UTF8, "application/json");
        using var answer = await _http.PostAsync(path, content, Stop);
        Assert.Equal(status, (int)answer.StatusCode);
        Assert.StartsWith(message, JsonElement.Parse(await answer.Content.ReadAsStringAsync(Stop)).GetProperty("error").GetString());
        Assert.False(File.Exists(_folder["runs/playground.jsonl"]));
    }

    [Fact]
    public async Task A_model_that_is_not_there_is_told_at_the_start() => Assert.Contains("--model: there is no folder nowhere",
        (await Assert.ThrowsAsync<Handbook.Base.InputException>(() => DashboardServer.Start(new()
        {
            Folder = _folder["runs"],
            Port = 0,
            Models = ["nowhere"],
        }))).Message);

    [Fact]
    public async Task A_page_of_another_site_can_neither_ask_nor_write()
    {
        const string row = """{"prompt": "x", "chosen": "a", "rejected": "b", "chosen_model": "", "rejected_model": ""}""";
        foreach (var (host, origin, type, status) in ((string?, string?, string, HttpStatusCode)[])[
            (null, "http://evil.example", "application/json", HttpStatusCode.Forbidden), (null, "null", "application/json", HttpStatusCode.Forbidden),
            ("evil.example", null, "application/json", HttpStatusCode.Forbidden), (null, null, "text/plain", HttpStatusCode.UnsupportedMediaType)])
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, "api/preferences") { Content = new StringContent(row, Encoding.UTF8, type) };
            request.Headers.Host = host;
            if (origin is not null)
                request.Headers.Add("Origin", origin);
            Assert.Equal(status, (await _http.SendAsync(request, Stop)).StatusCode);
        }
        using var large = new StringContent($"{{\"prompt\": \"{new string('x', 1_100_000)}\"}}", Encoding.UTF8, "application/json");
        Assert.Equal(HttpStatusCode.RequestEntityTooLarge, (await _http.PostAsync("api/preferences", large, Stop)).StatusCode);
        Assert.False(File.Exists(_folder["runs/playground.jsonl"]));
    }

    private static readonly object[] s_messages = [new { role = "user", content = "one two" }];

    private async Task<string> Alone(string model)
    {
        using var answer = await served.Http.PostAsJsonAsync("/v1/chat/completions", new { model, messages = s_messages, temperature = 0, max_tokens = 12 }, Stop);
        return JsonElement.Parse(await answer.Content.ReadAsStringAsync(Stop)).GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString()!;
    }

    private async Task<(string Left, string Right)> Ask(string left, string right, double temperature)
    {
        using var answer = await _http.PostAsJsonAsync("api/answers", new { left, right, messages = s_messages, temperature, seed = 7, max_new_tokens = 12 }, Stop);
        var text = await answer.Content.ReadAsStringAsync(Stop);
        Assert.True(answer.IsSuccessStatusCode, text);
        var pieces = text.Split("\n\n", StringSplitOptions.RemoveEmptyEntries).Select(line => line["data: ".Length..]).ToArray();
        Assert.Equal("[DONE]", pieces[^1]);
        var events = pieces[..^1].Select(piece => JsonElement.Parse(piece)).ToArray();
        Assert.Equal(2, events.Count(piece => piece.TryGetProperty("finish", out _)));
        string Of(string side) => string.Concat(events.Where(piece => piece.GetProperty("side").GetString() == side).Select(piece => piece.GetProperty("text").GetString()));
        return (Of("left"), Of("right"));
    }
}
