using System.Diagnostics;
using System.Globalization;
using Handbook.Models.Generation;
using Handbook.Serving;
using Handbook.Training;
using Microsoft.AspNetCore.Http;

namespace Handbook.Server;

/// <summary>One request's way to its first part and to its end: what is counted, measured and traced of it.</summary>
/// <remarks>Names of spans and attributes are those of OpenTelemetry's semantic conventions for HTTP and for generative AI.</remarks>
internal sealed class RequestClock
{
    private const string Provider = "handbook";

    private static readonly string[] s_methods = ["GET", "POST", "OPTIONS", "HEAD", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT"];

    private static readonly ActivitySource s_source = new(Telemetry.Name, RunInfo.Version);

    private readonly ServerMetrics _metrics;
    private readonly long _start = Stopwatch.GetTimestamp();
    private readonly string _method, _scheme;
    private readonly Activity? _request;
    private readonly List<string> _finishes = [];
    private Activity? _work;
    private (string Operation, string Model)? _asked;
    private IReadOnlyList<AnswerRun> _runs = [];
    private long _first;

    /// <summary>Begins with the head of a request, whose <c>traceparent</c> says which trace it belongs to.</summary>
    public RequestClock(ServerMetrics metrics, HttpRequest request)
    {
        (_metrics, _scheme) = (metrics, request.Scheme);
        _method = s_methods.Contains(request.Method) ? request.Method : "_OTHER";
        _ = ActivityContext.TryParse(request.Headers["traceparent"].ToString(), request.Headers["tracestate"].ToString(), isRemote: true,
            out var parent);
        _request = s_source.StartActivity(_method, ActivityKind.Server, parent);
        _request?.SetTag("http.request.method", _method).SetTag("url.scheme", _scheme).SetTag("url.path", request.Path.Value)
            .SetTag("server.address", request.Host.Host).SetTag("server.port", request.Host.Port);
    }

    /// <summary>What is asked of which model.</summary>
    /// <param name="operation"><c>chat</c>, <c>text_completion</c> or <c>embeddings</c>.</param>
    /// <param name="model">Its name.</param>
    /// <param name="settings">How answers are drawn; null where none are.</param>
    /// <param name="id">Of the response; null where it has none.</param>
    /// <param name="runs">The answers, one for each prompt.</param>
    public void Asks(string operation, string model, AnswerSettings? settings = null, string? id = null,
        params IReadOnlyList<AnswerRun> runs)
    {
        (_asked, _runs) = ((operation, model), runs);
        _work = s_source.StartActivity($"{operation} {model}", ActivityKind.Internal, _request?.Context ?? default);
        if (_work is null)
            return;
        foreach (var (name, value) in Attributes())
            _work.SetTag(name, value);
        _work.SetTag("gen_ai.response.id", id);
        if (settings?.Sampling is not { } sampling)
            return;
        _work.SetTag("gen_ai.request.max_tokens", sampling.MaxNewTokens).SetTag("gen_ai.request.choice.count", settings.Count)
            .SetTag("gen_ai.request.temperature", sampling.Temperature).SetTag("gen_ai.request.top_p", sampling.TopP)
            .SetTag("gen_ai.request.top_k", sampling.TopK).SetTag("gen_ai.request.seed", sampling.Seed)
            .SetTag("gen_ai.request.presence_penalty", sampling.PresencePenalty)
            .SetTag("gen_ai.request.frequency_penalty", sampling.FrequencyPenalty);
        if (settings.Stops.Count > 0)
            _work.SetTag("gen_ai.request.stop_sequences", settings.Stops.ToArray());
    }

    /// <summary>A part of an answer is there; the first counts.</summary>
    public void Heard()
    {
        if (_first != 0)
            return;
        _first = Stopwatch.GetTimestamp();
        _metrics.FirstPart.Add(Stopwatch.GetElapsedTime(_start, _first).TotalSeconds);
    }

    /// <inheritdoc cref="Heard()"/>
    public void Heard(AnswerPiece piece)
    {
        Heard();
        if (piece.Finish is { } finish)
            _finishes.Add(finish);
    }

    /// <summary>The request is over.</summary>
    /// <param name="endpoint">Its route.</param>
    /// <param name="status">The HTTP status.</param>
    public void Done(string endpoint, int status)
    {
        var seconds = Stopwatch.GetElapsedTime(_start).TotalSeconds;
        _metrics.Count(endpoint, status);
        _metrics.Whole.Add(seconds);
        // Only the server's own faults are the server's; 499 is a client that has left.
        var error = status >= 500 ? status.ToString(CultureInfo.InvariantCulture) : null;
        if (_asked is not null)
            Finish(seconds, status >= 400 ? status.ToString(CultureInfo.InvariantCulture) : null);
        var tags = new TagList
        {
            { "http.request.method", _method },
            { "url.scheme", _scheme },
            { "http.response.status_code", status },
        };
        if (endpoint != "other")
            tags.Add("http.route", endpoint);
        if (error is not null)
            tags.Add("error.type", error);
        _metrics.HttpDuration.Record(seconds, tags);
        if (_request is null)
            return;
        _request.DisplayName = endpoint == "other" ? _method : $"{_method} {endpoint}";
        foreach (var (name, value) in tags)
            _request.SetTag(name, value);
        if (error is not null)
            _request.SetStatus(ActivityStatusCode.Error);
        _request.Dispose();
    }

    private void Finish(double seconds, string? error)
    {
        var tokens = _runs.Sum(run => run.AnswerTokens);
        TagList tags = [.. Attributes()];
        if (error is not null)
            tags.Add("error.type", error);
        _metrics.Duration.Record(seconds, tags);
        if (_first != 0 && _runs.Count > 0)
        {
            var first = Stopwatch.GetElapsedTime(_start, _first).TotalSeconds;
            _metrics.TimeToFirstToken.Record(first, tags);
            // Of one answer: several are made at the same time.
            if (error is null && _finishes.Count == 1 && tokens > 1)
                _metrics.TimePerToken.Record((seconds - first) / (tokens - 1), tags);
        }
        if (_work is null)
            return;
        if (_runs.Count > 0)
            _work.SetTag("gen_ai.usage.input_tokens", _runs.Sum(run => run.PromptTokens)).SetTag("gen_ai.usage.output_tokens", tokens);
        if (_finishes.Count > 0)
            _work.SetTag("gen_ai.response.finish_reasons", _finishes.ToArray());
        if (error is not null)
            _work.SetTag("error.type", error).SetStatus(ActivityStatusCode.Error);
        _work.Dispose();
    }

    private KeyValuePair<string, object?>[] Attributes() =>
        [new("gen_ai.operation.name", _asked!.Value.Operation), new("gen_ai.provider.name", Provider),
            new("gen_ai.request.model", _asked.Value.Model), new("gen_ai.response.model", _asked.Value.Model)];
}
