using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Models.Blocks;

/// <summary>
/// One layer: attention and feed-forward, each with a norm before it, behind it, or both, each adding to the residual stream.
/// </summary>
/// <remarks>
/// <code>
/// before:    h = h + attention( norm₁ h );             h = h + feedforward( norm₂ h )
/// after:     h = h + norm₁( attention h );             h = h + norm₂( feedforward h )
/// parallel:  h = h + attention( norm₁ h ) + feedforward( norm₂ h ),   norm₁ alone where the family shares it
/// of sums:   h = norm₁( h + attention h );             h = norm₂( h + feedforward h )
/// </code>
/// Where the residual comes from the norm, h + attention( norm₁ h ) is norm₁ h + attention( norm₁ h ), and so for the feed-forward part.
/// What a block says is multiplied by the family's residual scale before it is added.
/// The last addition is left to the next norm, which does it in the same pass over memory: so a layer takes and returns both.
/// </remarks>
internal sealed class DecoderLayer
{
    private readonly Norm? _attentionNorm;
    private readonly Norm? _attentionOutputNorm;
    private readonly Norm? _feedForwardNorm;
    private readonly Norm? _feedForwardOutputNorm;
    private readonly FeedForward? _feedForward;
    private readonly Experts? _experts;
    private readonly DecoderConfig _config;

    public DecoderLayer(DecoderConfig config, int index, ModelParameters parameters)
    {
        var path = $"layers.{index}.";
        (_config, Index) = (config, index);
        if (config.NormPlacement is NormPlacement.Before or NormPlacement.BeforeAndAfter)
            (_attentionNorm, _feedForwardNorm) = (new(config, parameters, path + "attention_norm"),
                config.SharedNorm ? null : new(config, parameters, path + "mlp_norm"));
        if (config.NormPlacement is not NormPlacement.Before)
            (_attentionOutputNorm, _feedForwardOutputNorm) = (new(config, parameters, path + "attention_output_norm"), new(config,
                parameters, path + "mlp_output_norm"));
        Attention = new Attention(config, index, parameters, path + "attention");
        if (!config.IsRouted(index))
            _feedForward = new FeedForward(config, parameters, path + "mlp");
        else
            _experts = new Experts(config, index, parameters, path + "mlp");
    }

    public int Index { get; }

    internal Attention Attention { get; }

    /// <param name="residual">h, [N, D].</param>
    /// <param name="delta">What is still to be added to it, [N, D]; null for nothing.</param>
    /// <param name="rotary">The rotation of each layer.</param>
    /// <param name="compute">Element type of products.</param>
    /// <param name="options">Says who is told of the experts.</param>
    public LayerOutput Forward(Tensor residual, Tensor? delta, StreamLayout stream, LayerRotations rotary, DType compute,
        ForwardOptions options) =>
        Forward(residual, delta, compute, x => Attention.Forward(x, stream, rotary.Of(Index), options.AdapterNoise), options);

    /// <summary>The layer with another way to attend, e.g. to a cache.</summary>
    internal LayerOutput Forward(Tensor residual, Tensor? delta, DType compute, Func<Tensor, Tensor> attend, ForwardOptions options)
    {
        using var scope = TensorScope.Enter();
        var (h, x) = Input(_attentionNorm, residual, delta, compute);
        (h, var attended) = Output(_attentionOutputNorm, h, attend(x));
        var parallel = _config.ParallelResidual;
        (h, var y) = parallel && _config.SharedNorm ? (h, x) : Input(_feedForwardNorm, h, parallel ? null : attended, compute);
        var (said, spread) = _experts is null ? (_feedForward!.Forward(y, options.AdapterNoise), null) : _experts.Forward(y, options);
        (h, var fed) = Output(_feedForwardOutputNorm, h, said);
        var added = parallel ? attended! + fed! : fed;
        return new(scope.Keep(h), added is null ? null : scope.Keep(added), spread is null ? null : scope.Keep(spread));
    }

    /// <summary>h + delta, and what a block reads of it.</summary>
    private (Tensor Residual, Tensor Input) Input(Norm? norm, Tensor residual, Tensor? delta, DType compute)
    {
        if (norm is not null && _config.ResidualFromNorm)
        {
            var read = norm.Forward(residual, delta?.To(residual.DType), residual.DType).Output;
            return (read, read.To(compute));
        }
        if (norm is not null)
            return norm.Forward(residual, delta, compute);
        var sum = delta is null ? residual : residual + delta.To(residual.DType);
        return (sum, sum.To(compute));
    }

    /// <summary>The stream, and what a block adds to it; null where it is added already.</summary>
    private (Tensor Residual, Tensor? Delta) Output(Norm? norm, Tensor residual, Tensor said)
    {
        var delta = norm is null || _config.NormPlacement == NormPlacement.OfSum ? said
            : norm.Forward(said.To(residual.DType), null, said.DType).Output;
        if (_config.ResidualScale != 1)
            delta *= _config.ResidualScale;
        return _config.NormPlacement == NormPlacement.OfSum
            ? (norm!.Forward(residual, delta.To(residual.DType), residual.DType).Output, null) : (residual, delta);
    }
}

/// <summary>What a layer hands on.</summary>
/// <param name="Residual">h, [N, D].</param>
/// <param name="Delta">What is still to be added to it, [N, D].</param>
/// <param name="Spread">How its router spread the tokens, [E]; null where nobody asks, or it has none.</param>
internal readonly record struct LayerOutput(Tensor Residual, Tensor? Delta, Tensor? Spread)
{
    internal Tensor?[] ToArray() => [Residual, Delta, Spread];

    internal static LayerOutput From(Tensor?[] tensors) => new(tensors[0]!, tensors[1], tensors[2]);
}
