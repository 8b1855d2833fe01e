using Handbook.Torch.Devices;

namespace Handbook.Torch.Fused;

/// <summary>
/// Chooses each token's experts and how much each of them counts. Shazeer et al. 2017, arXiv:1701.06538; as in Mixtral, arXiv:2401.04088,
/// §2.1.
/// </summary>
/// <remarks>
/// <code>
/// w and S as in RouterRule, which shows the variants;   spread_e = Σ_t c_t · v_t,e / Σ v_t        c from the tally
/// </code>
/// The spread is an output of its own, over which a loss can be taken that sends tokens to other experts.
/// </remarks>
internal sealed class TopKRouter : AutogradNode
{
    private readonly Routing _routing;
    private readonly RouterRule _rule;
    private readonly float[]? _tokenWeights;
    private Tensor _logits = null!;

    private TopKRouter(Routing routing, RouterRule rule, float[]? tokenWeights) =>
        (_routing, _rule, _tokenWeights) = (routing, rule, tokenWeights);

    /// <param name="logits">[N, E], float32 or float64, contiguous.</param>
    /// <param name="rule">How many are chosen, and by what.</param>
    /// <param name="tally">Says how much each token counts and receives how the tokens were spread; null for nobody.</param>
    /// <param name="correction">b, [E]; null for none.</param>
    /// <returns>w, [N, K]; whose it is; and the spread, [E] in float64, null without a tally.</returns>
    public static (Tensor Weights, Routing Routing, Tensor? Spread) Forward(Tensor logits, RouterRule rule,
        RouterTally? tally = null, Tensor? correction = null)
    {
        using var scope = TensorScope.Enter();
        TopKRouter node;
        Tensor weights;
        Tensor? spread;
        using (GradMode.Disabled())
        {
            weights = Tensor.Empty(logits.DType, logits.Device, logits.Size(0), rule.PerToken);
            var chosen = DeviceKernels.Of(logits).RouterForward(logits, rule, correction?.To(logits.DType), weights, tally);
            node = new TopKRouter(new Routing(chosen, rule.PerToken, (int)logits.Size(1)), rule, tally?.Weights);
            spread = tally is null ? null : Tensor.From(tally.Probability);
        }
        if (IsNeeded(logits))
        {
            node._logits = node.Save(logits);
            if (spread is null)
                node.Attach([logits], weights);
            else
                node.Attach([logits], weights, spread);
        }
        return (scope.Keep(weights), node._routing, spread is null ? null : scope.Keep(spread));
    }

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        var dlogits = _logits.EmptyLike();
        var dspread = _tokenWeights is null ? null : gradients[1]?.ToArray<double>();
        DeviceKernels.Of(_logits).RouterBackward(_logits, _routing, _rule, gradients[0]?.Contiguous(), dspread, _tokenWeights,
            dlogits);
        return [dlogits];
    }
}
