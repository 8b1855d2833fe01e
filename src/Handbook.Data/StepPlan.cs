using Handbook.Base;
using Handbook.Data.RandomNumbers;

namespace Handbook.Data;

/// <summary>How the leftover micro-batches of an epoch are treated.</summary>
internal enum LeftoverRule
{
    /// <summary>They make a smaller last step of the epoch: the number of steps is rounded up.</summary>
    SmallerStep,
    /// <summary>They are carried into the next epoch: the number of steps is rounded down (the handbook's first revision).</summary>
    CarryOver,
}

/// <summary>What decides which rows belong to which optimiser step.</summary>
internal sealed record StepPlanOptions
{
    /// <summary>Rows in a micro-batch.</summary>
    public required int BatchSize { get; init; }

    /// <summary>Micro-batches in a step.</summary>
    public int AccumulationSteps { get; init; } = 1;

    /// <summary>Passes over the data; parts of a pass are allowed. Read only while <see cref="MaxSteps"/> is 0 or less.</summary>
    public double Epochs { get; init; } = 3;

    /// <summary>Number of steps; 0 or less leaves it to <see cref="Epochs"/>.</summary>
    public int MaxSteps { get; init; } = -1;

    public long Seed { get; init; } = 42;

    /// <summary>Leaves out the last micro-batch of an epoch where it is not full.</summary>
    public bool DropLast { get; init; }

    /// <summary>Keeps the rows in their order, without shuffling.</summary>
    public bool Sequential { get; init; }

    /// <summary>Puts rows of like length into a step.</summary>
    public bool GroupByLength { get; init; }

    public LeftoverRule Leftover { get; init; } = LeftoverRule.SmallerStep;

    /// <summary>Steps whose rows are taken <see cref="Passes"/> times, before those of the next ones.</summary>
    public int PassLength { get; init; } = 1;

    /// <summary>How often the rows of a step are taken in each epoch.</summary>
    public int Passes { get; init; } = 1;
}

/// <summary>The rows of one optimiser step.</summary>
/// <param name="Step">Number of the step, from 0.</param>
/// <param name="Epoch">Number of the epoch that its first row belongs to, from 0.</param>
/// <param name="MicroBatches">Row numbers of each micro-batch.</param>
/// <param name="EpochAfter">Epochs done after this step, in parts, as it is logged.</param>
internal sealed record StepRows(int Step, int Epoch, IReadOnlyList<int[]> MicroBatches, double EpochAfter);

/// <summary>Which rows belong to which optimiser step of which epoch.</summary>
/// <remarks>
/// A pure function of the step's number: a run that starts again at any step sees what it would have seen. Each epoch is
/// <c>torch.randperm</c> seeded with seed + epoch, cut into micro-batches.
/// </remarks>
public sealed class StepPlan
{
    private readonly StepPlanOptions _options;
    private readonly ITokenRows _rows;
    private readonly Lock _lock = new();
    private (int Epoch, int[] Order) _last = (-1, []);

    internal StepPlan(ITokenRows rows, StepPlanOptions options)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(options.BatchSize, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.AccumulationSteps, 1);
        _rows = rows;
        _options = options;
        MicroBatchesPerEpoch = options.DropLast ? rows.Count / options.BatchSize : (rows.Count + options.BatchSize - 1) / options.BatchSize;
        if (MicroBatchesPerEpoch == 0)
            throw new InputException(
                rows.Count == 0 ? "the training set has no rows"
                    : $"the training set has {rows.Count} rows, fewer than one batch of {options.BatchSize}, and dataloader_drop_last "
                        + "leaves out what is not full",
                fix: rows.Count == 0 ? "check dataset_name and the counts above"
                    : "set dataloader_drop_last: false, or a smaller per_device_train_batch_size");
        StepsPerEpoch = options.Leftover == LeftoverRule.CarryOver
            ? Math.Max(1, MicroBatchesPerEpoch / options.AccumulationSteps)
            : (MicroBatchesPerEpoch + options.AccumulationSteps - 1) / options.AccumulationSteps;
        StepsPerEpoch *= options.Passes;
        TotalSteps = options.MaxSteps > 0 ? options.MaxSteps : checked((int)Math.Ceiling(options.Epochs * StepsPerEpoch));
    }

    /// <summary>Micro-batches that one pass over the rows makes.</summary>
    public int MicroBatchesPerEpoch { get; }

    /// <summary>Optimiser steps that one pass over the rows makes.</summary>
    public int StepsPerEpoch { get; }

    /// <summary>Steps of the whole run.</summary>
    public int TotalSteps { get; }

    /// <summary>The rows of a step.</summary>
    /// <param name="step">From 0; steps beyond <see cref="TotalSteps"/> go on into further epochs.</param>
    internal StepRows this[int step]
    {
        get
        {
            ArgumentOutOfRangeException.ThrowIfNegative(step);
            var (first, count) = Range(Unrepeated(step));
            var batches = new int[count][];
            for (var i = 0; i < count; i++)
                batches[i] = MicroBatch(first + i);
            var after = _options.Passes == 1 ? (double)(first + count) / MicroBatchesPerEpoch : (double)(step + 1) / StepsPerEpoch;
            return new(step, (int)(first / MicroBatchesPerEpoch), batches, after);
        }
    }

    /// <summary>The rows that the run comes to, by their numbers in ascending order; null where it comes to all of them.</summary>
    public int[]? RowsSeen()
    {
        if (TotalSteps >= StepsPerEpoch && _options is { DropLast: false, Leftover: LeftoverRule.SmallerStep })
            return null;
        var seen = new bool[_rows.Count];
        for (var step = 0; step < TotalSteps; step++)
            foreach (var batch in this[step].MicroBatches)
                foreach (var row in batch)
                    seen[row] = true;
        return Array.IndexOf(seen, false) < 0 ? null : [.. Enumerable.Range(0, seen.Length).Where(row => seen[row])];
    }

    /// <summary>The step that a step would be if none were taken again.</summary>
    private int Unrepeated(int step)
    {
        var (block, within) = Math.DivRem(step, _options.PassLength * _options.Passes);
        return (block * _options.PassLength) + (within % _options.PassLength);
    }

    /// <summary>The first micro-batch of a step, counted over all epochs, and how many it has.</summary>
    private (long First, int Count) Range(int step)
    {
        if (_options.Leftover == LeftoverRule.CarryOver && MicroBatchesPerEpoch >= _options.AccumulationSteps)
            return ((long)step * _options.AccumulationSteps, _options.AccumulationSteps);
        var (epoch, within) = Math.DivRem(step, StepsPerEpoch / _options.Passes);
        var skipped = within * _options.AccumulationSteps;
        return (((long)epoch * MicroBatchesPerEpoch) + skipped, Math.Min(_options.AccumulationSteps, MicroBatchesPerEpoch - skipped));
    }

    private int[] MicroBatch(long number)
    {
        var (epoch, within) = Math.DivRem(number, MicroBatchesPerEpoch);
        var order = Order((int)epoch);
        var start = (int)within * _options.BatchSize;
        return order[start..Math.Min(start + _options.BatchSize, order.Length)];
    }

    private int[] Order(int epoch)
    {
        lock (_lock)
        {
            if (_last.Epoch != epoch)
                _last = (epoch, MakeOrder(epoch));
            return _last.Order;
        }
    }

    private int[] MakeOrder(int epoch)
    {
        if (_options.Sequential)
            return [.. Enumerable.Range(0, _rows.Count)];
        var order = TorchRandom.Permutation(_rows.Count, _options.Seed + epoch);
        return _options.GroupByLength ? GroupByLength(order) : order;
    }

    /// <summary>Sorts runs of up to 50 steps by length, longest first, and puts the longest row of all at the very start: if memory does
    /// not suffice, the first step says so.</summary>
    private int[] GroupByLength(int[] order)
    {
        var stepSize = _options.BatchSize * _options.AccumulationSteps;
        var runSize = Math.Max(1, Math.Min(order.Length / (stepSize * 4), 50)) * stepSize;
        var longest = 0;
        for (var start = 0; start < order.Length; start += runSize)
        {
            var run = order.AsSpan(start, Math.Min(runSize, order.Length - start)).ToArray();
            run.OrderByDescending(_rows.Length).ToArray().CopyTo(order, start);      // OrderBy is stable, as Python's sort
            if (_rows.Length(order[start]) > _rows.Length(order[longest]))
                longest = start;
        }
        (order[0], order[longest]) = (order[longest], order[0]);
        return order;
    }
}
