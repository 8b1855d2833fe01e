using Handbook.Base.Progress;
using Handbook.Models.Sharding;
using Handbook.Torch;
using Handbook.Torch.Distributed;

namespace Handbook.Training.Distributed;

/// <summary>Workers that are processes, a rank each of a group.</summary>
/// <param name="group">Of all of them; the caller's.</param>
/// <param name="watch">Finds out who is to blame where an operation fails; null: what the group says is passed on.</param>
/// <param name="localRank">Which one this is on its host.</param>
/// <param name="subgroup">Makes a group of some of the ranks, under a name; null where there are none.</param>
/// <param name="context">Those who share the tokens of this one's rows.</param>
internal sealed class ProcessWorkers(ProcessGroup group, JobWatch? watch = null, int? localRank = null,
    Func<IReadOnlyList<int>, string, ProcessGroup?>? subgroup = null, ContextGroup? context = null) : Workers
{
    private IShardGroup? _shards;
    private ProcessWorkers? _grouped;

    protected override IShardGroup? Shards => _shards ?? (subgroup?.Invoke([.. Enumerable.Range(0, Count)], "parameters") is { } all
        ? _shards = new ProcessShards(all, watch) : null);

    public override int Count => group.Size;

    public override int Rank => group.Rank;

    public override int LocalRank => localRank ?? group.Rank;

    /// <inheritdoc/>
    public override ContextGroup? Context => context;

    /// <inheritdoc/>
    protected override Workers Grouped(int size)
    {
        if (_grouped?.Context!.Size == size)        // trained together before, on another model
            return _grouped;
        var first = Rank / size * size;
        var own = (subgroup ?? throw new InvalidOperationException("these workers were given no groups"))(
            [.. Enumerable.Range(first, size)], $"context/{size}/{first}")!;
        return _grouped = new ProcessWorkers(group, watch, localRank, subgroup, new(own, watch is null ? null : watch.Explain));
    }

    /// <inheritdoc/>
    protected override IReadOnlyList<byte[]> Bring(byte[] mine)
    {
        Waits();
        return GatheredBytes.Of(group, mine, Wait);
    }

    /// <inheritdoc/>
    public override void SumInPlace(Tensor values)
    {
        Waits();
        Wait(() => group.AllReduce(values, Reduction.Sum, inOrder: true));
    }

    /// <inheritdoc/>
    protected override void Moved(WorkerPlace place) => watch?.At(place);

    /// <inheritdoc/>
    protected override string HostOf(int rank) => watch?.Hosts[rank] ?? base.HostOf(rank);

    private void Wait(Func<Work> begin) => Pulse.WaitFor("all others", () => Work.Run(begin, watch is null ? null : watch.Explain));
}
