using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using Handbook.Base;
using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Sharding;
using Handbook.Torch;
using Handbook.Torch.Distributed;
using Handbook.Training.Methods;

namespace Handbook.Training.Distributed;

/// <summary>Those who train one model together, each on its share of every step's rows. The only way to add up anything across a
/// step.</summary>
/// <remarks>
/// All of them call the same methods in the same order, and each hears the same answer: totals that a loss is divided by, objectives that
/// compare rows, gradients, metrics, whether somebody was asked to stop. Sums are taken in the order of the ranks, so they have the same
/// bits everywhere.
/// Where the tokens of a row are cut over several (<see cref="Context"/>), these have the same rows, and learn the same of them: they are
/// one group, whose first member speaks for it in all that is counted by rows. Gradients are of each one's own tokens, and all count.
/// </remarks>
internal abstract class Workers
{
    /// <summary>The world of one: everything is its own answer, and costs nothing.</summary>
    public static Workers Alone { get; } = new OneWorker();

    /// <summary>Whether what is added up has the same bits however many there are: rows are cut into bins before these are shared out, and
    /// sums depend on bins alone (<see cref="Shard.IsOrdered"/>).</summary>
    public bool IsOrdered { get; private set; }

    /// <summary>The same workers, with sums of an order of their own where it is asked for.</summary>
    public Workers Ordered(bool isOrdered)
    {
        if (!isOrdered || IsOrdered)
            return this;
        var workers = this is OneWorker ? new OneWorker() : this;
        workers.IsOrdered = true;
        return workers;
    }

    /// <summary>How many there are.</summary>
    public abstract int Count { get; }

    /// <summary>Which one this is, from 0.</summary>
    public abstract int Rank { get; }

    /// <summary>Which one this is on its host, from 0.</summary>
    public virtual int LocalRank => Rank;

    /// <summary>Those who share the tokens of this one's rows; null where it computes its rows alone.</summary>
    public virtual ContextGroup? Context => null;

    /// <summary>How many share the rows of a step: groups, or single workers.</summary>
    public int Groups => Count / GroupSize;

    /// <summary>Which of the groups this one is in.</summary>
    public int Group => Rank / GroupSize;

    private int GroupSize => Context?.Size ?? 1;

    /// <summary>Whether this one writes, logs and says what is said once.</summary>
    public bool IsFirst => Rank == 0;

    /// <summary>All of them, as the weights of a model travel among them; null where nothing travels but sums. All ask for it.</summary>
    protected virtual IShardGroup? Shards => null;

    private ParameterTraffic? _traffic;

    /// <summary>Trains a model together from here on, until the result is disposed of. All call it with the same model.</summary>
    public IDisposable Join(ModelParameters parameters)
    {
        if ((Count > 1 || IsOrdered) && Shards is { } group)
        {
            parameters.Join(group);
            _traffic = parameters.Traffic;
        }
        return new Joined(this);
    }

    private sealed class Joined(Workers workers) : IDisposable
    {
        public void Dispose() => workers._traffic = null;
    }

    /// <summary>Says that this one waits for the others, and serves them meanwhile; called before whatever waits.</summary>
    protected void Waits() => _traffic?.WantNothing();

    private WorkerPlace _place = WorkerPlace.Start;

    /// <summary>Says what this one does until the result is disposed of; all say the same, as they do the same.</summary>
    /// <param name="place">For a message, e.g. <c>step 12</c>.</param>
    /// <param name="computes">See <see cref="WorkerPlace"/>.</param>
    public IDisposable At(string place, bool computes = false)
    {
        var stay = new Stay(this, _place);
        Move(new(place, computes));
        return stay;
    }

    private sealed class Stay(Workers workers, WorkerPlace before) : IDisposable
    {
        public void Dispose() => workers.Move(before);
    }

    private void Move(WorkerPlace place)
    {
        _place = place;
        Moved(place);
    }

    /// <summary>Hears what this one does from here on.</summary>
    protected virtual void Moved(WorkerPlace place)
    {
    }

    /// <summary>Host of a worker, for a message.</summary>
    protected virtual string HostOf(int rank) => Environment.MachineName;

    /// <summary>What everyone brings, by rank.</summary>
    /// <param name="mine">This one's part, of any length.</param>
    /// <exception cref="RankFailedException">One of them is at another place of the program; on all.</exception>
    public IReadOnlyList<byte[]> Gather(byte[] mine) => Gather(mine, "values");

    // Whoever left out a meeting, or came to another one, would take values for what they are not: each brings where it is, too.
    private IReadOnlyList<byte[]> Gather(byte[] mine, string what)
    {
        if (Count == 1)
            return [mine];
        const int Mark = 8;
        var place = $"{_place.Name} ({what})";
        var mark = SHA256.HashData(Encoding.UTF8.GetBytes(place)).AsSpan(0, Mark).ToArray();
        var all = Bring([.. mark, .. mine]);
        return all.All(part => part.AsSpan(0, Mark).SequenceEqual(mark)) ? [.. all.Select(part => part[Mark..])]
            : throw Apart([.. Bring(Encoding.UTF8.GetBytes(place)).Select(Encoding.UTF8.GetString)]);
    }

    private RankFailedException Apart(string[] places)
    {
        var usual = places.CountBy(place => place).MaxBy(kind => kind.Value).Key;
        var odd = Array.FindIndex(places, place => place != usual);
        return new(odd, HostOf(odd), $"it came to {places[odd]} when rank {Array.IndexOf(places, usual)} came to {usual}: it left something "
            + "out, or did it twice");
    }

    /// <summary>Gives everyone what all bring, by rank; of any length each.</summary>
    protected abstract IReadOnlyList<byte[]> Bring(byte[] mine);

    /// <summary>Replaces a tensor by the sum of everyone's; all have the same shape.</summary>
    public abstract void SumInPlace(Tensor values);

    /// <summary>What every group brings, by group; all of one bring the same. For whatever is counted by rows.</summary>
    /// <param name="mine">This one's part, of any length.</param>
    public IReadOnlyList<byte[]> GatherGroups(byte[] mine) =>
        Count == 1 ? [mine] : [.. Gather(mine).Where((_, rank) => rank % GroupSize == 0)];

    /// <summary>What every group brings, by group; the lists may differ in length.</summary>
    public IReadOnlyList<double[]> GatherGroups(double[] mine) =>
        Count == 1 ? [mine] : Numbers(GatherGroups(Bytes(mine)));

    /// <summary>What everyone of this one's group brings, by member. All groups call it.</summary>
    /// <param name="mine">This one's part, of any length.</param>
    public IReadOnlyList<byte[]> GatherInGroup(byte[] mine)
    {
        if (Context is not { } context)
            return [mine];
        Waits();
        return context.Gather(mine);
    }

    /// <summary>The sums of what everyone brings, place by place.</summary>
    public double[] Sum(params double[] mine) =>
        Count == 1 ? mine : Added(Numbers(Gather(Bytes(mine))), mine.Length);

    /// <summary>The sums of what every group brings, place by place. For whatever is counted by rows.</summary>
    public double[] SumGroups(params double[] mine) => Count == 1 ? mine : Added(GatherGroups(mine), mine.Length);

    private static byte[] Bytes(double[] numbers) => MemoryMarshal.AsBytes(numbers.AsSpan()).ToArray();

    private static double[][] Numbers(IEnumerable<byte[]> parts) => [.. parts.Select(part => MemoryMarshal.Cast<byte, double>(part).ToArray())];

    /// <summary>In one message: the exact sums of what every group brings, place by place, the same however it is grouped; and whether something is so for anyone.</summary>
    /// <param name="counts">Numbers whose sums need no care, such as whole ones.</param>
    public (ExactSum[] Sums, double[] Counts, bool Any) SumGroups(ExactSum[] mine, double[] counts, bool flag)
    {
        if (Count == 1)
            return (mine, counts, flag);
        var everyones = Numbers(Gather(Bytes([flag ? 1 : 0, .. counts, .. Numbers(mine)]), "the sums of its rows"));
        double[][] groups = [.. everyones.Where((_, rank) => rank % GroupSize == 0)];
        return (Sums(groups.Select(numbers => numbers[(1 + counts.Length)..]), mine.Length),
            Added(groups.Select(numbers => numbers[1..]), counts.Length), everyones.Any(numbers => numbers[0] != 0));
    }

    /// <summary>The exact sums of what everyone brings, place by place.</summary>
    public ExactSum[] Sum(ExactSum[] mine) => Count == 1 ? mine : Sums(Numbers(Gather(Bytes(Numbers(mine)))), mine.Length);

    // Each sum as how many parts it has, and these.
    private static double[] Numbers(ExactSum[] sums) => [.. sums.Select(sum => sum.Parts).SelectMany(parts => (double[])[parts.Length, .. parts])];

    private static ExactSum[] Sums(IEnumerable<double[]> everyones, int length)
    {
        ExactSum[] sums = [.. Enumerable.Range(0, length).Select(_ => new ExactSum())];
        foreach (var numbers in everyones)
        {
            var at = 0;
            foreach (var sum in sums)
            {
                var count = (int)numbers[at];
                foreach (var part in numbers.AsSpan(at + 1, count))
                    sum.Add(part);
                at += 1 + count;
            }
        }
        return sums;
    }

    private static double[] Added(IEnumerable<double[]> parts, int length)
    {
        var sums = new double[length];
        foreach (var part in parts)
            for (var i = 0; i < length; i++)
                sums[i] += part[i];
        return sums;
    }

    /// <summary>The same workers, so many neighbours of whom share the tokens of their rows.</summary>
    /// <param name="size">A divisor of <see cref="Count"/>.</param>
    /// <exception cref="InputException">It is none.</exception>
    public Workers InGroupsOf(int size)
    {
        RequireGroups(Count, size);
        return size == 1 ? this : Grouped(size);
    }

    /// <summary>Requires that so many workers can be put into groups of a size.</summary>
    /// <exception cref="InputException">They cannot.</exception>
    public static void RequireGroups(int count, int size)
    {
        if (count % size != 0)
            throw new InputException($"context_parallel_size is {size}, but there {(count == 1 ? "is 1 process" : $"are {count} processes")}",
                why: "so many processes share the tokens of a row, and all groups of them are of one size",
                fix: $"start a multiple of {size} processes, e.g. `handbook launch --nproc-per-node {size} …`, or set "
                    + "context_parallel_size: 1");
    }

    /// <summary>Makes the groups.</summary>
    protected abstract Workers Grouped(int size);

    /// <summary>Waits until everyone has come here.</summary>
    public void Meet() => Gather([], "a meeting");

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

    /// <inheritdoc cref="FirstOnHost{T}"/>
    public void FirstOnHost(Action work) => FirstOnHost(() =>
    {
        work();
        return true;
    });

    /// <summary>Whether it is so for anyone.</summary>
    public bool Any(bool mine) => Count == 1 ? mine : Gather([mine ? (byte)1 : (byte)0]).Any(one => one[0] != 0);

    /// <summary>Counts of everyone's rows together, of each of a step's groups.</summary>
    public IReadOnlyList<GroupTotals> Sum(IReadOnlyList<GroupTotals> mine) =>
        Count == 1 ? mine : GroupTotals.ListOf(SumGroups(GroupTotals.NumbersOf(mine)));

    /// <summary>Everyone's sums and counts together.</summary>
    public MetricSums Sum(MetricSums mine)
    {
        if (Count == 1)
            return mine;
        var all = new MetricSums();
        foreach (var part in GatherGroups(mine.ToBytes()))
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

    /// <summary>The part of some rows that falls to this one's group; every row falls to exactly one.</summary>
    /// <param name="cost">What a row costs, such as its tokens; every group's part costs about the same.</param>
    public int[] Share(int[] rows, Func<int, int> cost) => Shares([rows], cost)[0];

    /// <summary>The part of a step that falls to this one's group; each row stays in its micro-batch.</summary>
    /// <inheritdoc cref="Share(int[], Func{int, int})"/>
    internal StepRows Share(StepRows step, Func<int, int> cost) =>
        Groups == 1 ? step : step with { MicroBatches = Shares(step.MicroBatches, cost) };

    /// <summary>The dearest row that is left goes to whoever has least so far: no part is dearer than 4/3 of the best (Graham 1969).</summary>
    private int[][] Shares(IReadOnlyList<int[]> batches, Func<int, int> cost)
    {
        if (Groups == 1)
            return [.. batches];
        var places = batches.SelectMany((rows, batch) => rows.Select((row, at) => (Batch: batch, At: at, Cost: cost(row)))).ToArray();
        var (loads, mine) = (new long[Groups], batches.Select(_ => new List<int>()).ToArray());
        foreach (var place in places.OrderByDescending(place => place.Cost))        // stable: equal rows keep their order
        {
            var least = Array.IndexOf(loads, loads.Min());
            loads[least] += Math.Max(1, place.Cost);
            if (least == Group)
                mine[place.Batch].Add(place.At);
        }
        return [.. mine.Select((at, batch) => at.Order().Select(i => batches[batch][i]).ToArray())];
    }

    private sealed class OneWorker : Workers
    {
        protected override IShardGroup Shards => new OneShard();

        public override int Count => 1;

        public override int Rank => 0;

        protected override IReadOnlyList<byte[]> Bring(byte[] mine) => [mine];

        public override void SumInPlace(Tensor values)
        {
        }

        protected override Workers Grouped(int size) => this;
    }
}
