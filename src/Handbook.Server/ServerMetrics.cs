using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using System.Globalization;
using System.Text;
using Handbook.Models.Serving;
using Handbook.Training;

namespace Handbook.Server;

/// <summary>Numbers for whoever watches the server: in Prometheus' text form, and for OpenTelemetry by the names of its conventions.</summary>
internal sealed class ServerMetrics : IDisposable
{
    private static readonly double[] s_http = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 120, 300];
    private static readonly double[] s_work = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
    private static readonly double[] s_first = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];
    private static readonly double[] s_token = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5];

    private readonly ConcurrentDictionary<(string Endpoint, int Status), long> _requests = [];
    private readonly EngineStatistics _engine;
    private readonly Meter _meter = new(Telemetry.Name, RunInfo.Version);

    public ServerMetrics(EngineStatistics engine)
    {
        _engine = engine;
        HttpDuration = Seconds("http.server.request.duration", "Duration of HTTP server requests.", s_http);
        Duration = Seconds("gen_ai.server.request.duration", "Duration of requests of models.", s_work);
        TimeToFirstToken = Seconds("gen_ai.server.time_to_first_token", "Time until the first token of an answer.", s_first);
        TimePerToken = Seconds("gen_ai.server.time_per_output_token", "Time of each token of an answer after the first.", s_token);
        _meter.CreateObservableCounter("handbook.prompt.tokens", () => engine.PromptTokens, "{token}", "Tokens of prompts.");
        _meter.CreateObservableCounter("handbook.prompt.tokens.reused", () => engine.ReusedTokens, "{token}",
            "Tokens of prompts that were known from earlier texts.");
        _meter.CreateObservableCounter("handbook.answer.tokens", () => engine.AnswerTokens, "{token}", "Tokens of answers.");
        _meter.CreateObservableCounter("handbook.steps", () => engine.Steps, "{step}", "Passes through the network.");
        _meter.CreateObservableUpDownCounter("handbook.requests.waiting", () => engine.Waiting, "{request}", "Requests that wait.");
        _meter.CreateObservableUpDownCounter("handbook.answers.running", () => engine.Running, "{answer}", "Answers that are being made.");
        _meter.CreateObservableUpDownCounter("handbook.cache.memory", () => engine.CacheBytes, "By", "Bytes of keys and values.");
    }

    /// <summary>Of every request; s.</summary>
    public Histogram<double> HttpDuration { get; }

    /// <summary>Of requests that ask a model; s.</summary>
    public Histogram<double> Duration { get; }

    /// <summary>From a request to its first token; s.</summary>
    public Histogram<double> TimeToFirstToken { get; }

    /// <summary>Of each token after the first; s.</summary>
    public Histogram<double> TimePerToken { get; }

    /// <summary>Seconds from a request to the first part of its answer.</summary>
    public Histogram FirstPart { get; } = new();

    /// <summary>Seconds from a request to its end.</summary>
    public Histogram Whole { get; } = new();

    public void Count(string endpoint, int status) => _requests.AddOrUpdate((endpoint, status), 1, (_, count) => count + 1);

    public void Dispose() => _meter.Dispose();

    private Histogram<double> Seconds(string name, string about, double[] bounds) =>
        _meter.CreateHistogram(name, "s", about, advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = bounds });

    public string Write()
    {
        var (text, engine) = (new StringBuilder(), _engine);
        Head("handbook_http_requests_total", "counter", "Requests by endpoint and status.");
        foreach (var ((endpoint, status), count) in _requests.OrderBy(pair => pair.Key))
            text.Append(CultureInfo.InvariantCulture,
                $"handbook_http_requests_total{{endpoint=\"{endpoint}\",status=\"{status}\"}} {count}\n");
        One("handbook_requests_taken_total", "counter", "Requests that the engine took.", engine.Requests);
        One("handbook_requests_refused_total", "counter", "Requests that were refused because too many waited.", engine.Refused);
        One("handbook_requests_waiting", "gauge", "Requests that wait.", engine.Waiting);
        One("handbook_answers_running", "gauge", "Answers that are being made.", engine.Running);
        One("handbook_prompt_tokens_total", "counter", "Tokens of prompts.", engine.PromptTokens);
        One("handbook_prompt_tokens_reused_total", "counter", "Tokens of prompts that were known from earlier texts.", engine.ReusedTokens);
        One("handbook_answer_tokens_total", "counter", "Tokens of answers.", engine.AnswerTokens);
        One("handbook_steps_total", "counter", "Passes through the network.", engine.Steps);
        One("handbook_cache_bytes", "gauge", "Bytes of keys and values.", engine.CacheBytes);
        One("handbook_cache_texts", "gauge", "Earlier texts whose keys and values are kept.", engine.Kept);
        FirstPart.Write(text, "handbook_first_part_seconds", "Seconds from a request to the first part of its answer.");
        Whole.Write(text, "handbook_request_seconds", "Seconds from a request to its end.");
        return text.ToString();

        void Head(string name, string kind, string help) => text.Append($"# HELP {name} {help}\n# TYPE {name} {kind}\n");

        void One(string name, string kind, string help, long value)
        {
            Head(name, kind, help);
            text.Append(CultureInfo.InvariantCulture, $"{name} {value}\n");
        }
    }
}

/// <summary>How many of some durations are below each of some bounds.</summary>
internal sealed class Histogram
{
    private static readonly double[] s_bounds = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];

    private readonly Lock _lock = new();
    private readonly long[] _counts = new long[s_bounds.Length + 1];
    private double _sum;

    public void Add(double seconds)
    {
        var bound = Array.FindIndex(s_bounds, bound => seconds <= bound);
        lock (_lock)
        {
            _counts[bound < 0 ? s_bounds.Length : bound]++;
            _sum += seconds;
        }
    }

    public void Write(StringBuilder text, string name, string help)
    {
        text.Append($"# HELP {name} {help}\n# TYPE {name} histogram\n");
        lock (_lock)
        {
            var count = 0L;
            for (var i = 0; i <= s_bounds.Length; i++)
            {
                count += _counts[i];
                var bound = i < s_bounds.Length ? s_bounds[i].ToString(CultureInfo.InvariantCulture) : "+Inf";
                text.Append(CultureInfo.InvariantCulture, $"{name}_bucket{{le=\"{bound}\"}} {count}\n");
            }
            text.Append(CultureInfo.InvariantCulture, $"{name}_sum {_sum}\n{name}_count {count}\n");
        }
    }
}
