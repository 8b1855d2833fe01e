using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Models.Families;
using Handbook.Models.Files;
using Handbook.Models.Generation;
using Handbook.Models.Gguf;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Models.Tests.Gguf;

/// <summary>Files that we write, opened by llama.cpp.</summary>
[Collection("tensors")]
public sealed class LlamaCppAgreementTests
{
    // f32: sums in another order; others: about the step of the format times the size of the logits
    [Theory, Trait("speed", "slow")]
    [InlineData("f16", 2e-2)]
    [InlineData("bf16", 0.15)]
    [InlineData("q6_k", 0.5)]
    [InlineData("q5_k_m", 2)]
    [InlineData("q4_0", 4)]
    public void Every_format_has_about_the_same_logits_there(string precision, double tolerance) =>
        A_trained_model_has_the_same_logits_there(precision, tolerance);

    [Theory]
    [InlineData("f32", 1e-3)]
    [InlineData("q8_0", 0.5)]
    [InlineData("q4_k_m", 3)]
    public void A_trained_model_has_the_same_logits_there(string precision, double tolerance)
    {
        var stories = SharedFiles.Need("models", "tinystories-656k");
        using var folder = new TemporaryFolder();
        var file = folder["model.gguf"];
        GgufExport.Write(stories, GgufPrecision.All.Single(one => one.Name == precision), file);
        using var theirs = new LlamaCpp(file);
        using var ours = LanguageModel.Open(stories);
        var ids = ours.EncodeText("Once upon a time there was a little dog named Tim. He");
        Assert.Equal(ids, theirs.Encode("Once upon a time there was a little dog named Tim. He"));
        Assert.True(Largest(Logits(ours, ids), theirs.Logits(ids)) < tolerance, $"{Largest(Logits(ours, ids), theirs.Logits(ids))}");
        if (precision == "f32")
            Assert.Equal(new Generator(ours.Network).Generate([ids], new SamplingOptions { Temperature = 0, MaxNewTokens = 24 })[0].Tokens,
                theirs.Greedy(ids, 24));
    }

    private const string Yarn = "{ 'rope_parameters': { 'rope_theta': 10000.0, 'rope_type': 'yarn', 'factor': 4.0, "
        + "'original_max_position_embeddings': 32 } }";

    /// <summary>Models that have what llama.cpp does not compute, and what that is.</summary>
    internal static readonly Dictionary<string, string> Refused = new()
    {
        ["gemma2_s"] = "this factor on the scores of attention",
        ["gpt_neox_serial"] = "an odd number of rotated dimensions",
        ["nemotron"] = "an odd number of rotated dimensions",
        ["smollm3"] = "rotation on these layers",
        ["olmoe"] = "fewer heads of keys than of queries",
        ["qwen2_moe"] = "layers without experts",
        ["exaone4"] = "windows",
    };

    public static TheoryData<string> Folders() => [.. SharedFiles.Folders("golden", "models").Select(folder => Path.GetFileName(folder)!)
        .Where(name => GgufLayouts.Of(TypeOf(name)) is not null)];

    // 1e-3: float32 sums in another order; 5e-3: its GELU is a table in float16
    [Theory(SkipTestWithoutData = true), MemberData(nameof(Folders))]
    public void Every_family_has_the_same_logits_there(string model) => Compare(model, "{}", Refused.GetValueOrDefault(model));

    [Theory] // what the published values have otherwise than llama.cpp
    [InlineData("gemma2_s", "{ 'query_pre_attn_scalar': 12 }")]
    [InlineData("gpt_neox_serial", "{ 'rotary_pct': 0.3, 'partial_rotary_factor': 0.3 }")]
    [InlineData("nemotron", "{ 'rope_parameters': { 'rope_theta': 10000.0, 'partial_rotary_factor': 0.4, 'rope_type': 'default' } }")]
    [InlineData("smollm3", "{ 'no_rope_layers': [1, 1, 1, 0] }")]
    [InlineData("exaone4", "{ 'sliding_window': null, 'layer_types': null }")]
    [InlineData("llama_gqa_untied", "{ 'rope_parameters': { 'rope_theta': 10000.0, 'rope_type': 'linear', 'factor': 2.5 } }")]
    [InlineData("llama_gqa_untied", Yarn)]
    [InlineData("qwen3_s", Yarn)]
    [InlineData("gpt_oss", Yarn)]
    [InlineData("deepseek_v3", "{ 'rope_parameters': { 'rope_theta': 10000.0, 'rope_type': 'yarn', 'factor': 4.0, 'mscale': 1.0, "
        + "'mscale_all_dim': 1.0, 'original_max_position_embeddings': 32 } }")]
    public void What_llama_cpp_computes_of_a_family_agrees(string model, string changes) => Compare(model, changes, null);

    [Theory] // of which no published values have what llama.cpp computes: new models, with large weights
    [InlineData("{ 'model_type': 'seed_oss', 'head_dim': 12 }")]
    [InlineData("{ 'model_type': 'qwen2_moe', 'num_experts': 5, 'num_experts_per_tok': 2, 'moe_intermediate_size': 24, "
        + "'shared_expert_intermediate_size': 40, 'norm_topk_prob': false }")]
    [InlineData("{ 'model_type': 'olmoe', 'num_experts': 6, 'num_experts_per_tok': 2, 'num_key_value_heads': 4 }")]
    [InlineData("{ 'model_type': 'glm', 'head_dim': 8, 'partial_rotary_factor': 0.5 }")]
    [InlineData("{ 'model_type': 'ministral', 'head_dim': 12, 'sliding_window': null }")]
    [InlineData("{ 'model_type': 'granitemoeshared', 'num_local_experts': 4, 'num_experts_per_tok': 2, 'shared_intermediate_size': 24, "
        + "'attention_multiplier': 0.2, 'embedding_multiplier': 4.0, 'residual_multiplier': 0.5, 'logits_scaling': 2.0 }")]
    public void A_new_model_has_the_same_logits_there(string changes)
    {
        using var made = new TemporaryFolder();
        var json = new JsonObject();
        Change(json, "{ 'hidden_size': 32, 'intermediate_size': 48, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'num_key_value_heads': 2, "
            + "'max_position_embeddings': 128, 'vocab_size': 144, 'initializer_range': 0.3, 'tie_word_embeddings': false }");
        Change(json, changes);
        File.WriteAllText(made["config.json"], json.ToJsonString());
        var config = PublishedConfig.Load(made.Path);
        WeightFilesWriter.Save(made.Path, NewModel.Tensors(config, 1, DType.Float32));
        Compare(made, null);
        using var file = GgufFile.Open(made["model.gguf"]);
        Assert.Equal(config.Family.ModelType == "ministral" ? "llama" : config.Family.ModelType,
            GgufImport.Write(file, DType.Float32, made["back"]));
    }

    [Theory]
    [InlineData("gptj", "has no network for it")]
    [InlineData("opt", "has no network for OPT")]
    public void A_family_that_llama_cpp_does_not_compute_is_refused_with_the_reason(string model, string why)
    {
        var problem = Assert.Throws<InputException>(() => GgufExport.Write(SharedFiles.Need("golden", "models", model), GgufPrecision.All[0],
            "model.gguf"));
        Assert.Contains(why, problem.Message);
    }

    private static void Change(JsonObject json, string changes)
    {
        foreach (var (key, value) in JsonNode.Parse(changes.Replace('\'', '"'))!.AsObject())
            json[key] = value?.DeepClone();
    }

    private static void Compare(string model, string changes, string? refused)
    {
        var folder = SharedFiles.Need("golden", "models", model);
        using var made = new TemporaryFolder();
        var json = JsonNode.Parse(File.ReadAllBytes(Path.Combine(folder, "config.json")))!.AsObject();
        Change(json, changes);
        File.WriteAllText(made["config.json"], json.ToJsonString());
        File.Copy(Path.Combine(folder, "model.safetensors"), made["model.safetensors"]);
        Compare(made, refused);
    }

    private static void Compare(TemporaryFolder made, string? refused)
    {
        var config = PublishedConfig.Load(made.Path).Decoder;
        File.WriteAllBytes(made["tokenizer.json"], ByteTokenizer(config.VocabularySize));
        if (refused is not null)
        {
            var problem = Assert.Throws<InputException>(() => GgufExport.Write(made.Path, GgufPrecision.All[0], made["model.gguf"]));
            Assert.Contains($"does not compute {refused}", problem.Message);
            Assert.Empty(Directory.GetFiles(made.Path, "*.gguf*"));
            return;
        }
        var notes = GgufExport.Write(made.Path, GgufPrecision.All[0], made["model.gguf"]).Notes;

        using var theirs = new LlamaCpp(made["model.gguf"]);
        using var ours = LanguageModel.Open(made.Path);
        // where windows are not computed, texts as long as a window agree, and a note says so
        var windowless = config.SlidingWindows.Any(window => window > 0) && GgufLayouts.Of(config.ModelType)!.WindowPeriod == 0;
        Assert.Equal(windowless, notes.Any(note => note.Contains("has no windows")));
        var length = windowless ? config.SlidingWindows.Max() : 24;
        int[] ids = [.. Enumerable.Range(0, length).Select(i => (i * 37 + 11) % 120)];
        var difference = Largest(Logits(ours, ids), theirs.Logits(ids));
        // where the borders of yarn are rounded there, which a note says, some frequencies are others
        var rounded = config.RopeScaling is { Kind: RopeScalingKind.Yarn, Truncate: false };
        Assert.Equal(rounded, notes.Any(note => note.Contains("truncate: false")));
        Assert.True(difference < (rounded ? 2e-2 : config.Activation is Activation.Gelu or Activation.GeluTanh ? 5e-3 : 1e-3), $"{difference}");
    }

    private static string TypeOf(string model) => (string)JsonNode.Parse(
        File.ReadAllBytes(SharedFiles.Need("golden", "models", model, "config.json")))!["model_type"]!;

    /// <summary>A tokenizer of single bytes.</summary>
    internal static byte[] ByteTokenizer(int size) => new Text.Tokenizers.Formats.TokenizerJson
    {
        PreTokenizer = Text.Tokenizers.Formats.TokenizerJson.ByteLevel(addPrefixSpace: false, useRegex: true),
        Decoder = Text.Tokenizers.Formats.TokenizerJson.ByteLevel(addPrefixSpace: false, useRegex: true),
        Model = Text.Tokenizers.Formats.TokenizerJson.Bpe(Text.Tokenizers.Formats.TokenizerJson.Vocabulary(
            Enumerable.Range(0, size).Select(id => id < 256 ? $"{(char)Text.Tokenizers.PreTokenizers.ByteAlphabet.PointOf((byte)id)}"
                : $"<{id}>")), []),
    }.Write();

    internal static float[][] Logits(LanguageModel model, int[] ids) => Logits(model.Network, ids);

    internal static float[][] Logits(Decoder network, int[] ids)
    {
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var logits = network.Logits(StreamLayout.Of(ids, [.. Enumerable.Range(0, ids.Length)], [(0, ids.Length, -1)])).ToArray<float>();
        return [.. logits.Chunk(logits.Length / ids.Length)];
    }

    internal static double Largest(float[][] a, float[][] b) =>
        a.Zip(b).Max(rows => rows.First.Zip(rows.Second).Max(pair => Math.Abs((double)pair.First - pair.Second)));
}
