using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;
using Handbook.Torch.Reference;

namespace Handbook.Training.Tests.Models;

/// <summary>The network once more, row by row, out of ordinary operators that libtorch records: what every option of
/// <see cref="DecoderConfig"/> means, written down plainly.</summary>
internal sealed partial class PlainDecoder(Decoder model)
{
    private readonly DecoderConfig _config = model.Config;

    /// <summary>The hidden states of a row, from which the head predicts; [n, D].</summary>
    public Tensor Hidden(int[] tokens)
    {
        int[] positions = [.. Enumerable.Range(0, tokens.Length)];
        var h = Plain.Embed(tokens, positions, Value("embed.weight"), null, _config.EmbeddingScale);
        if (Find("project_in.weight") is { } project)
            h = h.Linear(project);
        if (_config.Positions == PositionKind.Learned)
            h += Value("positions.weight").Narrow(0, _config.FirstPosition, tokens.Length);
        if (_config.EmbeddingNorm)
            h = Norm(h, "embed_norm");
        for (var layer = 0; layer < _config.Layers; layer++)
            h = Layer(h, layer, $"layers.{layer}.");
        if (_config.FinalNorm)
            h = Norm(h, "final_norm");
        return Find("project_out.weight") is { } back ? h.Linear(back) : h;
    }

    /// <summary>The logits of a row; [n, V].</summary>
    public Tensor Logits(int[] tokens)
    {
        var logits = Hidden(tokens).Linear(Head.Value);
        if (Find("head.bias") is { } bias)
            logits += bias;
        logits *= _config.LogitScale;
        return _config.LogitSoftCap is { } cap ? (logits / cap).Tanh() * cap : logits;
    }

    private Parameter Head => model.Parameters[ParameterSpec.Head];

    private Tensor Layer(Tensor h, int layer, string path)
    {
        var before = _config.NormPlacement is NormPlacement.Before or NormPlacement.BeforeAndAfter;
        var after = _config.NormPlacement is NormPlacement.After or NormPlacement.BeforeAndAfter;
        var read = before ? Norm(h, path + "attention_norm") : h;
        var attended = Attention(read, layer, path + "attention.");
        attended = (after ? Norm(attended, path + "attention_output_norm") : attended) * _config.ResidualScale;
        if (_config.ParallelResidual)
            return h + attended + FeedForward(_config.SharedNorm ? read : Norm(h, path + "mlp_norm"), layer, path + "mlp.")
                * _config.ResidualScale;
        h = (_config.ResidualFromNorm ? read : h) + attended;
        if (_config.NormPlacement == NormPlacement.OfSum)
            h = Norm(h, path + "attention_output_norm");
        read = before ? Norm(h, path + "mlp_norm") : h;
        var fed = FeedForward(read, layer, path + "mlp.");
        fed = (after ? Norm(fed, path + "mlp_output_norm") : fed) * _config.ResidualScale;
        h = (_config.ResidualFromNorm ? read : h) + fed;
        return _config.NormPlacement == NormPlacement.OfSum ? Norm(h, path + "mlp_output_norm") : h;
    }

    private Tensor Attention(Tensor x, int layer, string path)
    {
        var (n, size) = (x.Size(0), _config.HeadSize);
        var all = _config.Latent is null ? x.Linear(Value(path + "query_key_value.weight"), Find(path + "query_key_value.bias"))
            : FromLatents(x, path);
        var query = all.Narrow(1, 0, _config.QuerySize);
        var key = all.Narrow(1, _config.QuerySize, _config.KeyValueSize);
        var value = all.Narrow(1, _config.QuerySize + _config.KeyValueSize, _config.KeyValueHeads * _config.ValueHeadSize);
        if (!_config.QueryKeyNormAfterRope)
            (query, key) = (HeadNorm(query, path + "query_norm"), HeadNorm(key, path + "key_norm"));
        if (_config.QueryKeyValueLimit is { } limit)
            (query, key, value) = (query.Clamp(limit), key.Clamp(limit), value.Clamp(limit));
        if (_config.HasRope(layer))
            (query, key) = (Turned(query, layer), Turned(key, layer));
        if (_config.QueryKeyNorm == QueryKeyNorm.Unweighted && _config.HasRope(layer))
            (query, key) = (Scaled(query), Scaled(key));
        else if (_config.QueryKeyNormAfterRope && _config.QueryKeyNorm != QueryKeyNorm.Unweighted)
            (query, key) = (HeadNorm(query, path + "query_norm"), HeadNorm(key, path + "key_norm"));
        if (!_config.HasRope(layer) && _config.QueryTemperature is { } growth)
            query *= Tensor.From([.. Enumerable.Range(0, (int)n).Select(t =>
                1 + growth.Scale * Math.Log(1 + Math.Floor((t + 1) / growth.Floor)))], n, 1);
        var (window, chunk) = (_config.SlidingWindow(layer), _config.ChunkSize(layer));
        var visible = new bool[n * n];
        for (var i = 0; i < n; i++)
            for (var j = 0; j <= i; j++)
                visible[i * n + j] = (window == 0 || i - j < window) && (chunk == 0 || i / chunk == j / chunk);
        var mixed = Plain.Attend(Tensor.Cat([query, key, value], 1), new AttentionShape
        {
            Heads = _config.Heads,
            KeyHeads = _config.KeyValueHeads,
            HeadSize = size,
            ValueSize = _config.ValueHeadSize,
            Scale = (_config.AttentionMultiplier ?? 1 / Math.Sqrt(size)) / (_config.ScaleAttentionByInverseLayer ? layer + 1 : 1),
            SoftCap = _config.AttentionSoftCap ?? 0,
            DistanceSlopes = _config.AlibiSlopes.Count == 0 ? null : [.. _config.AlibiSlopes.Select(slope => (float)slope)],
        }, visible, [.. Enumerable.Range(0, (int)n)], rotary: null, Find(path + "sinks"));
        return mixed.Linear(Value(path + "output.weight"), Find(path + "output.bias"));
    }

    /// <summary>Angles p·θ^(−2i/R), in float32 as everywhere; the test models do not stretch them.</summary>
    private Tensor Turned(Tensor heads, int layer)
    {
        var (n, half) = ((int)heads.Size(0), (_config.RotarySize + 1) / 2);
        var theta = _config.WindowRope is { } own && _config.SlidingWindow(layer) > 0 ? own.Theta : _config.RopeTheta;
        var angles = new float[n * half];
        for (var i = 0; i < angles.Length; i++)
            angles[i] = i / half * (float)Math.Pow(theta, -2.0 * (i % half) / _config.RotarySize);
        var table = new RotaryTable(Array.ConvertAll(angles, a => (float)Math.Cos(a)), Array.ConvertAll(angles, a => (float)Math.Sin(a)),
            2 * half, _config.InterleavedRope, _config.RotaryStart);
        return Plain.Rotate(heads.Reshape(n, -1, _config.HeadSize), table, [.. Enumerable.Range(0, n)]).Reshape(n, heads.Size(1));
    }

    private Tensor Scaled(Tensor heads)
    {
        var rows = heads.Reshape(heads.Size(0), -1, _config.HeadSize);
        return (rows * ((rows * rows).Mean(2, keepDim: true) + _config.NormEpsilon).Rsqrt()).Reshape(heads.Size(0), heads.Size(1));
    }

    private Tensor HeadNorm(Tensor heads, string path)
    {
        if (_config.QueryKeyNorm == QueryKeyNorm.None)
            return heads;
        if (_config.QueryKeyNorm == QueryKeyNorm.WholeProjection)
            return Norm(heads, path);
        var rows = heads.Reshape(heads.Size(0), -1, _config.HeadSize);
        var weight = Value(path + ".weight");
        if (_config.QueryKeyNorm == QueryKeyNorm.EachHead)
            weight = weight.Reshape(-1, _config.HeadSize);
        return Norm(rows, weight, Find(path + ".bias")).Reshape(heads.Size(0), heads.Size(1));
    }

    private Tensor FeedForward(Tensor x, int layer, string path) =>
        _config.IsRouted(layer) ? Experts(x, path, _config.Experts!) : Mlp(x, path);

    private Tensor Mlp(Tensor x, string path)
    {
        var inner = x.Linear(Value(path + (_config.GatedMlp ? "gate_up" : "up") + ".weight"),
            Find(path + (_config.GatedMlp ? "gate_up" : "up") + ".bias"));
        return Plain.Activate(inner, _config.Activation, _config.GatedMlp, new(_config.GateLimit, _config.UpOffset))
            .Linear(Value(path + "down.weight"), Find(path + "down.bias"));
    }

    private Tensor Norm(Tensor h, string path) => Norm(h, Value(path + ".weight"), Find(path + ".bias"));

    private Tensor Norm(Tensor h, Tensor weight, Tensor? bias) => _config.Norm == NormKind.RmsNorm
        ? Plain.RmsNorm(h, weight, _config.NormEpsilon, (int)_config.NormWeightOffset)
        : Plain.LayerNorm(h, weight, bias, _config.NormEpsilon, (int)_config.NormWeightOffset);

    private Tensor Value(string name) => model.Parameters[name].Value;

    private Tensor? Find(string name) => model.Parameters.Find(name)?.Value;
}
