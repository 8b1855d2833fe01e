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

    public void Gather(Tensor result, Tensor values) => ProcessWorkers.Wait(watch, () => group.AllGather(result, values));

    public void SumParts(Tensor result, Tensor values) => ProcessWorkers.Wait(watch, () => group.ReduceScatter(result, values));

    public void Sum(Tensor values) => ProcessWorkers.Wait(watch, () => group.AllReduce(values, Reduction.Sum, inOrder: true));
}
