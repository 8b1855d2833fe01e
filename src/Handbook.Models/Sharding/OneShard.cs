using Handbook.Torch;

namespace Handbook.Models.Sharding;

/// <summary>One process that has everything: what travels is already there.</summary>
internal sealed class OneShard : IShardGroup
{
    public int Rank => 0;

    public int Count => 1;

    public void Gather(Tensor result, Tensor values) => result.CopyFrom(values);

    public void SumParts(Tensor result, Tensor values) => result.CopyFrom(values);

    public void Exchange(Tensor result, Tensor values) => result.CopyFrom(values);

    public void Sum(Tensor values)
    {
    }
}
