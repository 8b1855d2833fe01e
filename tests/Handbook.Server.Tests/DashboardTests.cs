using System.Net;
using System.Text.Json;
using Handbook.Server.Dashboard;
using Handbook.Testing;
using Handbook.Training;

namespace Handbook.Server.Tests;

/// <summary>The dashboard: what it answers, what it refuses, and what it writes.</summary>
public sealed class DashboardTests : IAsyncLifetime
{
    private readonly TemporaryFolder _folder = new();
    private DashboardServer _server = null!;
    private HttpClient _http = null!;

    public async ValueTask InitializeAsync()
    {
        Make("runs/first", "sft", 40, 2);
        Make("runs/sweep/second <b>", "dpo", 20, 1);
        _server = await DashboardServer.Start(new() { Folder = _folder["runs"], Port = 0 });
        _http = new() { BaseAddress = _server.Address };
    }

    public async ValueTask DisposeAsync()
    {
        _http.Dispose();
        await _server.DisposeAsync();
        _folder.Dispose();
    }

    [Fact]
    public async Task Runs_are_told_as_they_stand_now()
    {
        var runs = (await Get("api/runs")).GetProperty("runs");
        Assert.Equal(["first", "sweep/second <b>"], runs.EnumerateArray().Select(run => run.GetProperty("id").GetString()!));
        Assert.Equal("stopped", runs[0].GetProperty("standing").GetString());
        Assert.Equal(0.05, runs[0].GetProperty("latest").GetProperty("loss").GetDouble());
        var run = await Get("api/run?id=first");
        Assert.Equal(40, run.GetProperty("step").GetInt32());
        Assert.Equal(20, run.GetProperty("series").GetProperty("loss").GetArrayLength());
        Assert.Equal([2, 1], run.GetProperty("series").GetProperty("loss")[0].EnumerateArray().Select(number => number.GetDouble()));

        using (RunLock.Take(_folder["runs/first"], "sft recipe.yaml"))
        {
            File.AppendAllText(_folder["runs/first/metrics.jsonl"], """{"step": 42, "loss": 0.01}""" + "\n");
            var now = await Get("api/run?id=first");
            Assert.Equal(("training", 42), (now.GetProperty("standing").GetString(), now.GetProperty("step").GetInt32()));
        }
        // A new run appears; one whose file is damaged does not hide the others.
        Make("runs/third", "kto", 4, 2);
        File.WriteAllText(_folder["runs/first/run.json"], "{");
        runs = (await Get("api/runs")).GetProperty("runs");
        Assert.Equal(3, runs.GetArrayLength());
        Assert.Contains("run.json is broken", runs[0].GetProperty("error").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_long_curve_is_sent_in_as_many_points_as_a_screen_shows()
    {
        Make("runs/long", "sft", 10_000, 1);
        var points = (await Get("api/run?id=long")).GetProperty("series").GetProperty("loss");
        Assert.Equal(2000, points.GetArrayLength());
        Assert.Equal(10_000, points[1999][0].GetDouble());
        Assert.Equal(Enumerable.Range(1, 5).Average(step => 2.0 / step), points[0][1].GetDouble(), 1e-12);
    }

    [Fact]
    public async Task Files_of_a_run_are_read_and_no_others()
    {
        Assert.Contains("num_train_epochs", (await Get("api/run?id=first&part=recipe")).GetProperty("text").GetString(), StringComparison.Ordinal);
        File.WriteAllText(_folder["secret.txt"], "secret");
        foreach (var id in (string[])["../", "..", "first/../..", "/etc", "first%00", "nothing", ""])
            Assert.Equal(HttpStatusCode.NotFound, (await _http.GetAsync($"api/run?id={Uri.EscapeDataString(id)}&part=recipe", Stop)).StatusCode);
        foreach (var path in (string[])["../secret.txt", "%2e%2e/secret.txt", "run.json", "api/run?id=first&part=../secret", "app.js/../../secret.txt"])
            Assert.Equal(HttpStatusCode.NotFound, (await _http.GetAsync(path, Stop)).StatusCode);
        using var post = new StringContent("x");
        Assert.Equal(HttpStatusCode.MethodNotAllowed, (await _http.PostAsync("api/runs", post, Stop)).StatusCode);
    }

    [Fact]
    public async Task A_page_of_another_site_reads_nothing()
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, "api/runs");
        request.Headers.Host = "evil.example:80";
        Assert.Equal(HttpStatusCode.Forbidden, (await _http.SendAsync(request, Stop)).StatusCode);
        var page = await _http.GetAsync("", Stop);
        Assert.Contains("default-src 'none'", page.Headers.GetValues("Content-Security-Policy").Single(), StringComparison.Ordinal);
        Assert.False(page.Headers.Contains("Access-Control-Allow-Origin"));
        foreach (var part in (string[])["", "app.js", "charts.js", "playground.js", "samples.js", "app.css"])
            Assert.DoesNotContain("http", (await _http.GetStringAsync(part, Stop)).Replace("http://www.w3.org/2000/svg", "", StringComparison.Ordinal),
                StringComparison.Ordinal);
    }

    private async Task<JsonElement> Get(string path)
    {
        using var answer = JsonDocument.Parse(await _http.GetStringAsync(path, Stop));
        return answer.RootElement.Clone();
    }

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    private void Make(string name, string method, int steps, int every)
    {
        Directory.CreateDirectory(_folder[name]);
        File.WriteAllText(_folder[$"{name}/run.json"], $$"""{"method": "{{method}}", "starts": [{"at": "2026-01-01T00:00:00Z", "from_step": 0}]}""");
        File.WriteAllText(_folder[$"{name}/training_args.json"], $$"""{"max_steps": {{steps}}, "model_name_or_path": "base"}""");
        File.WriteAllText(_folder[$"{name}/recipe.yaml"], "num_train_epochs: 1  # the default\n");
        File.WriteAllLines(_folder[$"{name}/metrics.jsonl"], Enumerable.Range(1, steps / every).Select(i => FormattableString.Invariant(
            $$"""{"step": {{i * every}}, "epoch": {{i * 0.01}}, "loss": {{2.0 / (i * every)}}, "eval_loss": {{3.0 / (i * every)}}}""")));
    }
}
