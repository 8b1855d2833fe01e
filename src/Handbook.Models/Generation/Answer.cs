namespace Handbook.Models.Generation;

/// <summary>Why an answer ended.</summary>
public enum FinishReason
{
    /// <summary>The model said its end token, or the listener had heard enough.</summary>
    Stop,
    /// <summary>The answer reached its greatest length.</summary>
    Length,
}

/// <summary>One answer.</summary>
/// <param name="Tokens">Without the end token.</param>
/// <param name="LogProbs">log p of each token under the model, at temperature 1 and over the whole vocabulary; as long as
/// <paramref name="Tokens"/>.</param>
public sealed record Answer(int[] Tokens, double[] LogProbs, FinishReason Finish)
{
    /// <summary>The end token that the model said; null where the answer ended otherwise.</summary>
    public int? EndToken { get; init; }

    /// <summary>log p of the end token; null without one.</summary>
    public double? EndLogProb { get; init; }
}

/// <summary>A prompt, and how many answers are wanted.</summary>
/// <param name="Tokens">Token ids, at least one.</param>
/// <param name="Streams">
/// One number for each answer: which of the seed's random streams it is drawn with. The same prompt, seed and number give the same answer,
/// whatever else is asked for.
/// </param>
internal sealed record SampleRequest(int[] Tokens, IReadOnlyList<long> Streams);
