using Handbook.Torch;

namespace Handbook.Models.Sharding;

/// <summary>Those who train a model together, as its weights and gradients travel among them. All call the same methods in the same
/// order; each returns when it is done.</summary>
internal interface IShardGroup
{
    /// <summary>Which one this is, from 0.</summary>
    int Rank { get; }

    /// <summary>How many there are.</summary>
    int Count { get; }

    /// <summary>Gives everyone the values of all, by rank.</summary>
    /// <param name="result">Count times as many elements as <paramref name="values"/>, which may lie in it at their place.</param>
    void Gather(Tensor result, Tensor values);

    /// <summary>Gives each its part of the sum of everyone's values, taken in the order of the ranks.</summary>
    /// <param name="result">This one's part; may lie in <paramref name="values"/> at its place.</param>
    void SumParts(Tensor result, Tensor values);

    /// <summary>Gives each its part of everyone's values, by rank.</summary>
    /// <param name="result">Everyone's values for this one, one behind the other.</param>
    /// <param name="values">The parts of all, one behind the other.</param>
    void Exchange(Tensor result, Tensor values);

    /// <summary>Replaces values by the sum of everyone's, taken in the order of the ranks.</summary>
    void Sum(Tensor values);
}
