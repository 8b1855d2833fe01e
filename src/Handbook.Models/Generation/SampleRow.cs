
namespace Handbook.Models.Generation;

/// <summary>One answer while it is made.</summary>
internal sealed class SampleRow(PromptCache prompt, int sample, SamplingOptions options, int room) : IDisposable
{
    /// <summary>Tokens that an answer has room for at first.</summary>
    public const int FirstRoom = 64;

    private readonly Sampler _sampler = new(options, prompt.Request.Streams[sample], prompt.Request.Tokens);
    private readonly List<int> _tokens = [];
    private readonly List<double> _logProbs = [];
    private readonly int[] _next = new int[1];
    private (int Token, double LogProb) _drawn;

    public PromptCache Prompt { get; } = prompt;

    /// <summary>Which of the prompt's answers it is.</summary>
    public int Sample { get; } = sample;

    /// <summary>Keys and values behind the prompt; null until the first token is drawn.</summary>
    public KeyValueCache? Cache { get; private set; }

    /// <summary>The token that the network has not seen yet.</summary>
    public ReadOnlyMemory<int> Next => _next;

    /// <summary>Null until the answer is done.</summary>
    public Answer? Answer { get; private set; }

    /// <summary>Begins behind a prompt that is read.</summary>
    public void Start(Decoder model) => Cache = new KeyValueCache(model.Config, model.Compute, Math.Min(room, FirstRoom), Prompt.Cache);

    /// <summary>Draws from the logits behind what there is; any thread may do it.</summary>
    public void Draw(ReadOnlySpan<float> logits) => _drawn = _sampler.Next(logits);

    /// <summary>Takes what was drawn.</summary>
    public void Take(SamplingOptions options, Func<int, int, int, bool>? onToken)
    {
        var (token, logProb) = _drawn;
        if (options.StopIds.Contains(token))
        {
            Answer = new Answer([.. _tokens], [.. _logProbs], FinishReason.Stop) { EndToken = token, EndLogProb = logProb };
            return;
        }
        _tokens.Add(token);
        _logProbs.Add(logProb);
        _next[0] = token;
        if (onToken is not null && !onToken(Prompt.Index, Sample, token))
            Answer = new Answer([.. _tokens], [.. _logProbs], FinishReason.Stop);
        else if (_tokens.Count >= room)
            Answer = new Answer([.. _tokens], [.. _logProbs], FinishReason.Length);
    }

    public void Dispose()
    {
        Cache?.Dispose();
        Prompt.Release();
    }
}
