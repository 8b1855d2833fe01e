using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using Handbook.Models.Serving;

namespace Handbook.Server;

/// <summary>One request's way to its first part and to its end.</summary>
internal sealed class RequestClock(ServerMetrics metrics)
{
    private readonly long _start = Stopwatch.GetTimestamp();
    private bool _hasHeard;

    /// <summary>A part of an answer is there; the first counts.</summary>
    public void Heard()
    {
        if (_hasHeard)
            return;
        _hasHeard = true;
        metrics.FirstPart.Add(Stopwatch.GetElapsedTime(_start).TotalSeconds);
    }

    public void Done(string endpoint, int status)
    {
        metrics.Count(endpoint, status);
        metrics.Whole.Add(Stopwatch.GetElapsedTime(_start).TotalSeconds);
    }
}

/// <summary>Numbers for whoever watches the server, in Prometheus' text form.</summary>
internal sealed class ServerMetrics
{
    private readonly ConcurrentDictionary<(string Endpoint, int Status), long> _requests = [];

    /// <summary>Seconds from a request to the first part of its answer.</summary>
    public Histogram FirstPart { get; } = new();

    /// <summary>Seconds from a request to its end.</summary>
    public Histogram Whole { get; } = new();

    public void Count(string endpoint, int status) => _requests.AddOrUpdate((endpoint, status), 1, (_, count) => count + 1);

    public string Write(EngineStatistics engine)
    {
        var text = new StringBuilder();
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
