using Handbook.Torch.Devices;
using Handbook.Torch.Distributed;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Fused;

/// <summary>Who sees whom in a stream, of whose tokens several processes may have a part each. Keys and values then go round from one to
/// the next, and each adds what its own queries see. Liu, Zaharia and Abbeel 2023, arXiv:2310.01889.</summary>
/// <remarks>
/// <code>
/// o = Σ_j e^(lse_j − lse) · o_j,   lse = log Σ_j e^(lse_j)       o_j, lse_j: attention over the keys of process j alone
/// dq = Σ_j dq_j,   dk and dv of j = Σ over all who see them      each from p = e^(s − lse) with the whole lse
/// </code>
/// Sums are taken in float32 (float64 for float64), first one's own keys, then those of the one before, and so on round the ring; the
/// gradients of keys and values travel on with them and come home after one turn. One process has the whole stream, and there is no sum.
/// The sinks of the heads are counted once, with one's own keys.
/// </remarks>
internal sealed class AttentionRing
{
    private readonly ContextGroup? _group;
    private readonly SegmentTable[] _tables;
    private readonly int[] _rows;

    /// <summary>A stream that one process has whole.</summary>
    public AttentionRing(SegmentTable table) => (_tables, _rows) = ([table], [table.Tokens]);

    private AttentionRing(ContextGroup group, SegmentTable[] tables, int[] rows) => (_group, _tables, _rows) = (group, tables, rows);

    /// <summary>A stream that several processes have parts of.</summary>
    /// <param name="group">Those processes.</param>
    /// <param name="parts">The tokens of each, by rank. One without any has a row that sees itself alone.</param>
    /// <inheritdoc cref="SegmentTable.Create"/>
    public static AttentionRing Of(ContextGroup group, TokenPieces[] parts, int[] start, int[] length, int[] parent, int[] positions)
    {
        var mine = parts[group.Rank];
        return new(group, [.. parts.Select((theirs, rank) => rank == group.Rank && mine.Count == 0
            ? SegmentTable.Create([0], [1], [-1]) : SegmentTable.Create(start, length, parent, positions, mine, theirs))],
            [.. parts.Select(part => Math.Max(1, part.Count))]);
    }

    private int Rank => _group?.Rank ?? 0;

    private int Size => _tables.Length;

    // Who has the keys that are here in this round.
    private int Owner(int round) => (Rank - round + Size) % Size;

    /// <summary>Writes output and log-sum-exp of this process's queries.</summary>
    /// <inheritdoc cref="DeviceKernels.AttentionForward"/>
    public void Forward(in AttentionShape shape, Tensor query, Tensor keyValue, Tensor output, Tensor logSumExp, Tensor? sinks)
    {
        using var scope = TensorScope.Enter();
        var kernels = DeviceKernels.Of(query);
        if (Size == 1)
        {
            kernels.AttentionForward(_tables[0], shape, query, keyValue, output, logSumExp, sinks);
            return;
        }
        var next = Send(keyValue.Contiguous(), 0);
        kernels.AttentionForward(_tables[Rank], shape, query, keyValue, output, logSumExp, sinks);
        var sum = output.To(logSumExp.DType);
        for (var round = 1; round < Size; round++)
        {
            using var block = next!.Wait();
            next = Send(block, round);
            var table = _tables[Owner(round)];
            if (table.IsEmpty)
                continue;
            using var part = output.EmptyLike();
            using var partSum = logSumExp.EmptyLike();
            kernels.AttentionForward(table, shape, query, block, part, partSum, null);
            Merge(shape, sum, logSumExp, part, partSum);
        }
        output.CopyFrom(sum);
    }

    // What is there already has seen at least itself, so that its log-sum-exp is finite.
    private static void Merge(in AttentionShape shape, Tensor sum, Tensor logSumExp, Tensor part, Tensor partSum)
    {
        using var scope = TensorScope.Enter();
        long[] heads = [sum.Size(0), shape.Heads, shape.ValueSize];
        var whole = logSumExp.LogAddExp(partSum);
        var (before, added) = ((logSumExp - whole).Exp().T().Unsqueeze(2), (partSum - whole).Exp().T().Unsqueeze(2));
        sum.View(heads).CopyFrom(sum.View(heads) * before + part.To(sum.DType).View(heads) * added);
        logSumExp.CopyFrom(whole);
    }

    /// <summary>Writes the gradients of this process's queries, keys and values.</summary>
    /// <inheritdoc cref="DeviceKernels.AttentionBackward"/>
    public void Backward(in AttentionShape shape, Tensor query, Tensor keyValue, Tensor output, Tensor logSumExp, Tensor dy, Tensor dquery,
        Tensor dkeyValue)
    {
        using var scope = TensorScope.Enter();
        var kernels = DeviceKernels.Of(query);
        if (Size == 1)
        {
            kernels.AttentionBackward(_tables[0], shape, query, keyValue, output, logSumExp, dy, dquery, dkeyValue);
            return;
        }
        var next = Send(keyValue.Contiguous(), 0);
        kernels.AttentionBackward(_tables[Rank], shape, query, keyValue, output, logSumExp, dy, dquery, dkeyValue);
        var sum = dquery.To(logSumExp.DType);
        var coming = SendGradient(dkeyValue.To(logSumExp.DType).Contiguous(), 0);
        for (var round = 1; round < Size; round++)
        {
            using var block = next!.Wait();
            next = Send(block, round);
            var table = _tables[Owner(round)];
            using var part = dquery.ZerosLike();
            using var partGradient = block.ZerosLike();
            if (!table.IsEmpty)
                kernels.AttentionBackward(table, shape, query, block, output, logSumExp, dy, part, partGradient);
            sum.AddInPlace(part.To(sum.DType));
            using var gradient = coming.Wait();
            gradient.AddInPlace(partGradient.To(gradient.DType));
            coming = SendGradient(gradient, round);
        }
        dquery.CopyFrom(sum);
        dkeyValue.CopyFrom(coming.Wait());
    }

    // The keys of a round go on to the next, unless they have been everywhere.
    private ContextGroup.Passing? Send(Tensor block, int round) =>
        round + 1 < Size ? _group!.Pass(block, [_rows[Owner(round + 1)], block.Size(1)], channel: 0) : null;

    // Their gradients go one further, home.
    private ContextGroup.Passing SendGradient(Tensor gradient, int round) =>
        _group!.Pass(gradient, [_rows[Owner(round + 1)], gradient.Size(1)], channel: 1);
}
