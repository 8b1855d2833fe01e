namespace Handbook.Models.Serving;

/// <summary>What an engine has done, and does now; any thread may read it.</summary>
internal sealed class EngineStatistics
{
    private long _requests, _refused, _promptTokens, _reusedTokens, _answerTokens, _steps;
    private int _running, _waiting, _kept;
    private long _cacheBytes;

    /// <summary>Requests that were taken.</summary>
    public long Requests => Interlocked.Read(ref _requests);

    /// <summary>Requests that were refused because too many waited.</summary>
    public long Refused => Interlocked.Read(ref _refused);

    /// <summary>Tokens of prompts that were begun.</summary>
    public long PromptTokens => Interlocked.Read(ref _promptTokens);

    /// <summary>Those of them that were known from earlier texts.</summary>
    public long ReusedTokens => Interlocked.Read(ref _reusedTokens);

    /// <summary>Tokens of answers.</summary>
    public long AnswerTokens => Interlocked.Read(ref _answerTokens);

    /// <summary>Passes through the network.</summary>
    public long Steps => Interlocked.Read(ref _steps);

    /// <summary>Answers that are made now.</summary>
    public int Running => Volatile.Read(ref _running);

    /// <summary>Requests that wait now.</summary>
    public int Waiting => Volatile.Read(ref _waiting);

    /// <summary>Earlier texts that are kept now.</summary>
    public int Kept => Volatile.Read(ref _kept);

    /// <summary>Bytes of keys and values now.</summary>
    public long CacheBytes => Interlocked.Read(ref _cacheBytes);

    internal void Take() => Interlocked.Increment(ref _requests);

    internal void Refuse() => Interlocked.Increment(ref _refused);

    internal void Begin(int prompt, int reused)
    {
        Interlocked.Add(ref _promptTokens, prompt);
        Interlocked.Add(ref _reusedTokens, reused);
    }

    internal void Said() => Interlocked.Increment(ref _answerTokens);

    internal void Step() => Interlocked.Increment(ref _steps);

    internal void Now(int running, int waiting, int kept, long bytes)
    {
        Volatile.Write(ref _running, running);
        Volatile.Write(ref _waiting, waiting);
        Volatile.Write(ref _kept, kept);
        Interlocked.Exchange(ref _cacheBytes, bytes);
    }
}
