namespace Handbook.Models.Adapters;

/// <summary>Which elements of a change are left out before changes are summed.</summary>
internal enum ChangePruning
{
    /// <summary>None.</summary>
    Nothing,

    /// <summary>The smallest. TIES: Yadav et al. 2023, arXiv:2306.01708, §3.</summary>
    Smallest,

    /// <summary>Random ones; the others grow by as much. DARE: Yu et al. 2023, arXiv:2311.03099, eq. 3.</summary>
    Random,
}

/// <summary>What several adapters are combined in.</summary>
internal enum CombinationSpace
{
    /// <summary>A and B each by itself: fast, and the rank stays, but the product of two sums has terms of different adapters.</summary>
    Factors,

    /// <summary>A below one another, B beside one another: the exact sum, of the sum of the ranks.</summary>
    Ranks,

    /// <summary>B·A as a whole, of which the largest singular values are kept.</summary>
    Products,
}

/// <summary>A way to combine adapters, under PEFT's name of <c>combination_type</c>.</summary>
/// <param name="Name">PEFT's.</param>
/// <param name="Space">What is combined.</param>
/// <param name="Pruning">What is left out of each.</param>
/// <param name="ElectsSigns">Whether only what agrees with the majority's sign is summed, and divided by how many do.</param>
/// <param name="Summary">What it does, for the user.</param>
internal sealed record CombinationMethod(string Name, CombinationSpace Space, ChangePruning Pruning, bool ElectsSigns, string Summary)
{
    /// <summary>All of them.</summary>
    public static IReadOnlyList<CombinationMethod> All { get; } =
    [
        new("linear", CombinationSpace.Factors, ChangePruning.Nothing, false, "weighted sums of A and of B; adapters of one rank"),
        new("cat", CombinationSpace.Ranks, ChangePruning.Nothing, false, "the exact weighted sum; its rank is the sum of the ranks"),
        new("svd", CombinationSpace.Products, ChangePruning.Nothing, false, "the weighted sum, brought to --rank"),
        new("ties", CombinationSpace.Factors, ChangePruning.Smallest, true,
            "trim the smallest, elect signs, sum what agrees (TIES), in A and B"),
        new("ties_svd", CombinationSpace.Products, ChangePruning.Smallest, true, "TIES in the whole changes, brought to --rank"),
        new("dare_linear", CombinationSpace.Factors, ChangePruning.Random, false, "drop random elements (DARE) of A and B, sum"),
        new("dare_linear_svd", CombinationSpace.Products, ChangePruning.Random, false, "the same in the whole changes, brought to --rank"),
        new("dare_ties", CombinationSpace.Factors, ChangePruning.Random, true, "drop random elements, elect signs, sum what agrees"),
        new("dare_ties_svd", CombinationSpace.Products, ChangePruning.Random, true, "the same in the whole changes, brought to --rank"),
    ];
}

/// <summary>The numbers of a combination.</summary>
internal sealed record CombinationOptions
{
    /// <summary>Share of elements that are kept, above 0 up to 1, where some are left out.</summary>
    public double Density { get; init; } = 0.5;

    /// <summary>Rank of the result of a singular value decomposition; null for the largest of the adapters'.</summary>
    public int? Rank { get; init; }

    /// <summary>Whether the majority is counted by heads, not by the sum of the values.</summary>
    public bool SignsByFrequency { get; init; }

    /// <summary>Of the elements that DARE drops.</summary>
    public long Seed { get; init; } = 42;
}
