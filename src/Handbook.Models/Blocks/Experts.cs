using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Models.Blocks;

/// <summary>A feed-forward layer of experts, of which each token visits a few. Jiang et al. 2024, arXiv:2401.04088, §2.1.</summary>
/// <remarks>
/// <code>
/// y = Σ over the K best e of  w_e · expert_e(x),   w from softmax( x · W_rᵀ )
/// </code>
/// Each expert is a <see cref="FeedForward"/> and does one product over its own tokens. The router's product has the master's precision:
/// where two
/// experts are nearly even, a rounded logit would send the token elsewhere.
/// </remarks>
internal sealed class Experts
{
    private readonly Parameter _router;
    private readonly FeedForward[] _experts;
    private readonly ExpertOptions _options;
    private readonly int _layer;

    public Experts(DecoderConfig config, int layer, ModelParameters parameters, string path)
    {
        (_options, _layer) = (config.Experts!, layer);
        _router = parameters[path + ".router.weight"];
        _experts = [.. Enumerable.Range(0, _options.Count).Select(e => new FeedForward(config, parameters, $"{path}.experts.{e}"))];
    }

    /// <param name="x">[N, D].</param>
    /// <param name="options">Says who is told of the router.</param>
    /// <returns>[N, D], and how the tokens were spread, [E]; null where nobody asks.</returns>
    public (Tensor Said, Tensor? Spread) Forward(Tensor x, ForwardOptions options)
    {
        using var scope = TensorScope.Enter();
        var logits = Linear.InMaster(x, _router);
        options.RouterObserver?.Invoke(_layer, logits);
        var (weights, routing, spread) = TopKRouter.Forward(logits, _options.PerToken, _options.NormalizeTopK,
            options.ExpertLoad?.Layer(_layer));
        var rows = ExpertDispatch.Forward(x, routing);
        var said = new Tensor?[rows.Length];
        for (var e = 0; e < rows.Length; e++)
            said[e] = rows[e] is { } own ? _experts[e].Forward(own, options.AdapterNoise?.Select(routing.TokensOf(e))) : null;
        return (scope.Keep(ExpertCombine.Forward(said, weights, routing)), spread is null ? null : scope.Keep(spread));
    }
}
