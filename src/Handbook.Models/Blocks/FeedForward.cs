using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Models.Blocks;

/// <summary>The feed-forward layer, gated or plain. Shazeer 2020, arXiv:2002.05202, §2.</summary>
/// <remarks>
/// <code>
/// gated:  y = W_down · ( a(W_gate·x) ⊙ (W_up·x) ),   both limited first where the family says so
/// plain:  y = W_down · a(W_up·x + b) + b
/// </code>
/// </remarks>
internal sealed class FeedForward
{
    private readonly Parameter[] _up;
    private readonly Parameter[]? _upBias;
    private readonly Parameter[] _down;
    private readonly Parameter[]? _downBias;
    private readonly Activation _activation;
    private readonly bool _gated;
    private readonly GateForm _form;

    /// <param name="paths">Of the layer; of experts, each one's.</param>
    public FeedForward(DecoderConfig config, ModelParameters parameters, params string[] paths)
    {
        _gated = config.GatedMlp;
        var up = _gated ? ".gate_up" : ".up";
        (_up, _upBias) = (Weights(up), Biases(up));
        (_down, _downBias) = (Weights(".down"), Biases(".down"));
        (_activation, _form) = (config.Activation, new(config.GateLimit, config.UpOffset));

        Parameter[] Weights(string layer) => Array.ConvertAll(paths, path => parameters[path + layer + ".weight"]);

        Parameter[]? Biases(string layer) => parameters.Find(paths[0] + layer + ".bias") is null ? null
            : Array.ConvertAll(paths, path => parameters[path + layer + ".bias"]);
    }

    /// <param name="x">[N, D].</param>
    /// <param name="noise">For the dropout of adapters; null computes without.</param>
    /// <returns>[N, D]; inside it is [N, F].</returns>
    public Tensor Forward(Tensor x, TokenNoise? noise)
    {
        using var scope = TensorScope.Enter();
        var inner = GatedActivation.Forward(Linear.Forward(x, _up[0], _upBias?[0], noise), _activation, _gated, _form);
        return scope.Keep(Linear.Forward(inner, _down[0], _downBias?[0], noise));
    }

    /// <summary>The layers of all experts.</summary>
    /// <param name="x">The rows of each expert's tokens behind one another; [M, D].</param>
    /// <param name="noise">Of the tokens before they were sorted.</param>
    /// <param name="routing">Whose the rows are.</param>
    /// <returns>[M, D]; inside it is [M, F].</returns>
    public Tensor Forward(Tensor x, TokenNoise? noise, Routing routing)
    {
        using var scope = TensorScope.Enter();
        var inner = GatedActivation.Forward(GroupedLinear.Forward(x, routing, _up, _upBias, noise), _activation, _gated, _form);
        return scope.Keep(GroupedLinear.Forward(inner, routing, _down, _downBias, noise));
    }
}
