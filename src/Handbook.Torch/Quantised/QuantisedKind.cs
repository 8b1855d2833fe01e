namespace Handbook.Torch.Quantised;

/// <summary>How a weight is kept as codes.</summary>
internal enum QuantisedKind
{
    /// <summary>Four bits: quantiles of a normal distribution, a scale for each block. Dettmers et al. 2023, arXiv:2305.14314, §3.</summary>
    Nf4,

    /// <summary>Four bits: a sign, two bits of exponent and one of fraction, a scale for each block.</summary>
    Fp4,

    /// <summary>Eight bits, a scale for each row. Dettmers et al. 2022, arXiv:2208.07339, §3.</summary>
    Int8,
}

/// <summary>How a weight is turned into codes.</summary>
/// <param name="Kind">The codes.</param>
/// <param name="Double">Whether the scales of blocks are kept as codes themselves (arXiv:2305.14314, §3); not for rows.</param>
internal readonly record struct QuantisedFormat(QuantisedKind Kind, bool Double = false)
{
    /// <summary>Values of one block; a row's block is the row.</summary>
    public const int BlockSize = 64;

    /// <summary>Scales of one block, where they are codes.</summary>
    public const int NestedBlockSize = 256;

    /// <summary>Bytes of a matrix of this shape, its scales included.</summary>
    public long Bytes(long rows, long columns)
    {
        if (Kind == QuantisedKind.Int8)
            return rows * columns + rows * sizeof(float);
        var blocks = (rows * columns + BlockSize - 1) / BlockSize;
        return (rows * columns + 1) / 2
            + (Double ? blocks + (blocks + NestedBlockSize - 1) / NestedBlockSize * sizeof(float) : blocks * sizeof(float));
    }

    /// <summary>The name in recipes and files: <c>nf4</c>, <c>fp4</c> or <c>int8</c>.</summary>
    public string Name => Kind switch
    {
        QuantisedKind.Nf4 => "nf4",
        QuantisedKind.Fp4 => "fp4",
        _ => "int8",
    };

    /// <summary>In words, for notes: <c>nf4, double</c>.</summary>
    public override string ToString() => Double ? $"{Name}, double" : Name;
}
