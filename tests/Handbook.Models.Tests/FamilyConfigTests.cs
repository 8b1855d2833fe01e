using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Torch.Fused;

namespace Handbook.Models.Tests;

/// <summary>What keys mean that a published config leaves out, by the family's class; and what becomes of keys that a family does not
/// read.</summary>
public sealed class FamilyConfigTests
{
    /// <summary>Type; ε, longest text, θ, rotated dimensions of 16, activation, tied head, BOS, EOS.</summary>
    public static TheoryData<string, double, int, double, int, Activation, bool, int?, int[]> Defaults() => new()
    {
        { "qwen3", 1e-6, 32768, 1e4, 128, Activation.Silu, false, null, [] },
        { "gemma2", 1e-6, 8192, 1e4, 256, Activation.GeluTanh, true, 2, [1] },
        { "gemma3_text", 1e-6, 131072, 1e6, 256, Activation.GeluTanh, true, 2, [1] },
        { "olmo3", 1e-5, 2048, 1e4, 16, Activation.Silu, false, null, [50279] },
        { "granite", 1e-6, 2048, 1e4, 16, Activation.Silu, false, 1, [2] },
        { "stablelm", 1e-5, 4096, 1e4, 4, Activation.Silu, false, 0, [0] },
        { "starcoder2", 1e-5, 4096, 1e4, 16, Activation.GeluTanh, true, 50256, [50256] },
        { "cohere", 1e-5, 8192, 1e4, 16, Activation.Silu, true, 5, [255001] },
        { "cohere2", 1e-5, 8192, 1e4, 16, Activation.Silu, true, 5, [255001] },
        { "phi", 1e-5, 2048, 1e4, 8, Activation.GeluTanh, false, 1, [2] },
        { "nemotron", 1e-5, 4096, 1e4, 8, Activation.ReluSquared, false, 2, [3] },
        { "glm", 1.5625e-7, 131072, 1e4, 64, Activation.Silu, false, null, [151329, 151336, 151338] },
        { "glm4", 1.5625e-7, 131072, 1e4, 64, Activation.Silu, false, null, [151329, 151336, 151338] },
        { "exaone4", 1e-5, 2048, 1e4, 16, Activation.Silu, false, 0, [2] },
        { "ernie4_5", 1e-5, 131072, 5e5, 128, Activation.Silu, true, 1, [2] },
        { "hunyuan_v1_dense", 1e-5, 2048, 1e4, 16, Activation.Silu, false, 1, [2] },
        { "seed_oss", 1e-6, 524288, 1e4, 128, Activation.Silu, false, 0, [2] },
        { "llama4_text", 1e-5, 131072, 5e5, 128, Activation.Silu, false, 1, [2] },
        { "ministral", 1e-6, 131072, 1e4, 16, Activation.Silu, false, 1, [2] },
        { "falcon", 1e-5, 2048, 1e4, 16, Activation.Gelu, true, 11, [11] },
        { "opt", 1e-5, 2048, 1e4, 0, Activation.Relu, true, 2, [2] },
        { "bloom", 1e-5, 2048, 1e4, 0, Activation.GeluTanh, true, 1, [2] },
    };

    [Theory, MemberData(nameof(Defaults))]
    public void A_missing_key_means_what_the_class_says(string type, double epsilon, int positions, double theta, int rotated,
        Activation activation, bool tied, int? bos, int[] eos)
    {
        var config = Of(type).Decoder;
        Assert.Equal((epsilon, positions, theta, rotated, activation, tied, bos), (config.NormEpsilon, config.MaxPositions,
            config.RopeTheta, config.RotarySize, config.Activation, config.TiedHead, config.BosId));
        Assert.Equal(eos, config.EosIds);
    }

    /// <summary>Type; D, F, L, H, V of its class.</summary>
    public static TheoryData<string, int, int, int, int, int> Sizes() => new()
    {
        { "llama", 4096, 11008, 32, 32, 32000 },
        { "mistral", 4096, 14336, 32, 32, 32000 },
        { "ministral", 4096, 14336, 32, 32, 32000 },
        { "mixtral", 4096, 14336, 32, 32, 32000 },
        { "qwen2", 4096, 22016, 32, 32, 151936 },
        { "qwen3", 4096, 22016, 32, 32, 151936 },
        { "qwen2_moe", 2048, 5632, 24, 16, 151936 },
        { "qwen3_moe", 2048, 6144, 24, 32, 151936 },
        { "gemma", 3072, 24576, 28, 16, 256000 },
        { "gemma2", 2304, 9216, 26, 8, 256000 },
        { "gemma3_text", 2304, 9216, 26, 8, 262208 },
        { "phi", 2048, 8192, 24, 32, 51200 },
        { "phi3", 3072, 8192, 32, 32, 32064 },
        { "olmo2", 4096, 11008, 32, 32, 50304 },
        { "olmo3", 4096, 11008, 32, 32, 50304 },
        { "olmoe", 2048, 2048, 16, 16, 50304 },
        { "smollm3", 2048, 11008, 36, 16, 128256 },
        { "granite", 4096, 11008, 32, 32, 32000 },
        { "granitemoe", 4096, 11008, 32, 32, 32000 },
        { "granitemoeshared", 4096, 11008, 32, 32, 32000 },
        { "stablelm", 2560, 6912, 32, 32, 50304 },
        { "starcoder2", 3072, 12288, 30, 24, 49152 },
        { "cohere", 8192, 22528, 40, 64, 256000 },
        { "cohere2", 8192, 22528, 40, 64, 256000 },
        { "glm", 4096, 13696, 40, 32, 151552 },
        { "glm4", 4096, 13696, 40, 32, 151552 },
        { "exaone4", 4096, 16384, 32, 32, 102400 },
        { "ernie4_5", 1024, 3072, 18, 16, 103424 },
        { "hunyuan_v1_dense", 4096, 11008, 32, 32, 290943 },
        { "seed_oss", 4096, 27648, 64, 80, 155136 },
        { "nemotron", 6144, 24576, 32, 48, 256000 },
        { "gpt_oss", 2880, 2880, 36, 64, 201088 },
        { "deepseek_v3", 7168, 18432, 61, 128, 129280 },
        { "llama4_text", 5120, 16384, 48, 40, 202048 },
        { "gpt2", 768, 3072, 12, 12, 50257 },
        { "gpt_bigcode", 768, 3072, 12, 12, 50257 },
        { "gptj", 4096, 16384, 28, 16, 50400 },
        { "gpt_neox", 6144, 24576, 44, 64, 50432 },
        { "falcon", 4544, 18176, 32, 71, 65024 },
        { "opt", 768, 3072, 12, 12, 50272 },
        { "bloom", 64, 256, 2, 8, 250880 },
    };

    [Theory, MemberData(nameof(Sizes))]
    public void Sizes_that_a_file_leaves_out_are_those_of_the_class_and_are_told(string type, int hidden, int inner, int layers, int heads,
        int vocabulary)
    {
        var config = Some.Config(("model_type", type));
        var network = config.Decoder;
        Assert.Equal((hidden, inner, layers, heads, vocabulary), (network.HiddenSize, network.IntermediateSize, network.Layers,
            network.Heads, network.VocabularySize));
        Assert.Contains("config.json lacks ", Assert.Single(Families.UnreadKeys.Note("folder", config)));
        Assert.Contains($", as the class of {type} has it", Families.UnreadKeys.Note("folder", config).Single());
    }

    [Fact]
    public void Every_family_has_sizes() =>
        Assert.Equal(Families.Family.All.Select(family => family.ModelType).Order(), Sizes().Select(row => row.Data.Item1).Order());

    [Fact]
    public void Layers_with_a_window_follow_the_class()
    {
        Assert.Equal([4096, 0, 4096, 0], Windows("gemma2"));
        Assert.Equal([0, 0, 0, 0], Windows("gemma2", ("sliding_window", null)));
        Assert.Equal([4096, 4096, 4096, 4096], Windows("gemma3_text"));
        Assert.Equal([4096, 4096, 4096, 0], Windows("olmo3"));
        Assert.Equal([4096, 4096, 4096, 0], Windows("cohere2"));
        Assert.Equal([7, 0, 7, 0], Windows("cohere2", ("sliding_window", 7), ("sliding_window_pattern", 2)));
        Assert.Equal([4096, 4096, 4096, 0], Windows("exaone4"));
        Assert.Equal([4096, 0, 4096, 0], Windows("exaone4", ("sliding_window_pattern", "LGL")));
        Assert.Equal([0, 0, 0, 0], Windows("exaone4", ("sliding_window", null), ("sliding_window_pattern", null)));
        Assert.Equal([9, 9, 9, 9], Windows("starcoder2", ("sliding_window", 9)));
        Assert.Equal([4096, 0, 0, 0], Windows("ministral", ("layer_types", new JsonArray("sliding_attention", "full_attention",
            "full_attention", "full_attention"))));

        static int[] Windows(string type, params (string, JsonNode?)[] more) => Of(type, [("num_hidden_layers", 4), .. more]).Decoder
            is var config ? [.. Enumerable.Range(0, 4).Select(config.SlidingWindow)] : [];
    }

    [Fact]
    public void Layers_without_rotation_follow_the_windows()
    {
        Assert.Equal([true, true, true, false], Rotate("cohere2"));
        Assert.Equal([true, true, true, false], Rotate("exaone4"));
        Assert.Equal([true, true, true, true], Rotate("exaone4", ("sliding_window", null)));

        static bool[] Rotate(string type, params (string, JsonNode?)[] more) => Of(type, [("num_hidden_layers", 4), .. more]).Decoder
            is var config ? [.. Enumerable.Range(0, 4).Select(config.HasRope)] : [];
    }

    [Fact]
    public void Only_layers_without_a_window_are_stretched_in_Olmo_3()
    {
        var config = Of("olmo3", ("num_hidden_layers", 4), ("rope_theta", 5e5), ("rope_scaling",
            JsonNode.Parse("""{"rope_type": "yarn", "factor": 8, "original_max_position_embeddings": 8192}"""))).Decoder;
        Assert.Equal(new RopeBase(5e5, null), config.Rope(0));
        Assert.Equal(RopeScalingKind.Yarn, config.Rope(3).Scaling!.Kind);
    }

    [Theory]
    [InlineData("falcon", "new_decoder_architecture is true and parallel_attn is false", "new_decoder_architecture", "true",
        "parallel_attn", "false")]
    [InlineData("falcon", "num_ln_in_parallel_attn is 2, but must be 1", "num_ln_in_parallel_attn", "2")]
    [InlineData("opt", "layer_norm_elementwise_affine is false", "layer_norm_elementwise_affine", "false")]
    [InlineData("gemma3_text", "use_bidirectional_attention is true", "use_bidirectional_attention", "true")]
    [InlineData("exaone4", "sliding_window_pattern is \"LAG\"", "sliding_window_pattern", "\"LAG\"")]
    [InlineData("llama", "qk_layernorm is true, which llama does not have: it would change what the model computes", "qk_layernorm",
        "true")]
    [InlineData("mistral", "final_logit_softcapping is 30, which mistral does not have", "final_logit_softcapping", "30")]
    [InlineData("olmo2", "clip_qkv is 8, which olmo2 does not have", "clip_qkv", "8")]
    [InlineData("llama", "num_experts is 4, which llama does not have", "num_experts", "4")]
    [InlineData("qwen2", "layer_types is [\"linear_attention\"], which qwen2 does not have", "layer_types", "[\"linear_attention\"]")]
    public void What_cannot_be_is_refused_by_its_key(string type, string what, params string[] keys) => Assert.Contains(what,
        Assert.Throws<InputException>(() => Of(type, [.. keys.Chunk(2).Select(pair => (pair[0], JsonNode.Parse(pair[1])))])).Message);

    [Fact]
    public void Keys_that_are_switched_off_or_concern_nobody_are_passed_by_and_others_are_told()
    {
        var config = Of("llama", ("qk_layernorm", false), ("clip_qkv", null), ("logit_scale", 1), ("pretraining_tp", 4),
            ("use_cache", true), ("_name_or_path", "somewhere"), ("unsloth_version", "1"), ("my_key", 3));
        Assert.Equal(["my_key"], config.Unknown);
        Assert.Contains("config.json has my_key, which is not known here and changes nothing",
            Assert.Single(Families.UnreadKeys.Note("folder", config)));
    }

    /// <summary>A config with sizes alone.</summary>
    private static PublishedConfig Of(string type, params (string, JsonNode?)[] more) => Some.Config([("model_type", type),
        ("vocab_size", 300000), ("hidden_size", 512), ("intermediate_size", 20), ("num_hidden_layers", 1), ("num_attention_heads", 32),
        .. more]);
}
