using Handbook.Base;
using Handbook.Models.Generation;

namespace Handbook.Models.Serving;

/// <summary>What one client asks of an <see cref="AnswerEngine"/>: a prompt, and one or more answers to it.</summary>
/// <remarks>Everything that it hears comes on the engine's thread, which all clients wait for: what is told is put aside quickly.</remarks>
internal sealed class EngineRequest
{
    /// <summary>The network, with the adapters that are active in it.</summary>
    public required Decoder Model { get; init; }

    /// <summary>The prompt's token ids, at least one.</summary>
    public required int[] Tokens { get; init; }

    /// <summary>How to draw; <see cref="SamplingOptions.BatchSize"/> has no meaning here.</summary>
    public required SamplingOptions Sampling { get; init; }

    /// <summary>How many answers; each has a random stream of its own, numbered from 0.</summary>
    public int Count { get; init; } = 1;

    /// <summary>What may come in each answer; null for anything.</summary>
    public Func<ITokenConstraint>? Constraint { get; init; }

    /// <summary>Hears each token of each answer: (answer, token). Says whether the answer goes on.</summary>
    public required Func<int, DrawnToken, bool> OnToken { get; init; }

    /// <summary>Hears each answer when it is done: (answer's place, answer).</summary>
    public required Action<int, Answer> OnAnswer { get; init; }

    /// <summary>Hears the end: null behind the last answer, or why there will be no more.</summary>
    public required Action<Exception?> OnEnd { get; init; }

    /// <summary>Ends it between two tokens, such as when the client has left.</summary>
    public CancellationToken Cancel { get; init; }

    /// <summary>The prompt while answers are made; null before.</summary>
    internal PromptCache? Prompt { get; set; }

    /// <summary>Answers that were begun, and that are over.</summary>
    internal int Begun { get; set; }

    internal int Over { get; set; }

    /// <summary>When it was begun, for <see cref="System.Diagnostics.Stopwatch"/>.</summary>
    internal long BegunAt { get; set; }

    internal bool HasEnded { get; private set; }

    /// <summary>Whether its answers are wanted.</summary>
    internal bool IsWanted => !HasEnded && !Cancel.IsCancellationRequested;

    internal void End(Exception? why)
    {
        if (HasEnded)
            return;
        HasEnded = true;
        OnEnd(why);
    }

    /// <summary>Answers that were not begun never will be.</summary>
    internal void Curtail()
    {
        for (; Begun < Count; Begun++, Over++)
            Prompt?.Release();
    }
}

/// <summary>An engine, and what it may take.</summary>
internal sealed record EngineOptions
{
    /// <summary>Answers that are made at the same time.</summary>
    public int MaxRows { get; init; } = 16;

    /// <summary>Requests that may wait; one more is refused.</summary>
    public int MaxWaiting { get; init; } = 128;

    /// <summary>Bytes of keys and values, of running answers and of what is kept of earlier ones. Whoever opens models may take 0 for as
    /// many as suit the memory that they lie in.</summary>
    public long CacheBytes { get; init; } = 1L << 30;

    /// <summary>New tokens that go through the network together; fewer make answers wait less for another's long prompt.</summary>
    public int TokensAtOnce { get; init; } = 256;
}

/// <summary>There are too many requests already.</summary>
/// <param name="retryAfter">When it may be worth to ask again.</param>
internal sealed class EngineBusyException(TimeSpan retryAfter) : Exception("too many requests wait already")
{
    public TimeSpan RetryAfter { get; } = retryAfter;
}

/// <summary>The engine is shutting down.</summary>
internal sealed class EngineStoppedException() : Exception("the engine is shutting down");
