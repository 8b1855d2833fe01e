using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Modules;

/// <summary>One layer: attention and feed-forward, each behind a norm, each adding to the residual stream.</summary>
/// <remarks>
/// <code>
/// h = h + attention( norm₁ h );   h = h + feedforward( norm₂ h )
/// </code>
/// The last addition is left to the next norm, which does it in the same pass over memory: so a layer takes and returns (h, delta).
/// </remarks>
public sealed class DecoderLayer
{
    private readonly Norm _attentionNorm;
    private readonly Norm _feedForwardNorm;
    private readonly FeedForward? _feedForward;
    private readonly Experts? _experts;

    public DecoderLayer(DecoderConfig config, int index, ModelParameters parameters)
    {
        Index = index;
        _attentionNorm = new Norm(config, parameters, $"layers.{index}.attention_norm");
        _feedForwardNorm = new Norm(config, parameters, $"layers.{index}.mlp_norm");
        Attention = new Attention(config, index, parameters, $"layers.{index}.attention");
        if (config.Experts is null)
            _feedForward = new FeedForward(config, parameters, $"layers.{index}.mlp");
        else
            _experts = new Experts(config, index, parameters, $"layers.{index}.mlp");
    }

    public int Index { get; }

    internal Attention Attention { get; }

    /// <param name="residual">h, [N, D].</param>
    /// <param name="delta">What is still to be added to it, [N, D]; null for nothing.</param>
    /// <param name="compute">Element type of products.</param>
    /// <param name="options">Says who hears of the experts.</param>
    public (Tensor Residual, Tensor? Delta) Forward(Tensor residual, Tensor? delta, StreamLayout stream, RotaryTable? rotary, DType compute, ForwardOptions options) =>
        Forward(residual, delta, compute, x => Attention.Forward(x, stream, rotary), options);

    /// <summary>The layer with another way to attend, e.g. to a cache.</summary>
    internal (Tensor Residual, Tensor? Delta) Forward(Tensor residual, Tensor? delta, DType compute, Func<Tensor, Tensor> attend, ForwardOptions options)
    {
        using var scope = TensorScope.Enter();
        var (afterDelta, x) = _attentionNorm.Forward(residual, delta, compute);
        var (afterAttention, y) = _feedForwardNorm.Forward(afterDelta, attend(x), compute);
        return (scope.Keep(afterAttention), scope.Keep(_experts?.Forward(y, options) ?? _feedForward!.Forward(y)));
    }
}
