using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Models.Blocks;

/// <summary>Queries, keys and values from short vectors of each token. DeepSeek-AI 2024, arXiv:2405.04434, §2.1.</summary>
/// <remarks>
/// <code>
/// q = W_q · norm( W_dq · x ),  or W_q · x
/// c, k_r = W_dkv · x;   k_h, v_h of each head = W_kv · norm c;   key of head h = [ k_h, k_r ], whose last part, shared by all heads, turns
/// </code>
/// The norms have an ε of their own, which no config changes.
/// </remarks>
internal sealed class LatentProjection
{
    private const double NormEpsilon = 1e-6;

    private readonly DecoderConfig _config;
    private readonly DType _master;
    private readonly Parameter? _queryDown;
    private readonly Parameter? _queryDownBias;
    private readonly Norm? _queryNorm;
    private readonly Parameter _query;
    private readonly Parameter _keyValueDown;
    private readonly Parameter? _keyValueDownBias;
    private readonly Norm _keyValueNorm;
    private readonly Parameter _keyValue;

    public LatentProjection(DecoderConfig config, ModelParameters parameters, string path)
    {
        (_config, _master) = (config, parameters.Plan.Residual);
        if (config.Latent!.QueryRank > 0)
        {
            _queryDown = parameters[path + ".query_down.weight"];
            _queryDownBias = parameters.Find(path + ".query_down.bias");
            _queryNorm = new(config, parameters, path + ".query_down_norm", epsilon: NormEpsilon);
        }
        _query = parameters[path + ".query.weight"];
        _keyValueDown = parameters[path + ".key_value_down.weight"];
        _keyValueDownBias = parameters.Find(path + ".key_value_down.bias");
        _keyValueNorm = new(config, parameters, path + ".key_value_norm", epsilon: NormEpsilon);
        _keyValue = parameters[path + ".key_value.weight"];
    }

    /// <param name="x">[N, D].</param>
    /// <param name="noise">For the dropout of adapters; null computes without.</param>
    /// <returns>Side by side, not yet turned; [N, H·E + H·(E + V)].</returns>
    public Tensor Forward(Tensor x, TokenNoise? noise)
    {
        using var scope = TensorScope.Enter();
        long n = x.Size(0), heads = _config.Heads, turns = _config.RotarySize, plain = _config.HeadSize - turns,
            values = _config.ValueHeadSize, rank = _config.Latent!.KeyValueRank;
        var query = Linear.Forward(_queryDown is null ? x : Normed(_queryNorm!, Linear.Forward(x, _queryDown, _queryDownBias, noise)),
            _query, null, noise);
        var down = Linear.Forward(x, _keyValueDown, _keyValueDownBias, noise);
        var both = Linear.Forward(Normed(_keyValueNorm, down.Narrow(1, 0, rank)), _keyValue, null, noise).View(n, heads, plain + values);
        var shared = down.Narrow(1, rank, turns).Unsqueeze(1).RepeatInterleave(heads, 1);
        var key = Tensor.Cat([both.Narrow(2, 0, plain), shared], 2);
        return scope.Keep(Tensor.Cat([query, key.View(n, heads * (plain + turns)),
            both.Narrow(2, plain, values).Reshape(n, heads * values)], 1));
    }

    private Tensor Normed(Norm norm, Tensor part) => norm.Forward(part.To(_master).Contiguous(), null, part.DType).Output;
}
