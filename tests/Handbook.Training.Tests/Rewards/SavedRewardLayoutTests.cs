using System.Text.Json.Nodes;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Models.Tests;
using Handbook.Testing;
using Handbook.Text.Tokenizers;
using Handbook.Torch;

namespace Handbook.Training.Tests.Rewards;

/// <summary>A saved reward model is what the Python library's <c>AutoModelForSequenceClassification</c> opens: the keys of its config, the
/// names and shapes of its tensors.</summary>
[Collection("tensors")]
public sealed class SavedRewardLayoutTests
{
    /// <summary>Keys that say which release wrote the file, or that the library fills in by itself.</summary>
    private static readonly string[] s_free = ["transformers_version", "num_labels", "use_cache", "torch_dtype", "dtype", "_name_or_path"];

    public static TheoryData<string> Cases() => RewardGoldenTests.Cases();

    [Theory, MemberData(nameof(Cases))]
    [Trait("kind", "golden")]
    public void A_reward_model_made_of_a_language_model_has_the_config_and_the_tensors_that_the_library_writes(string name)
    {
        var published = SharedFiles.Need("golden", "reward", name);
        var expected = PublishedConfig.Load(published);
        using var folder = new TemporaryFolder();
        // the language model that it would have been made of: another head, no labels, and a setting of some other task
        var json = expected.Json.DeepClone().AsObject();
        json["architectures"] = new JsonArray(expected.Family.Architecture);
        json["problem_type"] = "multi_label_classification";
        json.Remove("id2label");
        json.Remove("label2id");
        File.WriteAllText(folder["config.json"], json.ToJsonString());
        var language = PublishedConfig.Load(folder.Path);
        Assert.Equal(ModelHead.Language, language.Decoder.Head);
        WeightFilesWriter.Save(folder["lm"], NewModel.Tensors(language, 1, DType.Float32));

        var saved = Save(language.WithScoreHead(), folder["lm"], folder["rm"], headSeed: 3);

        var ours = saved.Json;
        Assert.Null(ours["problem_type"]);
        Assert.Equal(1, ours["num_labels"]!.GetValue<int>());
        foreach (var (key, value) in expected.Json.Where(entry => !s_free.Contains(entry.Key)))
            Assert.True(JsonNode.DeepEquals(value, ours[key]),
                $"{key} is {ours[key]?.ToJsonString() ?? "null"}, but the library writes {value?.ToJsonString() ?? "null"}");
        Assert.Empty(ours.Select(entry => entry.Key).Except(expected.Json.Select(entry => entry.Key)).Except(s_free)
            .Except(["problem_type"]));
        using var tensors = WeightFiles.Open(folder["rm"]);
        using var theirs = WeightFiles.Open(published);
        Assert.Equal(theirs.Names.Order(StringComparer.Ordinal), tensors.Names.Order(StringComparer.Ordinal));
        Assert.All(theirs.Names, tensor => Assert.Equal(theirs.Info(tensor).Shape, tensors.Info(tensor).Shape));
    }

    [Theory, MemberData(nameof(Cases))]
    [Trait("kind", "golden")]
    public void A_published_reward_model_saved_again_is_the_same(string name)
    {
        var published = SharedFiles.Need("golden", "reward", name);
        using var folder = new TemporaryFolder();
        var expected = PublishedConfig.Load(published);

        var saved = Save(expected, published, folder["rm"]);

        foreach (var (key, value) in expected.Json.Where(entry => !s_free.Contains(entry.Key)))
            Assert.True(JsonNode.DeepEquals(value, saved.Json[key]), key);
        using var tensors = WeightFiles.Open(folder["rm"]);
        using var theirs = WeightFiles.Open(published);
        Assert.Equal(theirs.Names.Order(StringComparer.Ordinal), tensors.Names.Order(StringComparer.Ordinal));
        Assert.All(theirs.Names, tensor => Assert.Equal(theirs.Read(tensor).Bytes.ToArray(), tensors.Read(tensor).Bytes.ToArray()));
    }

    // the library's classes: the network below its prefix, and the head as `score`, a linear layer [num_labels, hidden] without bias
    [Theory]
    [InlineData("llama", "LlamaForSequenceClassification", "model.")]
    [InlineData("mistral", "MistralForSequenceClassification", "model.")]
    [InlineData("mixtral", "MixtralForSequenceClassification", "model.")]
    [InlineData("qwen2", "Qwen2ForSequenceClassification", "model.")]
    [InlineData("gemma", "GemmaForSequenceClassification", "model.")]
    [InlineData("phi3", "Phi3ForSequenceClassification", "model.")]
    [InlineData("olmo2", "Olmo2ForSequenceClassification", "model.")]
    [InlineData("smollm3", "SmolLM3ForSequenceClassification", "model.")]
    [InlineData("gpt_neox", "GPTNeoXForSequenceClassification", "gpt_neox.")]
    [InlineData("qwen3", "Qwen3ForSequenceClassification", "model.")]
    [InlineData("gemma2", "Gemma2ForSequenceClassification", "model.")]
    [InlineData("gemma3_text", "Gemma3TextForSequenceClassification", "model.")]
    [InlineData("phi", "PhiForSequenceClassification", "model.")]
    [InlineData("stablelm", "StableLmForSequenceClassification", "model.")]
    [InlineData("starcoder2", "Starcoder2ForSequenceClassification", "model.")]
    [InlineData("nemotron", "NemotronForSequenceClassification", "model.")]
    [InlineData("glm", "GlmForSequenceClassification", "model.")]
    [InlineData("glm4", "Glm4ForSequenceClassification", "model.")]
    [InlineData("exaone4", "Exaone4ForSequenceClassification", "model.")]
    [InlineData("hunyuan_v1_dense", "HunYuanDenseV1ForSequenceClassification", "model.")]
    [InlineData("seed_oss", "SeedOssForSequenceClassification", "model.")]
    [InlineData("falcon", "FalconForSequenceClassification", "transformer.")]
    [InlineData("bloom", "BloomForSequenceClassification", "transformer.")]
    [InlineData("gptj", "GPTJForSequenceClassification", "transformer.")]
    [InlineData("gpt_bigcode", "GPTBigCodeForSequenceClassification", "transformer.")]
    [InlineData("opt", "OPTForSequenceClassification", "model.")]
    [InlineData("gpt2", "GPT2ForSequenceClassification", "transformer.")]
    public void Every_family_names_its_class_and_its_tensors_as_the_library_does(string kind, string architecture, string prefix)
    {
        var config = Language(kind);
        using var folder = new TemporaryFolder();
        WeightFilesWriter.Save(folder["lm"], NewModel.Tensors(config, 1, DType.Float32));

        var saved = Save(config.WithScoreHead(), folder["lm"], folder["rm"], headSeed: 3);

        Assert.Equal([architecture], saved.Json["architectures"]!.AsArray().Select(each => each!.GetValue<string>()));
        using var tensors = WeightFiles.Open(folder["rm"]);
        Assert.Equal(["score.weight"], tensors.Names.Where(tensor => !tensor.StartsWith(prefix, StringComparison.Ordinal)));
        Assert.Equal((ValueList<long>)[1, config.Decoder.HiddenSize], tensors.Info("score.weight").Shape);
    }

    // without a padding token the library refuses a batch of more than one row, and with one that ends texts it reads the score too early
    [Fact]
    public void The_config_and_the_tokenizer_name_the_same_padding_token_and_it_ends_nothing()
    {
        var config = Language("llama").With(bosId: null, eosIds: [1], padId: null);
        using var folder = new TemporaryFolder();
        WeightFilesWriter.Save(folder["lm"], NewModel.Tensors(config, 1, DType.Float32));

        var saved = Save(config.WithScoreHead(), folder["lm"], folder["rm"], headSeed: 3);

        var pad = saved.Json["pad_token_id"]!.GetValue<int>();
        Assert.Equal(pad, Tokenizer.Load(folder["rm"]).PadId);
        Assert.NotEqual(1, pad);
    }

    private static PublishedConfig Save(PublishedConfig config, string from, string to, long headSeed = 0)
    {
        using var weights = ModelWeights.Open(from, config, fused: true, headSeed: headSeed == 0 ? null : headSeed);
        using var model = Decoder.Load(weights, ParameterPlan.Frozen(weights, DType.Float32));
        var tokenizer =
            Tokenizer.FromJson("""{"version":"1.0","model":{"type":"BPE","vocab":{"<pad>":0,"<s>":1,"</s>":2,"a":3},"merges":[]}}"""u8)
            .With(eosToken: config.Decoder.EosIds is [var end, ..] && end == 1 ? "<s>" : "</s>",
                padToken: config.Decoder.PadId is null ? null : "<pad>");
        new SavedModel(model, config, new GenerationDefaults(), tokenizer, DType.Float32).Write(to);
        return PublishedConfig.Load(to);
    }

    private static PublishedConfig Language(string kind) => kind switch
    {
        "gpt2" => Some.Gpt2(vocabulary: 19, hidden: 12, heads: 3),
        "mixtral" => Some.Mixtral(),
        "gptj" => Some.Llama(("model_type", kind), ("rotary_dim", 4)),
        _ => Some.Llama(("model_type", kind), ("architectures", new JsonArray(kind[..1].ToUpperInvariant() + kind[1..] + "ForCausalLM"))),
    };
}
