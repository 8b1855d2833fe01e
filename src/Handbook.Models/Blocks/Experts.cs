using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Models.Blocks;

/// <summary>A feed-forward layer of experts, of which each token visits a few. Jiang et al. 2024, arXiv:2401.04088, §2.1.</summary>
/// <remarks>
/// <code>
/// y = Σ over the K best e of  w_e · expert_e(x)  + g · shared(x)
/// y = Σ over the K best e of  expert_e( w_e · x )  + …               where the family weighs what an expert reads
/// w from x · W_rᵀ (+ b) as <see cref="RouterRule"/> says,  g = σ( x · w_gᵀ ), or 1 where there is no such gate
/// </code>
/// Each expert is a feed-forward layer, <see cref="FeedForward"/>, over its own tokens; all of them compute side by side. The router's
/// product has the master's precision: where two experts are nearly even, a rounded logit would send the token elsewhere.
/// </remarks>
internal sealed class Experts
{
    private readonly Parameter _router;
    private readonly Parameter? _routerBias;
    private readonly Parameter? _correction;
    private readonly FeedForward _experts;
    private readonly FeedForward? _shared;
    private readonly Parameter? _sharedGate;
    private readonly RouterRule _rule;
    private readonly bool _weighsInput;
    private readonly int _layer;

    public Experts(DecoderConfig config, int layer, ModelParameters parameters, string path)
    {
        var options = config.Experts!;
        (_layer, _weighsInput) = (layer, options.WeighsInput);
        _rule = new(options.PerToken)
        {
            Normalizes = options.NormalizeTopK,
            IsSigmoid = options.Sigmoid,
            Scale = options.WeightScale,
            Groups = options.Groups,
            GroupsPerToken = options.GroupsPerToken,
        };
        _router = parameters[path + ".router.weight"];
        _routerBias = parameters.Find(path + ".router.bias");
        _correction = parameters.Find(path + ".router.correction");
        _experts = new(config, parameters, [.. Enumerable.Range(0, options.Count).Select(e => $"{path}.experts.{e}")]);
        _shared = options.SharedInnerSize == 0 ? null : new(config, parameters, [path + ".shared"]);
        _sharedGate = parameters.Find(path + ".shared_gate.weight");
    }

    /// <param name="x">[N, D].</param>
    /// <param name="options">Says who is told of the router.</param>
    /// <returns>[N, D], and how the tokens were spread, [E]; null where nobody asks.</returns>
    public (Tensor Said, Tensor? Spread) Forward(Tensor x, ForwardOptions options)
    {
        using var scope = TensorScope.Enter();
        var logits = Linear.InMaster(x, _router, _routerBias);
        options.RouterObserver?.Invoke(_layer, logits);
        var (weights, routing, spread) = TopKRouter.Forward(logits, _rule, options.ExpertLoad?.Layer(_layer), _correction?.Value);
        var rows = ExpertDispatch.Forward(x, routing);
        if (_weighsInput)
            (rows, weights) = (Weighed(rows, weights, routing), weights.Detach().ZerosLike() + 1);
        var said = _experts.Forward(rows, options.AdapterNoise, routing);
        var all = ExpertCombine.Forward(said, weights, routing);
        if (_shared is not null)
            all += Shared(x, options.AdapterNoise);
        return (scope.Keep(all), spread is null ? null : scope.Keep(spread));
    }

    /// <summary>The rows of each expert's tokens times their weights; [N·K, D].</summary>
    private static Tensor Weighed(Tensor rows, Tensor weights, Routing routing)
    {
        using var scope = TensorScope.Enter();
        var choices = new int[routing.Row.Length];
        for (var choice = 0; choice < choices.Length; choice++)
            choices[routing.Row[choice]] = choice;
        return scope.Keep(rows * RowSelect.Forward(weights.View(choices.Length, 1), choices).To(rows.DType));
    }

    private Tensor Shared(Tensor x, TokenNoise? noise)
    {
        using var scope = TensorScope.Enter();
        var said = _shared!.Forward(x, noise);
        return scope.Keep(_sharedGate is null ? said : said * Linear.Forward(x, _sharedGate, null, noise).Sigmoid());
    }
}
