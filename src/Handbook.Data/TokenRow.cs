namespace Handbook.Data;

/// <summary>One part of a tokenised row: its tokens, and which of them carry loss.</summary>
/// <param name="Role">What the part is to the method.</param>
/// <param name="Parent">Index, within the row, of the part that this one continues; −1 for a root.</param>
/// <param name="Ids">The tokens, at least one.</param>
/// <param name="Loss">1 where the token is to be predicted, 0 where it is only read; as long as <paramref name="Ids"/>.</param>
public readonly record struct TokenSegment(SegmentRole Role, int Parent, ReadOnlyMemory<int> Ids, ReadOnlyMemory<byte> Loss);

/// <summary>One tokenised row: a single part for supervised rows, several for packed rows, a prompt with answers for preferences.</summary>
public sealed record TokenRow
{
    /// <summary>The parts; parents stand before their children.</summary>
    public required IReadOnlyList<TokenSegment> Segments { get; init; }

    /// <summary>Length of the row's text in Unicode code points.</summary>
    public int Characters { get; init; }

    /// <summary>By how much the chosen answer is better, where the data says so (the <c>margin</c> column of reward modelling).</summary>
    public double Margin { get; init; }

    /// <summary>Whether one token holds the end of the prompt and the beginning of the answer; the count of the prompt's
    /// own tokens places it.</summary>
    public bool IsJoined { get; init; }

    /// <summary>What the reference model says of the answers; null where it was not asked.</summary>
    internal ReferenceScore? Reference { get; init; }

    /// <summary>What is known of sampled answers, in the order of their parts; null where it was not asked.</summary>
    internal IReadOnlyList<SampleScore>? Samples { get; init; }

    /// <summary>Where this is a part of a row that is too large to go through the network at once: that row, and how many of its sampled
    /// answers stand in the parts before; null for a whole row.</summary>
    internal (int Row, int Answers)? PartOf { get; init; }

    /// <summary>What a user should know about how the row was read: counted while rows are tokenised, and not kept with them.</summary>
    public IReadOnlyList<string> Remarks { get; init; } = [];

    /// <summary>Number of tokens in all parts.</summary>
    public int TokenCount
    {
        get
        {
            var count = 0;
            foreach (var segment in Segments)
                count += segment.Ids.Length;
            return count;
        }
    }

    /// <summary>A row of one part.</summary>
    public static TokenRow Single(int[] ids, byte[] loss, int characters = 0) =>
        new() { Segments = [new(SegmentRole.Row, -1, ids, loss)], Characters = characters };
}

/// <summary>The reference model's log-probabilities of a row's answers, each one number; 0 for answers that the row has not.</summary>
public readonly record struct ReferenceScore(double Chosen, double Rejected, double Mismatched);

/// <summary>What is known of a sampled answer before it is trained on.</summary>
/// <param name="Advantage">By how much it is better than the other answers to its prompt.</param>
/// <param name="Counts">False for an answer that is not learnt from.</param>
/// <param name="Old">log π_old of each token; empty where that is the policy as it is.</param>
/// <param name="Reference">log π_ref of each token; empty without a reference.</param>
public sealed record SampleScore(double Advantage, bool Counts, double[] Old, double[] Reference);

/// <summary>Tokenised rows by number: a store on disk, or an order or packing of one.</summary>
public interface ITokenRows
{
    /// <summary>Number of rows.</summary>
    int Count { get; }

    /// <summary>Number of tokens of a row, without reading it.</summary>
    int Length(int row);

    /// <summary>Length of a row's text in Unicode code points.</summary>
    int Characters(int row);

    /// <summary>The tokens of a row, from 0; any thread may read.</summary>
    TokenRow Read(int row);
}

/// <summary>Rows held in memory.</summary>
internal sealed class TokenRowList(IReadOnlyList<TokenRow> rows) : ITokenRows
{
    public int Count => rows.Count;

    public int Length(int row) => rows[row].TokenCount;

    public int Characters(int row) => rows[row].Characters;

    public TokenRow Read(int row) => rows[row];
}
