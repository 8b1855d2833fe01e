namespace Handbook.Torch.Fused;

/// <summary>
/// Where the tokens of a stream go: each to its best few experts. Grouped by expert, so that each expert does one product over its own
/// tokens.
/// </summary>
internal sealed class Routing
{
    /// <param name="expert">The expert of each choice, no expert twice for a token; [N·K], a token's choices side by side.</param>
    /// <param name="perToken">K.</param>
    /// <param name="experts">E.</param>
    public Routing(int[] expert, int perToken, int experts)
    {
        (Expert, PerToken, Count, Start) = (expert, perToken, new int[experts], new int[experts]);
        foreach (var e in expert)
            Count[e]++;
        for (var e = 1; e < experts; e++)
            Start[e] = Start[e - 1] + Count[e - 1];
        var next = (int[])Start.Clone();
        Row = Array.ConvertAll(expert, e => next[e]++);
    }

    /// <summary>K, experts per token.</summary>
    public int PerToken { get; }

    /// <summary>N.</summary>
    public int TokenCount => Expert.Length / PerToken;

    /// <summary>The expert of each choice; choice c is one of token c / K; [N·K].</summary>
    public int[] Expert { get; }

    /// <summary>The row of each choice where those of every expert stand behind one another; [N·K].</summary>
    public int[] Row { get; }

    /// <summary>Tokens of each expert; [E].</summary>
    public int[] Count { get; }

    /// <summary>First row of each expert; [E].</summary>
    public int[] Start { get; }

    /// <summary>The token of each row; [N·K].</summary>
    public int[] Tokens()
    {
        var tokens = new int[Row.Length];
        for (var choice = 0; choice < Row.Length; choice++)
            tokens[Row[choice]] = choice / PerToken;
        return tokens;
    }
}

/// <summary>How one layer's router spread a stream over its experts.</summary>
/// <param name="weights">How much each token counts; [N].</param>
/// <param name="experts">E.</param>
internal sealed class RouterTally(float[] weights, int experts)
{
    /// <summary>How much each token counts; [N].</summary>
    public float[] Weights => weights;

    /// <summary>Σ weight over the tokens that visit an expert; [E].</summary>
    public double[] Taken { get; } = new double[experts];

    /// <summary>Σ weight · p over all tokens; [E].</summary>
    public double[] Probability { get; } = new double[experts];
}
