using System.ClientModel;
using System.ClientModel.Primitives;
using System.Globalization;
using Handbook.Base;
using OpenAI;
using OpenAI.Chat;

namespace Handbook.Training.Sampling.Endpoints;

/// <summary>Where an OpenAI-compatible endpoint is, and how it is treated.</summary>
public sealed record EndpointOptions
{
    /// <summary>Address up to and with <c>/v1</c>; null is OpenAI's own.</summary>
    public string? BaseUrl { get; init; }

    /// <summary>The model to ask, by the name that the endpoint gives it.</summary>
    public required string Model { get; init; }

    /// <summary>The environment variable with the key.</summary>
    public string KeyVariable { get; init; } = "OPENAI_API_KEY";

    /// <summary>Requests at the same time.</summary>
    public int Parallel { get; init; } = 4;

    /// <summary>How often a failed request is sent again.</summary>
    public int Retries { get; init; } = 6;

    /// <summary>Seconds until a request without a reply has failed.</summary>
    public double Timeout { get; init; } = 120;

    /// <summary>The wait before the first repetition; each further one doubles it.</summary>
    public TimeSpan FirstWait { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Hears of each request that is sent again: why, and after which wait.</summary>
    public Action<string>? Say { get; init; }
}

/// <summary>A reply of a chat model.</summary>
/// <param name="Text">What it said.</param>
/// <param name="Finished">Whether it ended by itself, not at its greatest length.</param>
/// <param name="Tokens">Tokens of the reply as the endpoint counts them; null where it does not say.</param>
/// <param name="FirstTokens">log p of the likeliest first tokens; null where the endpoint does not say.</param>
internal sealed record ChatReply(string Text, bool Finished, int? Tokens, IReadOnlyDictionary<string, double>? FirstTokens = null);

/// <summary>An OpenAI-compatible chat endpoint: several requests at once, failed ones repeated, all waiting when it says
/// that it is too much.</summary>
internal sealed class ChatEndpoint
{
    // An endpoint that never replied is rather not there than overburdened.
    private const int RetriesBeforeAnyReply = 1;

    private static readonly TimeSpan s_longestWait = TimeSpan.FromSeconds(60);

    private readonly EndpointOptions _options;
    private readonly ChatClient _client;
    private long _notBefore;        // Environment.TickCount64: until then nobody sends
    private volatile bool _hasReplied;

    /// <exception cref="InputException">The address or the key is missing or malformed.</exception>
    public ChatEndpoint(EndpointOptions options)
    {
        _options = options;
        var key = Environment.GetEnvironmentVariable(options.KeyVariable);
        if (string.IsNullOrWhiteSpace(key))
            key = options.BaseUrl is not null ? "none"      // an endpoint of one's own may take any
                : throw new InputException($"the environment variable {options.KeyVariable} is not set", why: $"{Name} wants a key",
                    fix: $"export {options.KeyVariable}=…, or name another endpoint");
        var client = new OpenAIClientOptions
        {
            NetworkTimeout = TimeSpan.FromSeconds(options.Timeout),
            RetryPolicy = new ClientRetryPolicy(maxRetries: 0)
        };
        if (options.BaseUrl is { } address)
            client.Endpoint = EndpointAddress.Require(address);
        Address = client.Endpoint ?? new Uri("https://api.openai.com/v1");
        _client = new ChatClient(options.Model, new ApiKeyCredential(key.Trim()), client);
    }

    /// <summary>Where it is.</summary>
    internal Uri Address { get; }

    /// <summary>What it is, for messages: its address, and the model.</summary>
    public string Name => $"{_options.BaseUrl ?? "api.openai.com"} ({_options.Model})";

    /// <summary>Sends requests, several at a time; each reply is told as soon as it is there, in any order but one at a time.</summary>
    /// <param name="count">Number of requests.</param>
    /// <param name="request">What to say in request i, and how to draw the reply.</param>
    /// <param name="done">Hears (request, reply).</param>
    /// <exception cref="InputException">The endpoint refuses, or still fails after the last repetition; replies
    /// told so far hold.</exception>
    public void Ask(int count, Func<int, (IReadOnlyList<ChatMessage> Messages, ChatCompletionOptions Options)> request,
        Action<int, ChatReply> done, CancellationToken cancel)
    {
        var told = new Lock();
        var running = Parallel.ForEachAsync(Enumerable.Range(0, count),
            new ParallelOptions { MaxDegreeOfParallelism = _options.Parallel, CancellationToken = cancel }, async (i, stop) =>
        {
            var (messages, options) = request(i);
            var reply = await Ask(messages, options, $"request {i + 1:N0} of {count:N0}", stop).ConfigureAwait(false);
            lock (told)
                done(i, reply);
        });
        running.GetAwaiter().GetResult();
    }

    private async Task<ChatReply> Ask(IReadOnlyList<ChatMessage> messages, ChatCompletionOptions options, string which,
        CancellationToken cancel)
    {
        for (var failures = 0; ; failures++)
        {
            if (Interlocked.Read(ref _notBefore) - Environment.TickCount64 is > 0 and var pause)
                await Task.Delay(TimeSpan.FromMilliseconds(pause), cancel).ConfigureAwait(false);
            Exception failure;
            try
            {
                ChatCompletion completion = await _client.CompleteChatAsync(messages, options, cancel).ConfigureAwait(false);
                _hasReplied = true;
                return new(string.Concat(completion.Content.Select(part => part.Text)), completion.FinishReason != ChatFinishReason.Length,
                    completion.Usage?.OutputTokenCount, FirstTokens(completion));
            }
            catch (Exception error) when (error is not OperationCanceledException || !cancel.IsCancellationRequested)
            {
                failure = error;
            }
            var refusal = failure is ClientResultException { Status: not 0 } answered ? answered : null;
            if (refusal is null && !Passing(failure))
                throw IsReadingProblem(failure)
                    ? new InputException($"{Name} sent a reply that is no chat "
                        + $"completion: {(failure is ArgumentOutOfRangeException ? "it holds no choice" : failure.Message)}",
                        fix: "check that the address ends where the API begins, usually with /v1", inner: failure)
                    : new InvalidOperationException($"{Name}: {failure.Message}", failure);
            _hasReplied |= refusal is not null;
            var retries = refusal is not null && !MayPass(refusal.Status) ? 0
                : _hasReplied || !CannotConnect(failure) ? _options.Retries : Math.Min(_options.Retries, RetriesBeforeAnyReply);
            if (failures >= retries)
                throw refusal is null ? Unreachable(failure, failures) : Refused(refusal, failures);
            var wait = WaitAfter(failures, refusal?.GetRawResponse());
            _options.Say?.Invoke($"{Name}: {(refusal is null ? Reason(failure) : $"answered {refusal.Status}: {Body(refusal)}")}; {which} "
                + $"is sent again in {wait.TotalSeconds:0.#} s (try {failures + 2} of {retries + 1})");
            await Task.Delay(wait, cancel).ConfigureAwait(false);
        }
    }

    private static Dictionary<string, double>? FirstTokens(ChatCompletion completion)
    {
        if (completion.ContentTokenLogProbabilities is not [var first, ..])
            return null;
        var tokens = new Dictionary<string, double>(StringComparer.Ordinal);
        foreach (var token in first.TopLogProbabilities)
            tokens.TryAdd(token.Token, token.LogProbability);
        tokens.TryAdd(first.Token, first.LogProbability);
        return tokens;
    }

    private static bool MayPass(int status) => status is 408 or 409 or 425 or 429 or >= 500;

    private static bool Passing(Exception failure) =>
        failure is ClientResultException
        { Status: 0 } or HttpRequestException or TimeoutException or IOException or TaskCanceledException or AggregateException;

    private static bool IsReadingProblem(Exception failure) =>
        failure is System.Text.Json.JsonException or ArgumentOutOfRangeException or FormatException or InvalidOperationException or KeyNotFoundException;

    private static bool CannotConnect(Exception failure) =>
        failure is HttpRequestException
        { HttpRequestError: HttpRequestError.ConnectionError or HttpRequestError.NameResolutionError or HttpRequestError.SecureConnectionError }
        || failure.InnerException is { } inner && CannotConnect(inner);

    private static Exception Innermost(Exception failure) => failure.InnerException is { } inner ? Innermost(inner) : failure;

    private string Reason(Exception failure) => Innermost(failure) is OperationCanceledException or TimeoutException
        || failure is OperationCanceledException
        ? $"no reply within {_options.Timeout:g} s" : Innermost(failure).Message;

    /// <summary>The wait doubles with each failure, unless the endpoint says how long; where it says that it is too
    /// much, everybody waits.</summary>
    private TimeSpan WaitAfter(int failures, PipelineResponse? response)
    {
        var wait = _options.FirstWait * Math.Pow(2, failures);
        if (response is not null && response.Headers.TryGetValue("Retry-After", out var said) && Asked(said) is { } asked)
            wait = asked;
        wait = wait < s_longestWait ? wait : s_longestWait;
        if (response?.Status == 429)
        {
            var until = Environment.TickCount64 + (long)wait.TotalMilliseconds;
            for (var before = Interlocked.Read(ref _notBefore); before < until
                && Interlocked.CompareExchange(ref _notBefore, until, before) != before; before = Interlocked.Read(ref _notBefore))
            {
            }
        }
        return wait;
    }

    private static TimeSpan? Asked(string? header) =>
        double.TryParse(header, CultureInfo.InvariantCulture, out var seconds) && seconds >= 0 ? TimeSpan.FromSeconds(seconds)
        : DateTimeOffset.TryParse(header, CultureInfo.InvariantCulture, out var until)
            ? TimeSpan.FromTicks(Math.Max(0, (until - DateTimeOffset.UtcNow).Ticks))
        : null;

    private InputException Unreachable(Exception failure, int failures) =>
        new($"{Name} cannot be reached: {Reason(failure)}", failures > 0 ? $"{failures + 1} attempts failed" : null,
        "check that it runs and that the address is right; what was done before is kept, and the same command goes on from there", failure);

    private static string Body(ClientResultException failure)
    {
        var body = failure.GetRawResponse()?.Content.ToString().ReplaceLineEndings(" ") ?? failure.Message;
        return body.Length > 300 ? body[..300] + "…" : body;
    }

    private InputException Refused(ClientResultException failure, int failures)
    {
        return new InputException($"{Name} answered {failure.Status}: {Body(failure)}",
            failures > 0 ? $"{failures + 1} attempts failed" : null, failure.Status switch
            {
                >= 300 and < 400 => "the server sends requests elsewhere: use the address that it stands for, perhaps with https or /v1",
                401 or 403 => $"check the key in {_options.KeyVariable}",
                404 => "check the address (it usually ends with /v1) and the model's name",
                400 or 422 => "the endpoint does not take this request: check the model's name, and shorten max_completion_length or "
                    + "the prompts",
                429 => "lower endpoint_parallel, or try again later; what was done before is kept",
                _ => "try again later; what was done before is kept, and the same command goes on from there",
            }, failure);
    }
}
