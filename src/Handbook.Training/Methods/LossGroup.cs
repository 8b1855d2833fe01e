using Handbook.Data;
using Handbook.Models;

namespace Handbook.Training.Methods;

/// <summary>Rows that go through the network together.</summary>
/// <param name="Batch">Tokens, targets and weights.</param>
/// <param name="Stream">The same batch as the network reads it.</param>
internal sealed record Bin(TokenBatch Batch, StreamLayout Stream);

/// <summary>Rows whose loss is one mean: those of an optimiser step, or of one of its micro-batches.</summary>
internal sealed class LossGroup
{
    private readonly Dictionary<int, TokenRow> _rows;

    /// <param name="rows">The rows by their number.</param>
    /// <param name="bins">The same rows, laid out for the network.</param>
    /// <param name="totals">Counts over them.</param>
    /// <param name="share">The group's share of the step's loss.</param>
    public LossGroup(IReadOnlyList<(int Number, TokenRow Row)> rows, IReadOnlyList<Bin> bins, GroupTotals totals, double share = 1)
    {
        Rows = rows;
        Bins = bins;
        Totals = totals;
        Share = share;
        _rows = [];
        foreach (var (number, row) in rows)
            _rows[number] = row;
    }

    /// <summary>The same rows as part of a group with these counts, which others have rows of as well.</summary>
    public LossGroup With(GroupTotals totals) => ReferenceEquals(totals, Totals) ? this : new(Rows, Bins, totals, Share);

    public IReadOnlyList<(int Number, TokenRow Row)> Rows { get; }

    /// <summary>All rows in bins of at most the asked-for number of tokens.</summary>
    public IReadOnlyList<Bin> Bins { get; }

    public GroupTotals Totals { get; }

    /// <summary>Tokens that go through the network.</summary>
    public long Tokens => Bins.Sum(bin => (long)bin.Batch.Count);

    /// <summary>What the group's mean is multiplied by: 1, or one over the number of the step's micro-batches.</summary>
    public double Share { get; }

    /// <summary>The row with this number, as the batch's segments name it.</summary>
    public TokenRow this[int number] => _rows[number];
}
