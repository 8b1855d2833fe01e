using Handbook.Base;

namespace Handbook.Models.Generation;

/// <summary>One answer while it is made.</summary>
/// <param name="prompt">What it answers.</param>
/// <param name="sample">Which of the prompt's answers it is.</param>
/// <param name="options">How it is drawn.</param>
/// <param name="room">Most tokens.</param>
/// <param name="onToken">Hears each token; says whether the answer goes on. null for nobody.</param>
/// <param name="constraint">Which tokens may come; null for any.</param>
internal sealed class SampleRow(PromptCache prompt, int sample, SamplingOptions options, int room, Func<DrawnToken, bool>? onToken = null,
    ITokenConstraint? constraint = null) : IDisposable
{
    /// <summary>Tokens that an answer has room for at first.</summary>
    public const int FirstRoom = 64;

    private readonly Sampler _sampler = new(options, prompt.Request.Streams[sample], prompt.Request.Tokens, constraint);
    private readonly List<int> _tokens = [];
    private readonly List<double> _logProbs = [];
    private readonly int[] _next = new int[1];
    private DrawnToken _drawn;
    private bool _isFreed;

    public PromptCache Prompt { get; } = prompt;

    /// <summary>Which of the prompt's answers it is.</summary>
    public int Sample { get; } = sample;

    /// <summary>Keys and values behind the prompt; null until the first token is drawn.</summary>
    public KeyValueCache? Cache { get; private set; }

    /// <summary>The token that the network has not seen yet.</summary>
    public ReadOnlyMemory<int> Next => _next;

    /// <summary>The tokens so far.</summary>
    public IReadOnlyList<int> Tokens => _tokens;

    /// <summary>Most tokens.</summary>
    public int Room => room;

    /// <summary>Null until the answer is done.</summary>
    public Answer? Answer { get; private set; }

    /// <summary>Why there will be no answer; null while all is well.</summary>
    public InputException? Failure { get; private set; }

    public bool IsDone => Answer is not null || Failure is not null;

    /// <summary>Begins behind a prompt that is read.</summary>
    public void Start(Decoder model) => Cache = new KeyValueCache(model.Config, model.Compute, Math.Min(room, FirstRoom), Prompt.Cache,
        device: model.Device);

    /// <summary>Draws from the logits behind what there is; any thread may do it.</summary>
    public void Draw(ReadOnlySpan<float> logits)
    {
        try
        {
            _drawn = _sampler.Next(logits);
        }
        catch (InputException problem)
        {
            Failure = problem;
        }
    }

    /// <summary>Takes what was drawn.</summary>
    public void Take()
    {
        if (Failure is not null)
            return;
        var (token, logProb) = (_drawn.Token, _drawn.LogProb);
        if (options.StopIds.Contains(token))
        {
            Answer = new Answer([.. _tokens], [.. _logProbs], FinishReason.Stop) { EndToken = token, EndLogProb = logProb };
            return;
        }
        _tokens.Add(token);
        _logProbs.Add(logProb);
        _next[0] = token;
        if (onToken is not null && !onToken(_drawn))
            Stop();
        else if (_tokens.Count >= room)
            Answer = new Answer([.. _tokens], [.. _logProbs], FinishReason.Length);
        else if (constraint is { IsComplete: true })
            Stop();
    }

    /// <summary>Ends the answer with what there is.</summary>
    public void Stop() => Answer ??= new Answer([.. _tokens], [.. _logProbs], FinishReason.Stop);

    public void Dispose()
    {
        if (_isFreed)
            return;
        _isFreed = true;
        Cache?.Dispose();
        Prompt.Release();
    }
}
