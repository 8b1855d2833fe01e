namespace Handbook.Torch.Fused;

/// <summary>How a router chooses a token's experts, and what each of them counts.</summary>
/// <remarks>
/// <code>
/// v = softmax( logits )  or  σ( logits );   S = the K largest of v + b, of those in the best groups where there are several
/// w_e = v_e / Σ_S v · scale     or w_e = v_e · scale where nothing is normalised
/// </code>
/// A group is as good as its best two v + b together; v + b of experts in other groups counts as 0. b is the correction that balances
/// experts without a loss, which no gradient reaches. DeepSeek-AI 2024, arXiv:2412.19437, §2.1.2.
/// </remarks>
/// <param name="PerToken">K, at most the number of experts.</param>
internal sealed record RouterRule(int PerToken)
{
    /// <summary>Whether a token's weights are scaled to sum to <see cref="Scale"/>.</summary>
    public bool Normalizes { get; init; }

    /// <summary>σ of each logit, and not the softmax of all.</summary>
    public bool IsSigmoid { get; init; }

    /// <summary>Factor on the weights.</summary>
    public double Scale { get; init; } = 1;

    /// <summary>Groups of neighbouring experts, all of one size.</summary>
    public int Groups { get; init; } = 1;

    /// <summary>Groups in which a token's experts are.</summary>
    public int GroupsPerToken { get; init; } = 1;
}
