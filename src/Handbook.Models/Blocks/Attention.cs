using Handbook.Torch;
using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;

namespace Handbook.Models.Blocks;

/// <summary>Causal self-attention with grouped heads over the flat stream. Vaswani et al. 2017, arXiv:1706.03762; grouped
/// heads arXiv:2305.13245.</summary>
/// <remarks>
/// <code>
/// q, k, v = x · W_qkvᵀ (+ b);   q, k behind their norms where the family has them, turned by their positions before or after that;
/// q grown by its position where the family does so
/// y = softmax( q·kᵀ · scale ) · v  over the tokens that are seen;   out = y · W_oᵀ (+ b)
/// </code>
/// </remarks>
internal sealed class Attention(DecoderConfig config, int layer, ModelParameters parameters, string path)
{
    private readonly Parameter? _queryKeyValue = config.Latent is null ? parameters[path + ".query_key_value.weight"] : null;
    private readonly Parameter? _queryKeyValueBias = parameters.Find(path + ".query_key_value.bias");
    private readonly LatentProjection? _latent = config.Latent is null ? null : new(config, parameters, path);
    private readonly Parameter _output = parameters[path + ".output.weight"];
    private readonly Parameter? _outputBias = parameters.Find(path + ".output.bias");
    private readonly Norm? _queryNorm = HeadNorm(config, parameters, path + ".query_norm", config.Heads);
    private readonly bool _normsHeads = config.QueryKeyNorm == QueryKeyNorm.Unweighted && config.HasRope(layer);
    private readonly QueryTemperature? _temperature = config.HasRope(layer) ? null : config.QueryTemperature;
    private readonly Norm? _keyNorm = HeadNorm(config, parameters, path + ".key_norm", config.KeyValueHeads);

    /// <summary>A score of each head that has no value, [H]; null where the family has none.</summary>
    internal Parameter? Sinks { get; } = parameters.Find(path + ".sinks");

    /// <summary>Heads, scale, window and cap of this layer.</summary>
    internal AttentionShape Shape { get; } = new()
    {
        Heads = config.Heads,
        KeyHeads = config.KeyValueHeads,
        HeadSize = config.HeadSize,
        ValueSize = config.ValueHeadSize,
        Scale = config.AttentionScale(layer),
        Window = config.SlidingWindow(layer),
        Chunk = config.ChunkSize(layer),
        SoftCap = config.AttentionSoftCap ?? 0,
        DistanceSlopes = config.AlibiSlopes.Count == 0 ? null : [.. config.AlibiSlopes.Select(slope => (float)slope)],
    };

    private static Norm? HeadNorm(DecoderConfig config, ModelParameters parameters, string path, int heads) =>
        config.QueryKeyNorm is QueryKeyNorm.None or QueryKeyNorm.Unweighted ? null
            : new(config, parameters, path, config.QueryKeyNorm == QueryKeyNorm.EachHead ? heads : 1);

    /// <param name="x">[N, D].</param>
    /// <param name="rotary">This layer's rotation; null for none.</param>
    /// <param name="noise">For the dropout of adapters; null computes without.</param>
    /// <returns>[N, D].</returns>
    public Tensor Forward(Tensor x, StreamLayout stream, RotaryTable? rotary, TokenNoise? noise)
    {
        using var scope = TensorScope.Enter();
        var qkv = QueryKeyValue(x, noise);
        if (config.QueryKeyNormAfterRope && rotary is not null)
            (qkv, rotary) = (RotaryTurn.Forward(qkv, rotary, stream.Positions, config.Heads + config.KeyValueHeads, config.HeadSize), null);
        var mixed = RotaryAttention.Forward(Turned(qkv, stream.Positions), Shape, stream.RingOf(Shape.Chunk), stream.Positions, rotary,
            Sinks);
        return scope.Keep(Output(mixed, noise));
    }

    /// <summary>Queries, keys and values side by side, not yet turned; [N, H·E + K·(E + V)].</summary>
    internal Tensor QueryKeyValue(Tensor x, TokenNoise? noise = null)
    {
        using var scope = TensorScope.Enter();
        var all = _latent?.Forward(x, noise) ?? Linear.Forward(x, _queryKeyValue!, _queryKeyValueBias, noise);
        if (!config.QueryKeyNormAfterRope)
            all = Normed(all);
        return scope.Keep(config.QueryKeyValueLimit is { } limit ? all.Clamp(limit) : all);
    }

    /// <summary>The same once they are turned: behind their norms where these stand there, and grown by their positions.</summary>
    internal Tensor Turned(Tensor all, Mirrored<int> positions)
    {
        if (config.QueryKeyNormAfterRope)
            all = Normed(all);
        return _temperature is { } temperature ? Grown(all, temperature, positions.Host) : all;
    }

    /// <summary>Queries times the factor of their positions.</summary>
    private Tensor Grown(Tensor all, QueryTemperature temperature, int[] positions)
    {
        double[] factors = [.. positions.Select(temperature.Factor)];
        if (factors.All(factor => factor == 1))
            return all;
        using var scope = TensorScope.Enter();
        var (queries, rest) = (config.QuerySize, all.Size(1) - config.QuerySize);
        var grown = all.Narrow(1, 0, queries).To(parameters.Plan.Residual)
            * Tensor.From(factors, factors.Length, 1).To(parameters.Plan.Residual).To(all.Device);
        return scope.Keep(Tensor.Cat([grown.To(all.DType), all.Narrow(1, queries, rest)], 1));
    }

    /// <summary>Queries and keys behind their norms, and values; [N, H·E + K·(E + V)].</summary>
    private Tensor Normed(Tensor all)
    {
        if (_queryNorm is null && !_normsHeads)
            return all;
        using var scope = TensorScope.Enter();
        var (queries, keys) = (config.QuerySize, config.KeyValueSize);
        return scope.Keep(Tensor.Cat([Normed(_queryNorm, all.Narrow(1, 0, queries)), Normed(_keyNorm, all.Narrow(1, queries, keys)),
            all.Narrow(1, queries + keys, config.ValueSize)], 1));
    }

    /// <summary>Queries or keys behind their norm; [N, heads·E].</summary>
    private Tensor Normed(Norm? norm, Tensor part)
    {
        var width = config.QueryKeyNorm == QueryKeyNorm.WholeProjection ? part.Size(1) : config.HeadSize;
        var rows = part.To(parameters.Plan.Residual).Contiguous().View(-1, width);
        return norm is not null ? norm.Forward(rows, null, part.DType).Output.View(part.Shape)
            : (rows * ((rows * rows).Mean(1, true) + config.NormEpsilon).Rsqrt()).To(part.DType).View(part.Shape);
    }

    /// <summary>From the mixed values, [N, H·V], to what is added to the residual stream, [N, D].</summary>
    internal Tensor Output(Tensor mixed, TokenNoise? noise = null) => Linear.Forward(mixed, _output, _outputBias, noise);
}
