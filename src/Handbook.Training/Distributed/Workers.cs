using System.Runtime.InteropServices;
using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Sharding;
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

    /// <summary>Which one this is on its host, from 0.</summary>
    public virtual int LocalRank => Rank;

    /// <summary>Whether this one writes, logs and says what is said once.</summary>
    public bool IsFirst => Rank == 0;

    /// <summary>All of them, as the weights of a model travel among them; null where nothing travels but sums. All ask for it.</summary>
    protected virtual IShardGroup? Shards => null;

    private ParameterTraffic? _traffic;

    /// <summary>Trains a model together from here on. All call it with the same model.</summary>
    public void Join(ModelParameters parameters)
    {
        if (Count == 1 || Shards is not { } group)
            return;
        parameters.Join(group);
        _traffic = parameters.Traffic;
    }

    /// <summary>Says that this one waits for the others, and serves them meanwhile; called before whatever waits.</summary>
    protected void Waits() => _traffic?.WantNothing();

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

    /// <summary>Waits until everyone has come here.</summary>
    public virtual void Meet()
    {
        if (Count > 1)
            Gather(Array.Empty<byte>());
    }

    /// <summary>Does something that fills a cache: one on each host first, then the others, who find it there.</summary>
    public T FirstOnHost<T>(Func<T> work)
    {
        if (Count == 1)
            return work();
        if (LocalRank != 0)
            Meet();
        var result = work();
        if (LocalRank == 0)
            Meet();
        return result;
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
    /// <param name="cost">What a row costs, such as its tokens; everyone's part costs about the same.</param>
    public int[] Share(int[] rows, Func<int, int> cost) => Shares([rows], cost)[0];

    /// <summary>The part of a step that falls to this one; each row stays in its micro-batch.</summary>
    /// <inheritdoc cref="Share(int[], Func{int, int})"/>
    internal StepRows Share(StepRows step, Func<int, int> cost) =>
        Count == 1 ? step : step with { MicroBatches = Shares(step.MicroBatches, cost) };

    /// <summary>The dearest row that is left goes to whoever has least so far: no part is dearer than 4/3 of the best (Graham 1969).</summary>
    private int[][] Shares(IReadOnlyList<int[]> batches, Func<int, int> cost)
    {
        if (Count == 1)
            return [.. batches];
        var places = batches.SelectMany((rows, batch) => rows.Select((row, at) => (Batch: batch, At: at, Cost: cost(row)))).ToArray();
        var (loads, mine) = (new long[Count], batches.Select(_ => new List<int>()).ToArray());
        foreach (var place in places.OrderByDescending(place => place.Cost))        // stable: equal rows keep their order
        {
            var least = Array.IndexOf(loads, loads.Min());
            loads[least] += Math.Max(1, place.Cost);
            if (least == Rank)
                mine[place.Batch].Add(place.At);
        }
        return [.. mine.Select((at, batch) => at.Order().Select(i => batches[batch][i]).ToArray())];
    }

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
