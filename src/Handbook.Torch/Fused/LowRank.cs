namespace Handbook.Torch.Fused;

/// <summary>What one adapter adds to a linear layer. LoRA: Hu et al. 2021, arXiv:2106.09685; DoRA: Liu et al. 2024, arXiv:2402.09353.</summary>
/// <remarks>
/// Some rows of the output, those of one published layer, are one part:
/// <code>
/// LoRA:  yᵢ = Wᵢ·x + s·Bᵢ·(Aᵢ·d(x) [+ bias])          d: dropout while training
/// DoRA:  yᵢ = m / ‖Wᵢ + s·Bᵢ·Aᵢ‖ · ( Wᵢ·x + s·Bᵢ·(Aᵢ·d(x)) )      norms by row, constant in the backward pass (§4.3)
/// </code>
/// The A matrices of all parts lie below one another, so that their common input is multiplied once. With dropout DoRA's own layer reads x
/// itself: the reference implementation drops elements of its input as well, which has the same mean.
/// </remarks>
internal sealed class LowRank
{
    /// <summary>A, of all parts below one another; [R, in].</summary>
    public required Parameter Down { get; init; }

    /// <summary>The parts, in the order of their rows.</summary>
    public required IReadOnlyList<LowRankPart> Parts { get; init; }

    /// <summary>Share of the input's elements that are 0 while training.</summary>
    public double Dropout { get; init; }

    /// <summary>Tells the masks of this layer from those of others.</summary>
    public ulong Layer { get; init; }

    /// <summary>Whether some part has a magnitude (DoRA).</summary>
    public bool HasMagnitude => Parts.Any(part => part.Magnitude is not null);

    /// <summary>Everything that may be trained.</summary>
    public IEnumerable<Parameter> Parameters => [Down, .. Parts.SelectMany(part => part.Parameters)];
}

/// <summary>The rows of a layer's output that one published layer makes, and what is added to them.</summary>
internal sealed record LowRankPart
{
    /// <summary>B; [rows, r].</summary>
    public required Parameter Up { get; init; }

    /// <summary>Added to B's product, before the factor; [rows], null for none.</summary>
    public Parameter? UpBias { get; init; }

    /// <summary>DoRA's m; [rows], null where only B·A is added.</summary>
    public Parameter? Magnitude { get; init; }

    /// <summary>First row of its A in <see cref="LowRank.Down"/>.</summary>
    public long RankStart { get; init; }

    /// <summary>First row in the output.</summary>
    public long RowStart { get; init; }

    /// <summary>s.</summary>
    public double Scale { get; init; }

    /// <summary>r.</summary>
    public long Rank => Up.Value.Size(1);

    /// <summary>Rows of the output.</summary>
    public long Rows => Up.Value.Size(0);

    /// <summary>Everything that may be trained.</summary>
    public IEnumerable<Parameter> Parameters
    {
        get
        {
            yield return Up;
            if (UpBias is not null)
                yield return UpBias;
            if (Magnitude is not null)
                yield return Magnitude;
        }
    }
}
