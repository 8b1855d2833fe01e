using Handbook.Models.Sharding;
using Handbook.Torch;
using Handbook.Torch.Distributed;

namespace Handbook.Training.Distributed;

/// <summary>Weights and gradients on their way among processes.</summary>
/// <param name="group">Of all of them, for nothing else.</param>
/// <param name="watch">Finds out who is to blame where an operation fails.</param>
internal sealed class ProcessShards(ProcessGroup group, JobWatch? watch) : IShardGroup
{
    public int Rank => group.Rank;

    public int Count => group.Size;

    public void Gather(Tensor result, Tensor values) => Wait(() => group.AllGather(result, values));

    public void SumParts(Tensor result, Tensor values) => Wait(() => group.ReduceScatter(result, values));

    public void Exchange(Tensor result, Tensor values) => Wait(() => group.AllToAll(result, values));

    public void Sum(Tensor values) => Wait(() => group.AllReduce(values, Reduction.Sum, inOrder: true));

    private void Wait(Func<Work> begin) => Work.Run(begin, watch is null ? null : watch.Explain);
}
