using System.Text;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Models.Tests;

public sealed class PublishedConfigTests
{
    [Fact]
    public void Missing_keys_get_the_familys_own_defaults()
    {
        var llama = Some.Llama().Decoder;
        Assert.Equal((4, 1e-6, 10000.0, false), (llama.HeadSize, llama.NormEpsilon, llama.RopeTheta, llama.TiedHead));
        Assert.Equal((1, ValueList.Create([2]), null), (llama.BosId, llama.EosIds, llama.PadId));

        var gpt2 = Some.Gpt2().Decoder;
        Assert.Equal((32, Activation.GeluTanh, true, NormKind.LayerNorm),
            (gpt2.IntermediateSize, gpt2.Activation, gpt2.TiedHead, gpt2.Norm));
        Assert.Null(gpt2.BosId); // 50256 is not in a vocabulary of 13

        var mistral = Some.Llama(("model_type", "mistral"), ("num_key_value_heads", null), ("sliding_window", null)).Decoder;
        Assert.Equal((3, 0), (mistral.KeyValueHeads, mistral.SlidingWindow(1)));
        Assert.Equal(4096, Some.Llama(("model_type", "mistral")).Decoder.SlidingWindow(1));
    }

    [Fact]
    public void Experts_are_read_with_their_defaults_and_refused_where_there_are_too_few()
    {
        var mixtral = Some.Mixtral(("num_local_experts", null), ("sliding_window", null)).Decoder;
        Assert.Equal((1e-5, 1e6, 0), (mixtral.NormEpsilon, mixtral.RopeTheta, mixtral.SlidingWindow(0)));
        Assert.Equal(new ExpertOptions(8, 2, NormalizeTopK: true, 0.001, WantsAuxiliaryLoss: false, JitterNoise: 0), mixtral.Experts);
        Assert.Equal(16, Some.Mixtral(("num_local_experts", null), ("num_experts", 16)).Decoder.Experts!.Count);
        var (config, count) = (Some.Mixtral(), 3 * 12 * 20 * 2);        // of one expert in both layers
        Assert.Equal(config.Family.Parameters(config.Decoder).Sum(p => p.Count) - 2 * count, config.Family.ActiveCount(config.Decoder));
        Assert.Equal(Some.Llama().Family.Parameters(Some.Llama().Decoder).Sum(p => p.Count),
            Some.Llama().Family.ActiveCount(Some.Llama().Decoder));
        var failure = Assert.Throws<InputException>(() => Some.Mixtral(("num_experts_per_tok", 5), ("router_aux_loss_coef", -1)));
        Assert.Contains("num_experts_per_tok is 5, more than the 4 of num_local_experts", failure.Message);
        Assert.Contains("router_aux_loss_coef is -1, but must be 0 or greater", failure.Message);
        Assert.Contains("9000 layers of 4000 experts are more than any model has", Assert.Throws<InputException>(() =>
            Some.Mixtral(("num_hidden_layers", 9000), ("num_local_experts", 4000))).Message);
        Assert.Contains("num_local_experts is 1000000, more than 4096",
            Assert.Throws<InputException>(() => Some.Mixtral(("num_local_experts", 1000000))).Message);
    }

    [Fact]
    public void Families_differ_from_llama_in_their_defaults()
    {
        var gemma = Family("gemma");
        Assert.Equal((256, 16, true, Activation.GeluTanh, 1.0, Math.Sqrt(48)),
            (gemma.HeadSize, gemma.KeyValueHeads, gemma.TiedHead, gemma.Activation, gemma.NormWeightOffset, gemma.EmbeddingScale));
        Assert.Equal(Activation.GeluTanh, Family("gemma", ("hidden_act", "gelu"), ("hidden_activation", "gelu_pytorch_tanh")).Activation);
        Assert.Equal(Activation.GeluTanh, Family("gemma", ("hidden_act", "gelu"), ("hidden_activation", null)).Activation);
        Assert.Equal(Activation.Silu, Family("gemma", ("hidden_act", "silu")).Activation);
        Assert.Equal((2, ValueList.Create([1])), (gemma.BosId, gemma.EosIds));

        var olmo = Family("olmo2");
        Assert.Equal((NormPlacement.After, QueryKeyNorm.WholeProjection, 1e-5, (int?)null),
            (olmo.NormPlacement, olmo.QueryKeyNorm, olmo.NormEpsilon, olmo.BosId));

        var neox = Family("gpt_neox", ("rope_theta", null));
        Assert.Equal((1e-5, true, true, false), (neox.NormEpsilon, neox.ParallelResidual, neox.QueryKeyValueBias, neox.GatedMlp));
        Assert.Equal(3, neox.RotarySize);       // a quarter of 12, which turns two pairs
        Assert.Equal(6, Family("gpt_neox", ("rotary_pct", 0.5)).RotarySize);
        Assert.Contains("partial_rotary_factor above 1",
            Assert.Throws<InputException>(() => Family("gpt_neox", ("rotary_pct", 2))).Message);
    }

    [Fact]
    public void Layers_without_rotation_are_listed_or_come_at_intervals()
    {
        bool[] Rotates(params (string, JsonNode?)[] more) => Family("smollm3", [("num_hidden_layers", 4), .. more]) is var config
            ? [.. Enumerable.Range(0, 4).Select(config.HasRope)] : [];
        Assert.Equal([true, true, true, false], Rotates());
        Assert.Equal([true, false, true, false], Rotates(("no_rope_layer_interval", 2)));
        Assert.Equal([false, true, true, true], Rotates(("no_rope_layers", new JsonArray(0, 1, 1, 1))));
        Assert.Contains("no_rope_layers has 2 entries, but num_hidden_layers is 4",
            Assert.Throws<InputException>(() => Rotates(("no_rope_layers", new JsonArray(0, 1)))).Message);
        var windows = Family("smollm3", ("num_hidden_layers", 4), ("use_sliding_window", true), ("sliding_window", 7));
        Assert.Equal([0, 0, 0, 7], Enumerable.Range(0, 4).Select(windows.SlidingWindow));
        Assert.Empty(Family("smollm3", ("sliding_window", 7)).SlidingWindows);
    }

    [Fact]
    public void Phi3_says_beside_its_scaling_how_long_the_rows_of_its_training_were()
    {
        JsonArray Factors(double value) => [.. Enumerable.Repeat(value, 6).Select(x => JsonValue.Create(x))];
        var phi = Family("phi3", ("num_key_value_heads", 4), ("max_position_embeddings", 512), ("original_max_position_embeddings", 32),
            ("rope_scaling", new JsonObject { ["type"] = "su", ["short_factor"] = Factors(1), ["long_factor"] = Factors(2) }));
        Assert.Equal((RopeScalingKind.LongRope, 32, 16.0),
            (phi.RopeScaling!.Kind, phi.RopeScaling.OriginalMaxPositions, phi.RopeScaling.Factor));
    }

    [Fact]
    public void Alpha_is_HunYuan_s_alone()
    {
        JsonNode Rope() => JsonNode.Parse("""{"type": "dynamic", "alpha": 1000.0, "factor": 2.0}""")!;
        Assert.Equal(RopeScalingKind.NtkAware, Family("hunyuan_v1_dense", ("rope_scaling", Rope())).RopeScaling!.Kind);
        Assert.Equal(new RopeScaling { Kind = RopeScalingKind.Dynamic, Factor = 2 }, Family("llama", ("rope_scaling", Rope())).RopeScaling);
    }

    [Fact]
    public void Rotations_of_two_sets_of_factors_go_by_older_names_and_may_state_how_far_they_stretch()
    {
        JsonObject Rope(string type, params (string Key, JsonNode? Value)[] more)
        {
            var rope = new JsonObject { ["rope_type"] = type, ["short_factor"] = new JsonArray(1, 1), ["long_factor"] = new JsonArray(2, 2) };
            foreach (var (key, value) in more)
                rope[key] = value;
            return rope;
        }
        RopeScaling Read(string section, JsonObject rope, int? trained) => Some.Llama(("max_position_embeddings", 64), (section, rope),
            ("original_max_position_embeddings", trained)).Decoder.RopeScaling!;

        Assert.Equal((RopeScalingKind.LongRope, 16, 4.0), Of(Read("rope_scaling", Rope("yarn"), 16)));
        Assert.Equal((RopeScalingKind.LongRope, 16, 4.0), Of(Read("rope_scaling", Rope("longrope", ("factor", 32.0)), 16)));
        Assert.Equal((RopeScalingKind.LongRope, 16, 32.0), Of(Read("rope_parameters", Rope("longrope", ("factor", 32.0)), 16)));
        Assert.Equal((RopeScalingKind.LongRope, 8, 8.0),
            Of(Read("rope_parameters", Rope("longrope", ("original_max_position_embeddings", 8)), null)));
        Assert.Equal((RopeScalingKind.LongRope, null, 3.0), Of(Read("rope_parameters", Rope("longrope", ("factor", 3.0)), null)));

        static (RopeScalingKind, int?, double) Of(RopeScaling scaling) => (scaling.Kind, scaling.OriginalMaxPositions, scaling.Factor);
    }

    private static DecoderConfig Family(string modelType, params (string Key, JsonNode? Value)[] more) =>
        Some.Config([("model_type", modelType), ("vocab_size", 19), ("hidden_size", 48), ("intermediate_size", 20),
            ("num_hidden_layers", 2), ("num_attention_heads", modelType == "gemma" ? 16 : 4), .. more]).Decoder;

    [Fact]
    public void Windows_stand_on_the_layers_that_layer_types_names()
    {
        var config = Some.Llama(("model_type", "mistral"), ("sliding_window", 5),
            ("layer_types", new JsonArray("full_attention", "sliding_attention"))).Decoder;
        Assert.Equal((0, 5), (config.SlidingWindow(0), config.SlidingWindow(1)));
    }

    [Fact]
    public void Attention_scale_follows_the_switches_of_gpt2()
    {
        Assert.Equal(0.5, Some.Gpt2().Decoder.AttentionScale(1)); // 1/√4
        Assert.Equal(0.25, Some.Gpt2(more: ("scale_attn_by_inverse_layer_idx", true)).Decoder.AttentionScale(1));
        Assert.Equal(1, Some.Gpt2(more: ("scale_attn_weights", false)).Decoder.AttentionScale(1));
    }

    [Fact]
    public void Scaled_positions_read_the_same_from_either_layout()
    {
        JsonObject Yarn() =>
            new() { ["factor"] = 4.0, ["original_max_position_embeddings"] = 16, ["beta_fast"] = 20, ["truncate"] = false };
        var four = Yarn();
        four["type"] = "yarn";
        var five = Yarn();
        five["rope_type"] = "yarn";
        five["rope_theta"] = 500.0;

        Assert.Equal(Some.Llama(("rope_theta", 500.0), ("rope_scaling", four)).Decoder, Some.Llama(("rope_parameters", five)).Decoder);
        Assert.Equal(20, Some.Llama(("rope_scaling", four)).Decoder.RopeScaling!.BetaFast);
    }

    [Theory]
    [InlineData("rope_scaling", """{"type":"linear","factor":2}""", RopeScalingKind.Linear)]
    [InlineData("rope_scaling", """{"rope_type":"dynamic","factor":2}""", RopeScalingKind.Dynamic)]
    [InlineData("rope_scaling", """{"rope_type":"yarn","original_max_position_embeddings":16}""", RopeScalingKind.Yarn)]
    [InlineData("rope_scaling", """{"type":"su","short_factor":[1,1],"long_factor":[2,2]}""", RopeScalingKind.LongRope)]
    [InlineData("rope_parameters",
        """{"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":32,"rope_theta":5}""", RopeScalingKind.Llama3)]
    public void Every_kind_of_scaling_is_known(string key, string json, RopeScalingKind kind) =>
        Assert.Equal(kind, Some.Llama((key, JsonNode.Parse(json))).Decoder.RopeScaling!.Kind);

    public static TheoryData<string, string, string> Mistakes() => new()
    {
        { "hidden_size", "13", "hidden_size 13 is not divisible by num_attention_heads 3, and head_dim is not given" },
        { "num_key_value_heads", "2", "num_attention_heads 3 is not divisible by num_key_value_heads 2" },
        { "num_hidden_layers", "-1", "num_hidden_layers is -1, but must be greater than 0" },
        { "num_hidden_layers", "1000000", "num_hidden_layers is 1000000, more than 10000" },
        { "vocab_size", "0", "vocab_size is 0, but must be greater than 0" },
        { "vocab_size", "9999999999", "vocab_size is 9999999999, but must be a whole number" },
        { "vocab_size", "null", "vocab_size is missing" },
        { "hidden_size", "\"12\"", "hidden_size is \"12\", but must be a whole number" },
        { "hidden_size", "12.5", "hidden_size is 12.5, but must be a whole number" },
        { "intermediate_size", "null", "intermediate_size is missing" },
        { "hidden_act", "\"gelu_magic\"", "hidden_act is \"gelu_magic\", an unknown activation; known: silu" },
        { "hidden_act", "3", "hidden_act is 3, but must be a text" },
        { "rms_norm_eps", "0", "rms_norm_eps is 0, but must be greater than 0" },
        { "head_dim", "3", "the rotated part of a head has 3 dimensions" },
        { "rope_theta", "-5", "rope_theta is -5" },
        { "rope_scaling", "\"linear\"", "rope_scaling is \"linear\", but must be an object" },
        { "rope_scaling", """{"type":"cubic","factor":2}""", "rope_scaling.rope_type is \"cubic\", an unknown way to stretch positions" },
        { "rope_scaling", """{"type":"linear"}""", "rope_scaling.factor is missing" },
        { "rope_scaling", """{"type":"linear","factor":0.5}""", "rope_scaling.factor is 0.5, but must be at least 1" },
        { "rope_scaling", """{"type":"llama3","factor":8}""", "rope_scaling.original_max_position_embeddings is missing" },
        { "rope_scaling", """{"type":"longrope","short_factor":[1],"long_factor":[1]}""",
            "short_factor and long_factor have 1 and 1 numbers, but the head needs 2" },
        { "tie_word_embeddings", "\"yes\"", "tie_word_embeddings is \"yes\", but must be true or false" },
        { "torch_dtype", "\"int4\"", "torch_dtype is \"int4\"; known: float32" },
        { "attention_dropout", "1.5", "attention_dropout is 1.5, but must be at least 0 and below 1" },
        { "model_type", "null", "model_type is missing" },
        { "model_type", "\"t5\"", "model_type \"t5\" is not supported" },
    };

    [Theory, MemberData(nameof(Mistakes))]
    public void A_mistake_is_named_with_file_key_and_value(string key, string value, string message)
    {
        var error = Assert.ThrowsAny<InputException>(() => Some.Llama((key, JsonNode.Parse(value))));
        Assert.Contains("config.json: ", error.Message);
        Assert.Contains(message, error.Message);
    }

    [Fact]
    public void All_mistakes_of_a_file_come_in_one_message()
    {
        var error = Assert.Throws<InputException>(() => Some.Llama(("vocab_size", -3), ("hidden_act", "x"), ("num_key_value_heads", 2)));
        Assert.Equal(4, error.Message.Split('\n').Length); // three problems and what to do
    }

    [Theory]
    [InlineData("""{"model_type": "llama",""", "config.json:1:")]
    [InlineData("[]", "must hold a JSON object")]
    [InlineData("", "config.json:1:1: not valid JSON")]
    [InlineData("""{"vocab_size": 1, "vocab_size": 2}""", "not valid JSON")]
    [InlineData("""{"model_type": "\ud800"}""", "not valid Unicode")]
    public void A_file_that_is_not_an_object_is_refused_with_its_place(string text, string message) =>
        Assert.Contains(message,
            Assert.Throws<InputException>(() => PublishedConfig.Parse(Encoding.UTF8.GetBytes(text), "config.json")).Message);

    [Fact]
    public void A_missing_file_is_named() =>
        Assert.Contains("/nowhere/config.json does not exist",
            Assert.Throws<InputException>(() => PublishedConfig.Load("/nowhere/config.json")).Message);

    [Fact]
    public void Flipped_bytes_never_give_anything_but_a_refusal_or_a_config()
    {
        var good = Encoding.UTF8.GetBytes(Some.Llama(("rope_scaling", JsonNode.Parse("""{"type":"yarn","factor":2}""")),
            ("eos_token_id", new JsonArray(1, 2))).Json.ToJsonString());
        var random = new Random(5);
        var parsed = 0;
        for (var round = 0; round < 1000; round++)
        {
            var bytes = (byte[])good.Clone();
            for (var flips = random.Next(1, 4); flips > 0; flips--)
                bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
            try
            {
                PublishedConfig.Parse(bytes, "config.json");
                parsed++;
            }
            catch (InputException)
            {
            }
        }
        Assert.InRange(parsed, 1, 999);
    }

    [Fact]
    public void Saving_keeps_every_key_and_turns_the_cache_on()
    {
        using var folder = new TemporaryFolder();
        var config = Some.Llama(("use_cache", false), ("my_key", "kept"), ("transformers_version", "4.41.2"), ("torch_dtype", "bfloat16"));

        config.With(DType.Float32).With(1, [2, 3], null).Save(folder.Path);
        var saved = PublishedConfig.Load(folder.Path);

        Assert.Equal(["LlamaForCausalLM"], saved.Json["architectures"]!.AsArray().Select(a => (string)a!));
        Assert.True((bool)saved.Json["use_cache"]!);
        Assert.Equal(("kept", "4.41.2", "float32"),
            ((string)saved.Json["my_key"]!, (string)saved.Json["transformers_version"]!, (string)saved.Json["torch_dtype"]!));
        Assert.Equal(ValueList.Create([2, 3]), saved.Decoder.EosIds);
        Assert.Null(saved.Decoder.PadId);
    }

    [Theory(SkipTestWithoutData = true), MemberData(nameof(GoldenModelTests.Folders), MemberType = typeof(GoldenModelTests))]
    public void A_config_of_the_reference_library_is_written_again_byte_for_byte(string model)
    {
        var source = SharedFiles.Need("golden", "models", model);
        using var folder = new TemporaryFolder();
        string[] files = ["config.json", "config.transformers5.json"];
        foreach (var file in files.Where(file => File.Exists(Path.Combine(source, file))))
        {
            GoldenModel.Load(source, file).Save(folder.Path);
            Assert.Equal(File.ReadAllText(Path.Combine(source, file)), File.ReadAllText(folder["config.json"]));
        }
    }

    [Fact]
    public void Generation_defaults_fall_back_to_the_config_and_keep_their_keys()
    {
        using var folder = new TemporaryFolder();
        var decoder = Some.Llama(("pad_token_id", 0)).Decoder;
        Assert.Equal((1, 0), (GenerationDefaults.Load(folder.Path, decoder).BosId, GenerationDefaults.Load(folder.Path, decoder).PadId));

        File.WriteAllText(folder["generation_config.json"],
            """{"temperature": 0.6, "top_p": 0.9, "do_sample": true, "eos_token_id": [2, 7], "other": 1}""");
        var read = GenerationDefaults.Load(folder.Path, decoder);
        read.Save(folder.Path);

        Assert.Equal((0.6, 0.9, true), (read.Temperature, read.TopP, read.DoSample));
        Assert.Equal(ValueList.Create([2, 7]), read.EosIds);
        Assert.Equal(read with { Json = [] }, GenerationDefaults.Load(folder.Path, decoder) with { Json = [] },
            (a, b) => a.ToString() == b.ToString());
        Assert.Contains("\"other\": 1", File.ReadAllText(folder["generation_config.json"]));
    }
}
