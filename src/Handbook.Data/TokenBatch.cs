using Handbook.Data.Mixing;

namespace Handbook.Data;

/// <summary>What a segment is to the method that reads its log-probabilities.</summary>
public enum SegmentRole : byte
{
    /// <summary>A whole row of supervised fine-tuning or pretraining.</summary>
    Row,
    /// <summary>What is to be answered; its answers continue it.</summary>
    Prompt,
    /// <summary>The better answer of a pair, or one that is good by itself.</summary>
    Chosen,
    /// <summary>The worse answer of a pair, or one that is bad by itself.</summary>
    Rejected,
    /// <summary>One of n sampled answers.</summary>
    Sample,
    /// <summary>The answer to another prompt, from which KTO estimates its reference point.</summary>
    Mismatched,
    /// <summary>A row's answer before it was cut, for <see cref="MismatchedRows"/>; no network reads it.</summary>
    Uncut,
}

/// <summary>A run of tokens that continues its parent. A token sees its own segment causally and all of its
/// ancestors, nothing else.</summary>
/// <param name="Start">Index of the first token in the batch.</param>
/// <param name="Length">Number of tokens, at least 1.</param>
/// <param name="Parent">Index of the segment that this one continues; −1 for a root. Parents stand before their children.</param>
/// <param name="Row">Index of the data row, for messages and per-row sums.</param>
public readonly record struct Segment(int Start, int Length, int Parent, int Row, SegmentRole Role)
{
    /// <summary>Place, in the batch, of the row that it belongs to. A step over the end of an epoch may hold one data row twice:
    /// its copies are two places.</summary>
    public int Entry { get; init; }

    /// <summary>The row that its own is a part of, and how many of that row's sampled answers stand in the parts before; null where its own
    /// is whole.</summary>
    internal (int Row, int Answers)? PartOf { get; init; }
}

/// <summary>One batch for every method: tokens of all rows behind one another, without padding.</summary>
/// <remarks>
/// Positions continue from the parent's end. <c>Targets[i]</c> is the token that the model should predict at i, −1 where none is asked for.
/// So that every token has at most one target, a child segment begins with the last token of its prompt: the prompt segment holds all
/// tokens but the last, and each answer segment is [last prompt token, answer tokens…].
/// </remarks>
public sealed class TokenBatch
{
    /// <summary>Token ids; [N].</summary>
    public required int[] Tokens { get; init; }

    /// <summary>Position of each token within its row, from 0; [N].</summary>
    public required int[] Positions { get; init; }

    /// <summary>The segments in order, covering all tokens; [S].</summary>
    public required Segment[] Segments { get; init; }

    /// <summary>The token to predict at each place, −1 for none; [N].</summary>
    public required int[] Targets { get; init; }

    /// <summary>Weight of each target, 0 where there is none; [N].</summary>
    public required float[] Weights { get; init; }

    /// <summary>N, number of tokens.</summary>
    public int Count => Tokens.Length;

    /// <summary>Number of targets.</summary>
    public int TargetCount
    {
        get
        {
            var count = 0;
            foreach (var target in Targets)
                count += target >= 0 ? 1 : 0;
            return count;
        }
    }
}
