using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Training.Tests.Contract;

namespace Handbook.Training.Tests.Models;

/// <summary>Families of which no reference values are at hand: the formulas of their published classes, written down number by number
/// over the published tensors and keys, in double precision. Nothing here asks how a family is described in this library.</summary>
[Collection("tensors")]
public sealed class WrittenDownTests
{
    private static readonly int[] s_tokens = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8];

    [Theory]
    [InlineData("glm"), InlineData("seed_oss"), InlineData("ministral"), InlineData("granitemoeshared")]
    [InlineData("granitemoeshared of none"), InlineData("llama biased"), InlineData("llama4_text"), InlineData("llama4_text of experts")]
    public void Logits_are_those_of_the_formulas(string name)
    {
        using var folder = new TemporaryFolder();
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        using var model = Tiny.Model(name);
        Tiny.Save(model, folder.Path, DType.Float64);
        var expected = new Written(Tiny.Config(name), folder.Path).Logits(s_tokens);
        var actual = model.Logits(StreamLayout.Of([s_tokens])).ToArray<double>().Chunk(Tiny.Vocabulary).ToArray();
        for (var t = 0; t < s_tokens.Length; t++)
            for (var v = 0; v < Tiny.Vocabulary; v++)
                Assert.Equal(expected[t][v], actual[t][v], 1e-6);           // sines and cosines have the bits of float32
    }

    private sealed class Written
    {
        private readonly Dictionary<string, (double[] Values, long[] Shape)> _tensors = [];
        private readonly PublishedConfig _config;
        private readonly string _type;

        public Written(PublishedConfig config, string folder)
        {
            (_config, _type) = (config, (string)config.Json["model_type"]!);
            using var files = WeightFiles.Open(folder);
            foreach (var name in files.Names)
            {
                var data = files.Read(name);
                _tensors[name] = (System.Runtime.InteropServices.MemoryMarshal.Cast<byte, double>(data.Bytes).ToArray(), [.. data.Info.Shape]);
            }
        }

        public double[][] Logits(int[] tokens)
        {
            var embedding = Rows("model.embed_tokens.weight");
            var stream = tokens.Select(token => Scaled(embedding[token], Key("embedding_multiplier", 1))).ToArray();
            var (epsilon, residual) = (Key("rms_norm_eps", _type == "glm" ? 1.5625e-7 : IsLlama4 ? 1e-5 : 1e-6), Key("residual_multiplier", 1));
            for (var layer = 0; layer < (int)Key("num_hidden_layers", 0); layer++)
            {
                var at = $"model.layers.{layer}.";
                stream = Sum(stream, Attention(Norm(stream, at + "input_layernorm", epsilon), at + "self_attn.", layer), residual);
                stream = Sum(stream, [.. Norm(stream, at + "post_attention_layernorm", epsilon).Select(x => Feed(x, at))], residual);
            }
            var head = _tensors.ContainsKey("lm_head.weight") ? "lm_head" : "model.embed_tokens";
            return [.. Norm(stream, "model.norm", epsilon).Select(x => Scaled(Linear(x, head), 1 / Key("logits_scaling", 1)))];
        }

        private double[][] Attention(double[][] x, string at, int layer)
        {
            var (heads, groups, size) = ((int)Key("num_attention_heads", 0), (int)Key("num_key_value_heads", 0),
                (int)Key("head_dim", Key("hidden_size", 0) / Key("num_attention_heads", 1)));
            var query = x.Select((one, t) => Placed(Linear(one, at + "q_proj"), size, t, layer, isQuery: true)).ToArray();
            var key = x.Select((one, t) => Placed(Linear(one, at + "k_proj"), size, t, layer, isQuery: false)).ToArray();
            var value = x.Select(one => Linear(one, at + "v_proj")).ToArray();
            var scale = _type.StartsWith("granite", StringComparison.Ordinal) ? Key("attention_multiplier", 1) : 1 / Math.Sqrt(size);
            var isLocal = _type == "ministral" && (string)_config.Json["layer_types"]![layer]! == "sliding_attention";
            var window = isLocal ? (int)Key("sliding_window", 0) : int.MaxValue;
            return [.. Enumerable.Range(0, x.Length).Select(t =>
            {
                var mixed = new double[heads * size];
                for (var h = 0; h < heads; h++)
                {
                    var (own, first) = (h / (heads / groups), IsLlama4 && Rotates(layer) ? t / (int)Key("attention_chunk_size", 8192)
                        * (int)Key("attention_chunk_size", 8192) : Math.Max(0, (long)t - window + 1));
                    var weights = Softmax([.. Enumerable.Range((int)first, t - (int)first + 1).Select(s => scale
                        * Enumerable.Range(0, size).Sum(e => query[t][h * size + e] * key[s][own * size + e]))]);
                    for (var s = 0; s < weights.Length; s++)
                        for (var e = 0; e < size; e++)
                            mixed[h * size + e] += weights[s] * value[(int)first + s][own * size + e];
                }
                return Linear(mixed, at + "o_proj");
            })];
        }

        private bool IsLlama4 => _type == "llama4_text";

        private bool Rotates(int layer) => !IsLlama4 || (_config.Json["no_rope_layers"] is { } flags ? (int)flags[layer]! == 1
            : (layer + 1) % (int)Key("no_rope_layer_interval", 4) != 0);

        /// <summary>Heads turned by their places; in Llama 4 scaled to one size then, or, where they do not turn, queries grown by their
        /// places.</summary>
        private double[] Placed(double[] heads, int size, int place, int layer, bool isQuery)
        {
            if (!Rotates(layer))
                return isQuery && Key("attn_temperature_tuning", 1) != 0 ? Scaled(heads, Math.Log(Math.Floor((place + 1.0)
                    / Key("floor_scale", 8192)) + 1) * Key("attn_scale", 0.1) + 1) : heads;
            heads = Turned(heads, size, place);
            return IsLlama4 && (_config.Json["use_qk_norm"] is null || (bool)_config.Json["use_qk_norm"]!)
                ? [.. heads.Chunk(size).SelectMany(head => Scaled(head, 1 / Math.Sqrt(head.Average(e => e * e) + 1e-5)))] : heads;
        }

        /// <summary>Each head turned by its place: GLM's first half, neighbour with neighbour; of Llama 4 all, neighbour with neighbour; of others all, half with half.</summary>
        private double[] Turned(double[] heads, int size, int place)
        {
            var turned = (double[])heads.Clone();
            var part = _type == "glm" ? size / 2 : size;
            for (var head = 0; head < heads.Length; head += size)
                for (var i = 0; i < part / 2; i++)
                {
                    var angle = place * Math.Pow(IsLlama4 ? Key("rope_theta", 500000) : 10000, -2.0 * i / part);
                    var (a, b) = _type == "glm" || IsLlama4 ? (head + 2 * i, head + 2 * i + 1) : (head + i, head + i + part / 2);
                    (turned[a], turned[b]) = (heads[a] * Math.Cos(angle) - heads[b] * Math.Sin(angle),
                        heads[b] * Math.Cos(angle) + heads[a] * Math.Sin(angle));
                }
            return turned;
        }

        private double[] Feed(double[] x, string at)
        {
            if (_type == "glm")
                return Linear(Gated(Linear(x, at + "mlp.gate_up_proj")), at + "mlp.down_proj");
            if (IsLlama4)
                return FeedLlama4(x, at + "feed_forward.");
            if (_type != "granitemoeshared")
                return Linear(Gated([.. Linear(x, at + "mlp.gate_proj"), .. Linear(x, at + "mlp.up_proj")]), at + "mlp.down_proj");
            var logits = Linear(x, at + "block_sparse_moe.router.layer");
            var chosen = Enumerable.Range(0, logits.Length).OrderByDescending(e => logits[e]).Take((int)Key("num_experts_per_tok", 0))
                .ToArray();
            var weights = Softmax([.. chosen.Select(e => logits[e])]);
            var y = new double[x.Length];
            for (var i = 0; i < chosen.Length; i++)
            {
                var inner = Gated(Matrix(x, at + "block_sparse_moe.input_linear.weight", chosen[i]));
                y = [.. y.Zip(Matrix(inner, at + "block_sparse_moe.output_linear.weight", chosen[i]), (a, b) => a + weights[i] * b)];
            }
            return Key("shared_intermediate_size", 0) == 0 ? y : [.. y.Zip(Linear(Gated(Linear(x, at + "shared_mlp.input_linear")),
                at + "shared_mlp.output_linear"), (a, b) => a + b)];
        }

        /// <summary>Each of the best few experts reads x times the sigmoid of its logit; tensors of experts are [count, in, out].</summary>
        private double[] FeedLlama4(double[] x, string at)
        {
            if (!_tensors.ContainsKey(at + "router.weight"))
                return Plain(x, at);
            var logits = Linear(x, at + "router");
            var y = Plain(x, at + "shared_expert.");
            foreach (var e in Enumerable.Range(0, logits.Length).OrderByDescending(e => logits[e]).Take((int)Key("num_experts_per_tok", 1)))
            {
                var inner = Gated(Across(Scaled(x, 1 / (1 + Math.Exp(-logits[e]))), at + "experts.gate_up_proj", e));
                y = [.. y.Zip(Across(inner, at + "experts.down_proj", e), (a, b) => a + b)];
            }
            return y;
        }

        private double[] Plain(double[] x, string at) =>
            Linear(Gated([.. Linear(x, at + "gate_proj"), .. Linear(x, at + "up_proj")]), at + "down_proj");

        /// <summary>A vector times one of the matrices of a tensor, [count, in, out].</summary>
        private double[] Across(double[] x, string name, int which)
        {
            var (values, shape) = _tensors[name];
            var (rows, columns) = ((int)shape[1], (int)shape[2]);
            Assert.Equal(rows, x.Length);
            return [.. Enumerable.Range(0, columns).Select(column => Enumerable.Range(0, rows)
                .Sum(row => values[(which * rows + row) * columns + column] * x[row]))];
        }

        private static double[] Gated(double[] both) => [.. Enumerable.Range(0, both.Length / 2)
            .Select(i => both[i] / (1 + Math.Exp(-both[i])) * both[both.Length / 2 + i])];

        private static double[] Softmax(double[] logits) => logits.Sum(Math.Exp) is var sum ? [.. logits.Select(x => Math.Exp(x) / sum)] : [];

        private static double[] Scaled(double[] x, double factor) => [.. x.Select(one => one * factor)];

        private static double[][] Sum(double[][] x, double[][] y, double factor) =>
            [.. x.Zip(y, (a, b) => a.Zip(b, (one, more) => one + factor * more).ToArray())];

        private double[][] Norm(double[][] x, string name, double epsilon) => [.. x.Select(one =>
        {
            var size = Math.Sqrt(one.Average(value => value * value) + epsilon);
            return one.Zip(_tensors[name + ".weight"].Values, (value, weight) => value / size * weight).ToArray();
        })];

        private double[] Linear(double[] x, string name)
        {
            var y = Matrix(x, name + ".weight", 0);
            return _tensors.TryGetValue(name + ".bias", out var bias) ? [.. y.Zip(bias.Values, (a, b) => a + b)] : y;
        }

        /// <summary>One of the matrices of a tensor, [out, in] or [count, out, in], times a vector.</summary>
        private double[] Matrix(double[] x, string name, int which)
        {
            var (values, shape) = _tensors[name];
            var (rows, columns) = ((int)shape[^2], (int)shape[^1]);
            Assert.Equal(columns, x.Length);
            return [.. Enumerable.Range(which * rows, rows).Select(row => Enumerable.Range(0, columns)
                .Sum(column => values[row * columns + column] * x[column]))];
        }

        private double[][] Rows(string name) => [.. _tensors[name].Values.Chunk((int)_tensors[name].Shape[1])];

        private double Key(string key, double otherwise) => _config.Json[key] is { } value ? (double)value : otherwise;
    }
}
