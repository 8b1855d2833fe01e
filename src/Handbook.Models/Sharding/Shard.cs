namespace Handbook.Models.Sharding;

/// <summary>What the processes that train a model share out among them. Rajbhandari et al. 2020, arXiv:1910.02054.</summary>
internal enum ShardingStage
{
    /// <summary>Nothing: each has everything.</summary>
    None = 0,

    /// <summary>ZeRO-1: the optimiser's states, and masters that only it reads.</summary>
    States = 1,

    /// <summary>ZeRO-2: gradients, too.</summary>
    Gradients = 2,

    /// <summary>ZeRO-3: weights, too.</summary>
    Parameters = 3,
}

/// <summary>Which part of the trained weights is this process's to update.</summary>
/// <param name="Stage">What is shared out.</param>
/// <param name="Rank">Which one this is, from 0.</param>
/// <param name="Count">How many there are.</param>
internal readonly record struct Shard(ShardingStage Stage, int Rank, int Count)
{
    /// <summary>One process that has everything.</summary>
    public static Shard Alone => new(ShardingStage.None, 0, 1);

    /// <summary>What is shared out: nothing on one process; where sums are taken in order at least gradients.</summary>
    /// <param name="stage">What is asked for.</param>
    /// <param name="isOrdered">See <see cref="IsOrdered"/>.</param>
    public static Shard Of(ShardingStage stage, int rank, int count, bool isOrdered) => (count == 1 ? Alone
        : new(isOrdered && stage < ShardingStage.Gradients ? ShardingStage.Gradients : stage, rank, count)) with
    { IsOrdered = isOrdered };

    /// <summary>Whether gradients are added up one pass after the other, in the order of the passes of all processes, so that their sums have
    /// the same bits for any number of processes. Whoever adds them up owns them: with several, gradients are shared out.</summary>
    public bool IsOrdered { get; init; }

    /// <summary>Whether anything is cut.</summary>
    public bool Cuts => Count > 1 && Stage != ShardingStage.None;

    /// <summary>Parts begin at multiples of so many elements: those of a block of 8-bit states.</summary>
    public const int Block = 256;
}
