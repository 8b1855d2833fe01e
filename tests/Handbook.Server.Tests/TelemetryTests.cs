using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Net.Http.Json;

namespace Handbook.Server.Tests;

/// <summary>What a server tells of its requests, by the names of OpenTelemetry's conventions.</summary>
[Collection("tensors")]
public sealed class TelemetryTests(ServedFixture served) : IClassFixture<ServedFixture>
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_request_is_a_span_with_what_it_asks_of_a_model_below()
    {
        var (spans, numbers) = (new ConcurrentQueue<Activity>(), new ConcurrentQueue<(string Name, double Value, Dictionary<string, object?> Tags)>());
        using var listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == Telemetry.Name,
            Sample = (ref _) => ActivitySamplingResult.AllDataAndRecorded,
            ActivityStopped = spans.Enqueue,
        };
        ActivitySource.AddActivityListener(listener);
        using var meters = new MeterListener
        {
            InstrumentPublished = (instrument, meter) =>
            {
                if (instrument.Meter.Name == Telemetry.Name)
                    meter.EnableMeasurementEvents(instrument);
            },
        };
        meters.SetMeasurementEventCallback<double>((instrument, value, tags, _) =>
            numbers.Enqueue((instrument.Name, value, tags.ToArray().ToDictionary(tag => tag.Key, tag => tag.Value))));
        meters.Start();

        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/chat/completions")
        {
            Content = JsonContent.Create(new { model = "one", messages = new[] { new { role = "user", content = "one two" } }, max_tokens = 5, seed = 3, stop = "zzz", logit_bias = Ends() }),
        };
        request.Headers.Add("traceparent", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01");
        using var answer = await served.Http.SendAsync(request, Stop);
        await answer.Content.ReadAsStringAsync(Stop);
        var (http, work) = await Two(spans);
        Assert.Equal(("POST /v1/chat/completions", ActivityKind.Server), (http.DisplayName, http.Kind));
        Assert.Equal(("0123456789abcdef0123456789abcdef", "0123456789abcdef"), (http.TraceId.ToHexString(), http.ParentSpanId.ToHexString()));
        Assert.Equal(200, http.GetTagItem("http.response.status_code"));
        Assert.Equal("/v1/chat/completions", http.GetTagItem("http.route"));
        Assert.Equal(("chat one", http.SpanId), (work.DisplayName, work.ParentSpanId));
        foreach (var (name, value) in ((string, object)[])[("gen_ai.operation.name", "chat"), ("gen_ai.provider.name", "handbook"), ("gen_ai.request.model", "one"),
            ("gen_ai.response.model", "one"), ("gen_ai.request.max_tokens", 5), ("gen_ai.request.seed", 3L), ("gen_ai.request.temperature", 1.0),
            ("gen_ai.usage.output_tokens", 5)])
            Assert.Equal(value, work.GetTagItem(name));
        Assert.Equal(["length"], (string[])work.GetTagItem("gen_ai.response.finish_reasons")!);
        Assert.Equal(["zzz"], (string[])work.GetTagItem("gen_ai.request.stop_sequences")!);
        Assert.StartsWith("chatcmpl-", (string)work.GetTagItem("gen_ai.response.id")!, StringComparison.Ordinal);
        foreach (var name in (string[])["http.server.request.duration", "gen_ai.server.request.duration", "gen_ai.server.time_to_first_token", "gen_ai.server.time_per_output_token"])
        {
            var number = Assert.Single(numbers, number => number.Name == name);
            Assert.InRange(number.Value, 1e-9, 60);
            if (name[0] == 'g')
                Assert.Equal(("chat", "one"), (number.Tags["gen_ai.operation.name"], number.Tags["gen_ai.request.model"]));
        }

        // What is refused has no work; nothing that a client writes becomes the name of a span.
        spans.Clear();
        using var strange = new HttpRequestMessage(new HttpMethod("SUN"), "/v1/nothing/secret");
        Assert.Equal(404, (int)(await served.Http.SendAsync(strange, Stop)).StatusCode);
        for (var i = 0; i < 100 && spans.IsEmpty; i++)
            await Task.Delay(20, Stop);
        var refused = Assert.Single(spans);
        Assert.Equal(("_OTHER", 404), (refused.DisplayName, refused.GetTagItem("http.response.status_code")));
        Assert.Null(refused.GetTagItem("http.route"));
    }

    // End tokens do not come, so that there are as many tokens as were asked for.
    private Dictionary<string, int> Ends() => served.Models.All[0].Prompts.StopIds.ToDictionary(id => $"{id}", _ => -100);

    // The answer is there before its span has ended.
    private static async Task<(Activity Http, Activity Work)> Two(ConcurrentQueue<Activity> spans)
    {
        for (var i = 0; i < 100 && spans.Count < 2; i++)
            await Task.Delay(20, Stop);
        return (spans.Single(span => span.Kind == ActivityKind.Server), spans.Single(span => span.Kind == ActivityKind.Internal));
    }
}
