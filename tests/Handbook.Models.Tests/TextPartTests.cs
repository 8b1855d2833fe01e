using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Torch;

namespace Handbook.Models.Tests;

/// <summary>A model that also sees is read, and saved, as its text model, and says what it leaves out.</summary>
public sealed class TextPartTests
{
    private static readonly JsonObject s_text = new()
    {
        ["model_type"] = "gemma3_text",
        ["hidden_size"] = 16,
        ["intermediate_size"] = 20,
        ["num_hidden_layers"] = 2,
        ["num_attention_heads"] = 2,
        ["num_key_value_heads"] = 1,
        ["head_dim"] = 8,
        ["vocab_size"] = 19,
        ["max_position_embeddings"] = 64,
        ["sliding_window"] = 4,
    };

    [Theory]
    [InlineData("language_model.model.", "vision_tower.", "vision_tower")]
    [InlineData("model.language_model.", "model.vision_tower.", "vision_tower")]
    [InlineData("model.text_model.", "model.vision_model.", "vision_model")]
    public void Its_text_model_is_that_of_text_config(string prefix, string other, string said)
    {
        using var folder = new TemporaryFolder();
        var alone = Config(s_text);
        WeightFilesWriter.Save(folder["alone"], NewModel.Tensors(alone, 3, DType.Float32));
        using var source = WeightFiles.Open(folder["alone"]);
        WeightFilesWriter.Save(folder["whole"],
            [.. source.Names.Select(name => Renamed(source.Read(name), prefix + name["model.".Length..])),
            TensorToSave.From(other + "embed.weight", new float[6], 2, 3)]);

        var config = Config(new()
        {
            ["model_type"] = "gemma3",
            ["architectures"] = new JsonArray("Gemma3ForConditionalGeneration"),
            ["text_config"] = s_text.DeepClone(),
            ["vision_config"] = new JsonObject { ["hidden_size"] = 3 },
            ["eos_token_id"] = new JsonArray(1, 7),
        });
        using var weights = ModelWeights.Open(folder["whole"], config);
        using var plain = ModelWeights.Open(folder["alone"], alone);

        Assert.Equal("gemma3_text", config.Decoder.ModelType);
        Assert.Equal(ValueList.Create([1, 7]), config.Decoder.EosIds);
        foreach (var spec in plain.Parameters)
            Assert.Equal(plain.ReadSingles(spec.Name), weights.ReadSingles(spec.Name));
        Assert.Contains($"is a gemma3: its text model alone is read and saved, without 1 tensors of its other parts ({said})",
            Assert.Single(weights.LeftOut));
    }

    [Fact]
    public void What_is_saved_is_the_text_model()
    {
        using var folder = new TemporaryFolder();
        Config(new() { ["model_type"] = "gemma3", ["text_config"] = s_text.DeepClone() }).With(("initializer_range", 0.5))
            .Save(folder.Path);
        var saved = PublishedConfig.Load(folder.Path);
        Assert.Equal("gemma3_text", (string)saved.Json["model_type"]!);
        Assert.Equal("Gemma3ForCausalLM", (string)saved.Json["architectures"]![0]!);
        Assert.Null(saved.PartOf);
    }

    [Fact]
    public void Sizes_that_the_text_config_leaves_out_are_those_of_the_class()
    {
        var config = Config(new()
        {
            ["model_type"] = "gemma3",
            ["text_config"] = new JsonObject
            {
                ["model_type"] = "gemma3_text",
                ["hidden_size"] = 2560,
                ["intermediate_size"] = 10240,
                ["num_hidden_layers"] = 34,
                ["rope_scaling"] = new JsonObject { ["factor"] = 8.0, ["rope_type"] = "linear" },
                ["sliding_window"] = 1024,
            },
        }).Decoder;
        Assert.Equal((8, 4, 256, 262208, 131072), (config.Heads, config.KeyValueHeads, config.HeadSize, config.VocabularySize,
            config.MaxPositions));
        Assert.Equal((new RopeBase(10000, null), RopeScalingKind.Linear, 8), (config.Rope(0), config.Rope(5).Scaling!.Kind,
            config.Rope(5).Scaling!.Factor));
        Assert.Equal([1024, 1024, 1024, 1024, 1024, 0, 1024], config.SlidingWindows.Take(7));
    }

    [Theory]
    [InlineData("qwen2_vl", true), InlineData("qwen2_5_vl_text", false)]
    public void Text_alone_turns_as_in_Qwen_2(string type, bool isFlat)
    {
        var keys = new JsonObject
        {
            ["model_type"] = type,
            ["hidden_size"] = 16,
            ["intermediate_size"] = 20,
            ["num_hidden_layers"] = 2,
            ["num_attention_heads"] = 2,
            ["num_key_value_heads"] = 1,
            ["vocab_size"] = 19,
            ["rope_scaling"] = new JsonObject { ["type"] = "mrope", ["mrope_section"] = new JsonArray(1, 1, 2) },
        };
        var config = Config(isFlat ? keys
            : new() { ["model_type"] = "qwen2_5_vl", ["text_config"] = keys, ["tie_word_embeddings"] = true });
        Assert.Equal(("qwen2", true, null, !isFlat), (config.Decoder.ModelType, config.Decoder.QueryKeyValueBias,
            config.Decoder.RopeScaling, config.Decoder.TiedHead));
        Assert.NotNull(config.PartOf);
    }

    [Fact]
    public void How_positions_are_stretched_is_not_lost_with_the_sections()
    {
        var rope = JsonNode.Parse("""
            {"type": "yarn", "mrope_section": [1, 1, 2], "factor": 4, "original_max_position_embeddings": 16, "mrope_interleaved": true}
            """);
        var config = Config(new() { ["model_type"] = "qwen2_vl", ["hidden_size"] = 512, ["rope_scaling"] = rope }).Decoder;
        Assert.Equal((RopeScalingKind.Yarn, 4.0, 16), (config.RopeScaling!.Kind, config.RopeScaling.Factor,
            config.RopeScaling.OriginalMaxPositions));
    }

    [Theory]
    [InlineData("qwen2_5_vl_text", "qwen2", 8192, 80, 8, 1e6, 1e-5)]
    [InlineData("qwen3_vl_text", "qwen3", 4096, 32, 32, 5e5, 1e-6)]
    public void What_a_text_config_leaves_out_is_what_its_own_class_says(string type, string plain, int hidden, int layers, int groups,
        double theta, double epsilon)
    {
        var config = Config(new() { ["model_type"] = "whole", ["text_config"] = new JsonObject { ["model_type"] = type } }).Decoder;
        Assert.Equal((plain, hidden, layers, groups, theta, epsilon), (config.ModelType, config.HiddenSize, config.Layers,
            config.KeyValueHeads, config.RopeTheta, config.NormEpsilon));
    }

    [Fact]
    public void A_text_config_may_name_nothing_but_its_class_and_what_differs()
    {
        var config = Config(JsonNode.Parse("""
            {"model_type": "llava", "text_config": {"model_type": "llama", "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
            "torch_dtype": "float16", "vocab_size": 32064}, "vision_config": {}}
            """)!.AsObject());
        Assert.Equal((4096, 11008, 32, 32, 32064), (config.Decoder.HiddenSize, config.Decoder.IntermediateSize, config.Decoder.Layers,
            config.Decoder.Heads, config.Decoder.VocabularySize));
        Assert.Equal([("num_attention_heads", 32), ("hidden_size", 4096), ("intermediate_size", 11008), ("num_hidden_layers", 32)],
            config.Assumed);
    }

    [Fact]
    public void A_text_model_of_a_family_that_is_not_built_is_named() =>
        Assert.Contains("model_type \"mllama_text_model\" is not supported", Assert.Throws<Families.UnsupportedFamilyException>(() =>
            Config(new() { ["model_type"] = "mllama", ["text_config"] = new JsonObject { ["model_type"] = "mllama_text_model" } })).Message);

    [Fact]
    public void One_of_Mistral_s_is_a_Mistral() =>
        Assert.Equal(("mistral", 8), (Config(Mistral()).Decoder.ModelType, Config(Mistral()).Decoder.KeyValueHeads));

    private static JsonObject Mistral() => new()
    {
        ["model_type"] = "mistral3",
        ["text_config"] = new JsonObject
        {
            ["model_type"] = "mistral",
            ["hidden_size"] = 64,
            ["intermediate_size"] = 20,
            ["num_hidden_layers"] = 2,
            ["num_attention_heads"] = 8,
            ["vocab_size"] = 19,
        },
    };

    private static PublishedConfig Config(JsonObject keys) =>
        PublishedConfig.Parse(System.Text.Encoding.UTF8.GetBytes(keys.ToJsonString()), "config.json");

    private static TensorToSave Renamed(TensorData data, string name) =>
        TensorToSave.From(name, System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(data.Bytes).ToArray(), [.. data.Info.Shape]);
}
