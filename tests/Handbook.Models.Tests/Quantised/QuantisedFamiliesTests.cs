using System.Text.Json.Nodes;
using Handbook.Models.Files;
using Handbook.Models.Quantised;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Torch.Quantised;

namespace Handbook.Models.Tests.Quantised;

/// <summary>For every family: quantised at load, saved in bitsandbytes' layout and opened again, and with the values of the codes as plain
/// weights, a model is the same.</summary>
[Collection("tensors")]
public sealed class QuantisedFamiliesTests
{
    public static TheoryData<string, bool> Families()
    {
        var data = new TheoryData<string, bool>();
        foreach (var family in (string[])["llama", "gpt2", "mixtral", "gpt_neox", "phi3", "qwen2", "falcon", "gpt_bigcode", "opt"])
            foreach (var isDouble in (bool[])[false, true])
                data.Add(family, isDouble);
        return data;
    }

    [Theory, MemberData(nameof(Families))]
    public void Codes_stand_for_the_published_matrices_however_they_are_fused(string family, bool isDouble)
    {
        using var folder = new TemporaryFolder();
        var config = Config(family);
        WeightFilesWriter.Save(folder["plain"], NewModel.Tensors(config, 3, DType.BFloat16));
        using var weights = ModelWeights.Open(folder["plain"], config, fused: true);
        foreach (var kind in (QuantisedKind[])[QuantisedKind.Nf4, QuantisedKind.Fp4, QuantisedKind.Int8])
        {
            var format = new QuantisedFormat(kind, isDouble && kind != QuantisedKind.Int8);
            var quantisation = new WeightQuantisation(format, DType.Float32);
            var atLoad = Logits(weights, ParameterPlan.Frozen(weights, DType.Float64, quantisation));
            var plain = Logits(weights, ParameterPlan.Frozen(weights, DType.Float64));
            Assert.NotEqual(plain, atLoad);

            // The very same codes from a file.
            var saved = config.With(("quantization_config", BitsAndBytesLayout.Config(format, DType.Float32)));
            using (var tensors = QuantisedTensors.Of(weights, format))
                WeightFilesWriter.Save(folder[format.Name], tensors.Tensors);
            using var opened = ModelWeights.Open(folder[format.Name], saved, fused: true);
            Assert.Empty(opened.Unused);
            Assert.Contains("bitsandbytes", opened.Quantised);
            Assert.Equal(atLoad, Logits(opened, ParameterPlan.Frozen(opened, DType.Float64, quantisation)));
            Assert.Equal(Logits(weights, ParameterPlan.Frozen(weights, DType.Float32, quantisation)),
                Logits(opened, ParameterPlan.Frozen(opened, DType.Float32)));

            // The values of the codes as plain weights, whole and in the parts that are not fused. Products of float64 differ by rounding.
            Close(atLoad, Logits(opened, ParameterPlan.Resident(opened.Parameters, DType.Float64, DType.Float64)), 1e-12);
            using var apart = ModelWeights.Open(folder[format.Name], saved);
            foreach (var spec in apart.Parameters)
                Assert.Equal(spec.Count, apart.ReadSingles(spec.Name).Length);
        }
    }

    [Fact]
    public void The_linear_weights_of_layers_are_codes_and_nothing_else_is()
    {
        using var folder = new TemporaryFolder();
        var config = Some.Mixtral(("tie_word_embeddings", false));
        WeightFilesWriter.Save(folder.Path, NewModel.Tensors(config, 3, DType.BFloat16));
        using var weights = ModelWeights.Open(folder.Path, config, fused: true);
        var plan = ParameterPlan.Frozen(weights, DType.Float32, new(new(QuantisedKind.Nf4), DType.Float32));
        foreach (var rule in plan.Rules)
            Assert.Equal(rule.Spec.Name.StartsWith("layers.", StringComparison.Ordinal) && rule.Spec.Shape.Count == 2
                && !rule.Spec.Name.Contains("router"), rule.Storage == ParameterStorage.Codes);
        using var parameters = ModelParameters.Allocate(plan);
        parameters.Load(weights);
        foreach (var rule in plan.Rules.Where(rule => rule.Storage == ParameterStorage.Codes && rule.Spec.Parts.Count == 1))
            Assert.Equal(rule.ResidentBytes, parameters[rule.Spec.Name].Codes!.Bytes);
    }

    private static PublishedConfig Config(string family)
    {
        JsonNode wide = 40, heads = 4;
        return family switch
        {
            // 40 columns: blocks of 64 begin inside rows.
            "gpt2" => Some.Gpt2(hidden: 40, heads: 4),
            "mixtral" => Some.Mixtral(("hidden_size", wide), ("num_attention_heads", heads), ("num_key_value_heads", 2)),
            "gpt_neox" => Some.Config(("model_type", "gpt_neox"), ("vocab_size", 19), ("hidden_size", wide), ("intermediate_size", 24),
                ("num_hidden_layers", 2), ("num_attention_heads", heads), ("max_position_embeddings", 32), ("rotary_pct", 0.4)),
            "phi3" => Some.Config(("model_type", "phi3"), ("vocab_size", 19), ("hidden_size", wide), ("intermediate_size", 24),
                ("num_hidden_layers", 2), ("num_attention_heads", heads), ("num_key_value_heads", 2), ("max_position_embeddings", 32),
                ("pad_token_id", null), ("eos_token_id", 2), ("bos_token_id", 1)),
            "qwen2" => Some.Config(("model_type", "qwen2"), ("vocab_size", 19), ("hidden_size", wide), ("intermediate_size", 24),
                ("num_hidden_layers", 2), ("num_attention_heads", heads), ("num_key_value_heads", 2), ("max_position_embeddings", 32)),
            "falcon" => Some.Config(("model_type", "falcon"), ("vocab_size", 19), ("hidden_size", wide), ("num_hidden_layers", 2),
                ("num_attention_heads", heads), ("new_decoder_architecture", true), ("num_kv_heads", 2)),
            "gpt_bigcode" => Some.Config(("model_type", "gpt_bigcode"), ("vocab_size", 19), ("n_embd", wide), ("n_layer", 2),
                ("n_head", heads), ("n_positions", 32)),
            "opt" => Some.Config(("model_type", "opt"), ("vocab_size", 19), ("hidden_size", wide), ("ffn_dim", 24),
                ("num_hidden_layers", 2), ("num_attention_heads", heads), ("max_position_embeddings", 32), ("word_embed_proj_dim", 12)),
            _ => Some.Llama(("hidden_size", wide), ("num_attention_heads", heads), ("num_key_value_heads", 2)),
        };
    }

    private static double[] Logits(ModelWeights weights, ParameterPlan plan)
    {
        using var scope = TensorScope.Enter();
        using var model = Decoder.Load(weights, plan);
        return model.Logits(StreamLayout.Of([[1, 5, 7, 2, 11, 3, 9]])).ToArray<double>();
    }

    private static void Close(double[] expected, double[] actual, double tolerance)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (var i = 0; i < expected.Length; i++)
            Assert.InRange(actual[i], expected[i] - tolerance, expected[i] + tolerance);
    }
}
