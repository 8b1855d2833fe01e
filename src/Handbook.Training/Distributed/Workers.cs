using System.Runtime.InteropServices;
using Handbook.Data;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Training.Methods;

namespace Handbook.Training.Distributed;

/// <summary>Those who train one model together, each on its share of every step's rows. The only way to add up anything across a
/// step.</summary>
/// <remarks>
/// All of them call the same methods in the same order, and each hears the same answer: totals that a loss is divided by, objectives that
/// compare rows, gradients, metrics, whether somebody was asked to stop. Sums are taken in the order of the ranks, so they have the same
/// bits everywhere.
/// </remarks>
internal abstract class Workers
{
    /// <summary>The world of one: everything is its own answer, and costs nothing.</summary>
    public static Workers Alone { get; } = new OneWorker();

    /// <summary>How many there are.</summary>
    public abstract int Count { get; }

    /// <summary>Which one this is, from 0.</summary>
    public abstract int Rank { get; }

    /// <summary>Whether this one writes, logs and says what is said once.</summary>
    public bool IsFirst => Rank == 0;

    /// <summary>What everyone brings, by rank.</summary>
    /// <param name="mine">This one's part, of any length.</param>
    public abstract IReadOnlyList<byte[]> Gather(byte[] mine);

    /// <summary>Replaces a tensor by the sum of everyone's; all have the same shape.</summary>
    public abstract void SumInPlace(Tensor values);

    /// <summary>What everyone brings, by rank; the lists may differ in length.</summary>
    public IReadOnlyList<double[]> Gather(double[] mine) =>
        Count == 1 ? [mine]
            : [.. Gather(MemoryMarshal.AsBytes(mine.AsSpan()).ToArray())
            .Select(bytes => MemoryMarshal.Cast<byte, double>(bytes).ToArray())];

    /// <summary>The sums of what everyone brings, place by place.</summary>
    public double[] Sum(params double[] mine)
    {
        if (Count == 1)
            return mine;
        var sums = new double[mine.Length];
        foreach (var part in Gather(mine))
            for (var i = 0; i < sums.Length; i++)
                sums[i] += part[i];
        return sums;
    }

    /// <summary>Whether it is so for anyone.</summary>
    public bool Any(bool mine) => Count == 1 ? mine : Sum(mine ? 1 : 0)[0] > 0;

    /// <summary>Counts of everyone's rows together.</summary>
    public GroupTotals Sum(GroupTotals mine) => Count == 1 ? mine : GroupTotals.Of(Sum(mine.Numbers));

    /// <summary>Everyone's sums and counts together.</summary>
    public MetricSums Sum(MetricSums mine)
    {
        if (Count == 1)
            return mine;
        var all = new MetricSums();
        foreach (var part in Gather(mine.ToBytes()))
            all.Add(MetricSums.FromBytes(part));
        return all;
    }

    /// <summary>Adds up everyone's gradients; afterwards all have the same.</summary>
    internal void SumGradients(ModelParameters parameters)
    {
        if (Count == 1)
            return;
        parameters.SettleGradients();
        foreach (var bucket in parameters.Trained)
            SumInPlace(bucket.Gradients!);
    }

    /// <summary>The part of some rows that falls to this one; every row falls to exactly one.</summary>
    public int[] Share(int[] rows) => Count == 1 ? rows : [.. rows.Where((_, i) => i % Count == Rank)];

    /// <summary>The part of a step that falls to this one: its share of each micro-batch.</summary>
    internal StepRows Share(StepRows step) => Count == 1 ? step : step with { MicroBatches = [.. step.MicroBatches.Select(Share)] };

    private sealed class OneWorker : Workers
    {
        public override int Count => 1;

        public override int Rank => 0;

        public override IReadOnlyList<byte[]> Gather(byte[] mine) => [mine];

        public override void SumInPlace(Tensor values)
        {
        }
    }
}
