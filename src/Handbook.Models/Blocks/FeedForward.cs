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
    private readonly Parameter _up;
    private readonly Parameter? _upBias;
    private readonly Parameter _down;
    private readonly Parameter? _downBias;
    private readonly Activation _activation;
    private readonly bool _gated;
    private readonly GateForm _form;

    public FeedForward(DecoderConfig config, ModelParameters parameters, string path)
    {
        _gated = config.GatedMlp;
        var up = path + (_gated ? ".gate_up" : ".up");
        _up = parameters[up + ".weight"];
        _upBias = parameters.Find(up + ".bias");
        _down = parameters[path + ".down.weight"];
        _downBias = parameters.Find(path + ".down.bias");
        (_activation, _form) = (config.Activation, new(config.GateLimit, config.UpOffset));
    }

    /// <param name="x">[N, D].</param>
    /// <param name="noise">For the dropout of adapters; null computes without.</param>
    /// <returns>[N, D]; inside it is [N, F].</returns>
    public Tensor Forward(Tensor x, TokenNoise? noise)
    {
        using var scope = TensorScope.Enter();
        var inner = GatedActivation.Forward(Linear.Forward(x, _up, _upBias, noise), _activation, _gated, _form);
        return scope.Keep(Linear.Forward(inner, _down, _downBias, noise));
    }
}
