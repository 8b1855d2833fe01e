using System.Buffers.Binary;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Torch;

namespace Handbook.Models.Tests.Quantised;

/// <summary>Published layouts of codes that are read as values: float8 and int8 with scales, GPTQ and AWQ.</summary>
public sealed class QuantisedLayoutTests
{
    private const string Down = "model.layers.0.mlp.down_proj";
    private const int Rows = 16, Columns = 24;       // [hidden, intermediate]

    [Theory]
    [InlineData("weight_scale_inv", 4, 3)]      // blocks of 4 × 8, as config.json states
    [InlineData("weight_scale", 1, 1)]
    [InlineData("weight_scale", 16, 1)]
    public void Float8_is_multiplied_by_the_scale_of_its_block_row_or_tensor(string ending, int high, int wide)
    {
        var codes = Enumerable.Range(0, Rows * Columns).Select(i => (byte)(i % 0x7F | (i % 3 == 0 ? 0x80 : 0))).ToArray();
        var scales = Enumerable.Range(0, high * wide).Select(i => 0.5f + i).ToArray();
        var quantisation = new JsonObject { ["quant_method"] = "fp8", ["weight_block_size"] = new JsonArray(4, 8) };
        using var weights = Open(quantisation, [Raw(Down + ".weight", DType.Float8E4M3, codes, Rows, Columns),
            TensorToSave.From($"{Down}.{ending}", scales, high == 1 ? [1] : [high, wide]),
            TensorToSave.From(Down + ".input_scale", [3], 1)]);

        var actual = weights.ReadSingles("layers.0.mlp.down.weight");
        for (var i = 0; i < codes.Length; i++)
            Assert.Equal(E4M3(codes[i]) * scales[i / Columns / (Rows / high) * wide + i % Columns / (Columns / wide)], actual[i]);
        Assert.Contains("float8 with scales of", weights.Quantised);
        Assert.Empty(weights.Unused);
    }

    [Fact]
    public void Int8_with_a_scale_for_each_row_is_read_so_too()
    {
        var codes = Enumerable.Range(0, Rows * Columns).Select(i => (byte)(i * 5)).ToArray();
        var scales = Enumerable.Range(0, Rows).Select(i => 0.25f + i).ToArray();
        using var weights = Open(new() { ["quant_method"] = "compressed-tensors" },
            [Raw(Down + ".weight", DType.Int8, codes, Rows, Columns), TensorToSave.From(Down + ".weight_scale", scales, Rows, 1)]);
        var actual = weights.ReadSingles("layers.0.mlp.down.weight");
        for (var i = 0; i < codes.Length; i++)
            Assert.Equal((sbyte)codes[i] * scales[i / Columns], actual[i]);
    }

    [Theory, InlineData("gptq", 1, false), InlineData("gptq", 1, true), InlineData("gptq_v2", 0, false)]
    public void Gptq_has_its_words_along_the_inputs_and_zeros_that_are_one_less(string format, int zeroOffset, bool shuffled)
    {
        var (codes, zeros, scales) = Codes(groups: 3);
        var groupOf = Enumerable.Range(0, Columns).Select(i => shuffled ? i % 3 : i / 8).ToArray();
        var words = new uint[Columns / 8 * Rows];
        for (var i = 0; i < Columns; i++)
            for (var o = 0; o < Rows; o++)
                words[i / 8 * Rows + o] |= (uint)codes[o, i] << 4 * (i % 8);
        var zeroWords = new uint[3 * Rows / 8];
        for (var g = 0; g < 3; g++)
            for (var o = 0; o < Rows; o++)
                zeroWords[g * (Rows / 8) + o / 8] |= (uint)zeros[g, o] << 4 * (o % 8);
        using var weights = Open(new() { ["quant_method"] = "gptq", ["bits"] = 4, ["checkpoint_format"] = format },
            [Words(Down + ".qweight", words, Columns / 8, Rows), Words(Down + ".qzeros", zeroWords, 3, Rows / 8),
                TensorToSave.From(Down + ".scales", scales, 3, Rows),
                .. shuffled ? (TensorToSave[])[Words(Down + ".g_idx", [.. groupOf.Select(g => (uint)g)], Columns)] : []]);
        Check(weights, (o, i) => scales[groupOf[i] * Rows + o] * (codes[o, i] - zeros[groupOf[i], o] - zeroOffset));
        Assert.Equal("GPTQ, 4-bit", weights.Quantised);
    }

    [Fact]
    public void Awq_has_its_words_along_the_outputs_even_ones_first()
    {
        int[] order = [0, 2, 4, 6, 1, 3, 5, 7];         // what stands at each place of a word
        var (codes, zeros, scales) = Codes(groups: 3);
        var (words, zeroWords) = (new uint[Columns * Rows / 8], new uint[3 * Rows / 8]);
        for (var word = 0; word < Rows / 8; word++)
            for (var place = 0; place < 8; place++)
            {
                for (var i = 0; i < Columns; i++)
                    words[i * (Rows / 8) + word] |= (uint)codes[word * 8 + order[place], i] << 4 * place;
                for (var g = 0; g < 3; g++)
                    zeroWords[g * (Rows / 8) + word] |= (uint)zeros[g, word * 8 + order[place]] << 4 * place;
            }
        using var weights = Open(new() { ["quant_method"] = "awq", ["bits"] = 4, ["version"] = "gemm" },
            [Words(Down + ".qweight", words, Columns, Rows / 8), Words(Down + ".qzeros", zeroWords, 3, Rows / 8),
                TensorToSave.From(Down + ".scales", scales, 3, Rows)]);
        Check(weights, (o, i) => scales[i / 8 * Rows + o] * (codes[o, i] - zeros[i / 8, o]));
        Assert.Equal("the weights are quantised (AWQ, 4-bit); they are read as float32, and take the memory of it", weights.QuantisedNote);
    }

    [Theory]
    [InlineData("""{"quant_method": "gptq", "bits": 8}""", "gptq, 8-bit")]
    [InlineData("""{"quant_method": "awq", "bits": 4, "version": "marlin"}""", "awq, 4-bit")]
    [InlineData("""{"quant_method": "other", "bits": 4}""", "other, 4-bit")]
    public void Layouts_that_are_not_plain_are_refused_by_name(string quantisation, string said)
    {
        var error = Assert.Throws<InputException>(() => Open(JsonNode.Parse(quantisation)!.AsObject(),
            [Words(Down + ".qweight", new uint[Columns / 8 * Rows], Columns / 8, Rows)]));
        Assert.Contains($"the weights are quantised ({said}): the tensor \"{Down}.qweight\"", error.What);
    }

    [Fact]
    public void Scales_that_do_not_fit_their_codes_are_told_with_both_shapes()
    {
        var error = Assert.Throws<InputException>(() => Open(new() { ["quant_method"] = "fp8" },
            [Raw(Down + ".weight", DType.Float8E4M3, new byte[Rows * Columns], Rows, Columns),
                TensorToSave.From(Down + ".weight_scale_inv", new float[6], 2, 3)]));
        Assert.Contains("codes of shape [16, 24] have scales of shape [2, 3]", error.What);
    }

    private static (int[,] Codes, int[,] Zeros, float[] Scales) Codes(int groups)
    {
        var random = new Random(5);
        var (codes, zeros) = (new int[Rows, Columns], new int[groups, Rows]);
        for (var o = 0; o < Rows; o++)
        {
            for (var i = 0; i < Columns; i++)
                codes[o, i] = random.Next(16);
            for (var g = 0; g < groups; g++)
                zeros[g, o] = random.Next(15);
        }
        return (codes, zeros, [.. Enumerable.Range(0, groups * Rows).Select(_ => 0.25f * random.Next(1, 9))]);
    }

    private static void Check(ModelWeights weights, Func<int, int, float> expected)
    {
        var actual = weights.ReadSingles("layers.0.mlp.down.weight");
        for (var o = 0; o < Rows; o++)
            for (var i = 0; i < Columns; i++)
                Assert.Equal(expected(o, i), actual[o * Columns + i]);
        Assert.Empty(weights.Unused);
    }

    /// <summary>A model whose down projection in layer 0 is stored as codes.</summary>
    [Fact]
    public void Four_bit_floats_of_all_experts_share_powers_of_two_and_are_turned_and_taken_apart()
    {
        const int experts = 3, hidden = 64, inner = 32;
        var random = new Random(5);
        var config = Some.Config(("model_type", "gpt_oss"), ("vocab_size", 11), ("hidden_size", hidden), ("intermediate_size", inner),
            ("num_hidden_layers", 1), ("num_attention_heads", 2), ("num_key_value_heads", 1), ("head_dim", 8),
            ("num_local_experts", experts), ("num_experts_per_tok", 2), ("torch_dtype", "bfloat16"),
            ("quantization_config", new JsonObject { ["quant_method"] = "mxfp4" }));
        const string prefix = "model.layers.0.mlp.experts.";
        var (gateUp, gateUpScales) = Made(2 * inner, hidden);
        var (down, downScales) = Made(hidden, inner);
        using var folder = new TemporaryFolder();
        WeightFilesWriter.Save(folder.Path, [.. NewModel.Tensors(config, 3, DType.BFloat16)
                .Where(tensor => !tensor.Info.Name.EndsWith("_proj", StringComparison.Ordinal)),
            Raw(prefix + "gate_up_proj_blocks", DType.UInt8, gateUp, experts, 2 * inner, hidden / 32, 16),
            Raw(prefix + "gate_up_proj_scales", DType.UInt8, gateUpScales, experts, 2 * inner, hidden / 32),
            Raw(prefix + "down_proj_blocks", DType.UInt8, down, experts, hidden, inner / 32, 16),
            Raw(prefix + "down_proj_scales", DType.UInt8, downScales, experts, hidden, inner / 32)]);
        foreach (var fused in (bool[])[false, true])
        {
            using var weights = ModelWeights.Open(folder.Path, config, fused);
            Assert.Empty(weights.Unused);
            Assert.Equal("mxfp4", weights.Quantised);
            for (var e = 0; e < experts; e++)
            {
                // gate and up take turns
                float[][] rows = [.. Enumerable.Range(0, 2 * inner).Select(row => Row(gateUp, gateUpScales, 2 * inner, hidden, e, row))];
                float[] gate = [.. rows.Where((_, row) => row % 2 == 0).SelectMany(row => row)],
                    up = [.. rows.Where((_, row) => row % 2 == 1).SelectMany(row => row)];
                var path = $"layers.0.mlp.experts.{e}.";
                if (fused)
                    Assert.Equal([.. gate, .. up], weights.ReadSingles(path + "gate_up.weight"));
                else
                {
                    Assert.Equal(gate, weights.ReadSingles(path + "gate.weight"));
                    Assert.Equal(up, weights.ReadSingles(path + "up.weight"));
                }
                Assert.Equal(Enumerable.Range(0, hidden).SelectMany(row => Row(down, downScales, hidden, inner, e, row)),
                    weights.ReadSingles(path + "down.weight"));
            }
        }

        (byte[] Codes, byte[] Scales) Made(int rows, int columns)
        {
            var codes = new byte[experts * rows * columns / 2];
            random.NextBytes(codes);
            return (codes, [.. Enumerable.Range(0, experts * rows * columns / 32).Select(_ => (byte)random.Next(119, 131))]);
        }

        static float[] Row(byte[] codes, byte[] scales, int rows, int columns, int expert, int row) =>
            [.. Enumerable.Range(0, columns).Select(i =>
            {
                var at = (expert * rows + row) * columns + i;
                var code = i % 2 == 0 ? codes[at / 2] & 15 : codes[at / 2] >> 4;
                var (exponent, fraction) = (code >> 1 & 3, code & 1);       // E2M1
                var size = exponent == 0 ? fraction / 2f : (1 + fraction / 2f) * MathF.Pow(2, exponent - 1);
                return (code & 8) == 0 ? size * MathF.Pow(2, scales[at / 32] - 127) : -size * MathF.Pow(2, scales[at / 32] - 127);
            })];
    }

    private static ModelWeights Open(JsonObject quantisation, TensorToSave[] codes)
    {
        using var folder = new TemporaryFolder();
        var config = Some.Llama(("hidden_size", Rows), ("intermediate_size", Columns), ("num_attention_heads", 2),
            ("torch_dtype", "float32"),
            ("quantization_config", quantisation));
        WeightFilesWriter.Save(folder.Path,
            [.. NewModel.Tensors(config, 3, DType.Float32).Where(tensor => tensor.Info.Name != Down + ".weight"), .. codes]);
        return ModelWeights.Open(folder.Path, config);
    }

    private static TensorToSave Raw(string name, DType type, byte[] bytes, params long[] shape) =>
        new(new(name, type, [.. shape]), stream => stream.Write(bytes));

    private static TensorToSave Words(string name, uint[] words, params long[] shape)
    {
        var bytes = new byte[words.Length * 4];
        for (var i = 0; i < words.Length; i++)
            BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(4 * i), words[i]);
        return Raw(name, DType.Int32, bytes, shape);
    }

    /// <summary>Sign, four bits of exponent with a bias of 7, three of fraction.</summary>
    private static float E4M3(byte code)
    {
        var (exponent, fraction) = (code >> 3 & 15, code & 7);
        var size = exponent == 0 ? fraction / 8f * MathF.Pow(2, -6) : (1 + fraction / 8f) * MathF.Pow(2, exponent - 7);
        return (code & 0x80) != 0 ? -size : size;
    }
}
