using System.Net.Http.Json;

namespace Handbook.Cli.Tests;

/// <summary><c>handbook serve</c> and a collector of OpenTelemetry.</summary>
public sealed class TelemetryTests : IDisposable
{
    private readonly HandbookProcess _handbook = new();

    public void Dispose() => _handbook.Dispose();

    [Fact, Trait("speed", "slow")]
    public async Task Traces_and_numbers_go_to_the_collector_that_the_environment_names()
    {
        SmallModel.Make(_handbook);
        using var collector = new StandInCollector();
        using var server = new RunningServer(_handbook, ["model"], new Dictionary<string, string>
        {
            ["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.Address.ToString(),
            ["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf",
            ["OTEL_EXPORTER_OTLP_HEADERS"] = "x-team=sun",
            ["OTEL_RESOURCE_ATTRIBUTES"] = "deployment.environment.name=test",
            ["OTEL_LOGS_EXPORTER"] = "otlp",
        });
        using var http = new HttpClient { BaseAddress = new(server.Address, "/") };
        for (var i = 0; i < 3; i++)
            (await http.PostAsJsonAsync("v1/completions", new { model = "model", prompt = "one two", max_tokens = 4 }, TestContext.Current.CancellationToken)).EnsureSuccessStatusCode();
        var ended = server.Interrupt();        // what is left is sent at the end
        Assert.Equal(0, ended.Code);
        Assert.Contains("note: OTEL_LOGS_EXPORTER has no effect", ended.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("OTEL_EXPORTER", ended.Error, StringComparison.Ordinal);

        Assert.All(collector.Taken, taken => Assert.Equal("sun", taken.Headers["x-team"]));
        var traces = collector.Taken.Where(taken => taken.Path == "/v1/traces").SelectMany(taken => taken.Message.Messages(1)).ToArray();
        var resource = traces[0].Messages(1).Single().Attributes(1);
        Assert.Equal(("handbook", "test"), (resource["service.name"], resource["deployment.environment.name"]));
        var spans = traces.SelectMany(one => one.Messages(2)).Where(scope => scope.Messages(1).Single().Text(1) == "Handbook.Server")
            .SelectMany(scope => scope.Messages(2)).ToArray();
        Assert.Equal(3, spans.Count(span => span.Text(5) == "POST /v1/completions"));
        var work = spans.Where(span => span.Text(5) == "text_completion model").ToArray();
        Assert.Equal(3, work.Length);
        Assert.Equal(("model", 4L), (work[0].Attributes(9)["gen_ai.request.model"], work[0].Attributes(9)["gen_ai.request.max_tokens"]));
        Assert.Contains(spans, span => span.Text(5)[0] == 'P' && span.Bytes(2).Single().SequenceEqual(work[0].Bytes(4).Single()));       // its parent

        var metrics = collector.Taken.Where(taken => taken.Path == "/v1/metrics").SelectMany(taken => taken.Message.Messages(1))
            .SelectMany(one => one.Messages(2)).SelectMany(scope => scope.Messages(2)).Select(metric => metric.Text(1)).ToHashSet();
        Assert.Superset(new HashSet<string> { "http.server.request.duration", "gen_ai.server.request.duration", "gen_ai.server.time_to_first_token",
            "handbook.answer.tokens", "handbook.requests.waiting" }, metrics);
    }

    [Theory]
    [InlineData("OTEL_EXPORTER_OTLP_ENDPOINT", "nowhere", "OTEL_EXPORTER_OTLP_ENDPOINT is nowhere")]
    [InlineData("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is http/json")]
    [InlineData("OTEL_METRICS_EXPORTER", "prometheus", "OTEL_METRICS_EXPORTER is prometheus")]
    public void A_variable_that_says_nothing_is_told(string name, string value, string message)
    {
        var outcome = _handbook.Run(["serve", "model"], TimeSpan.FromMinutes(1), new Dictionary<string, string> { [name] = value });
        Assert.Equal(2, outcome.Code);
        Assert.Contains(message, outcome.Error, StringComparison.Ordinal);
    }
}
