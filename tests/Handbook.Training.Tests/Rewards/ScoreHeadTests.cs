using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Models.Tests;
using Handbook.Testing;
using Handbook.Text.Tokenizers;
using Handbook.Torch;
using Handbook.Training.Rewards;

namespace Handbook.Training.Tests.Rewards;

/// <summary>The scalar head: how it begins, how it is saved, and what it refuses.</summary>
[Collection("tensors")]
public sealed class ScoreHeadTests
{
    [Fact]
    public void A_language_model_gets_a_new_head_that_depends_on_the_seed_alone()
    {
        using var folder = new TemporaryFolder();
        var config = Language("llama");
        WeightFilesWriter.Save(folder.Path, NewModel.Tensors(config, 1, DType.Float32));

        using var one = ModelWeights.Open(folder.Path, config.WithScoreHead(), fused: true, headSeed: 17);
        using var two = ModelWeights.Open(folder.Path, config.WithScoreHead(), fused: false, headSeed: 17);
        using var other = ModelWeights.Open(folder.Path, config.WithScoreHead(), fused: true, headSeed: 18);

        Assert.True(one.HasNewHead);
        Assert.Empty(one.Unused);       // the language head is left out knowingly
        Assert.Equal(one.ReadSingles("score.weight"), two.ReadSingles("score.weight"));
        Assert.NotEqual(one.ReadSingles("score.weight"), other.ReadSingles("score.weight"));
        // 256 normal numbers: their deviation is within 5 standard errors (4.4 %) of the config's, 0.02
        Assert.InRange(Math.Sqrt(one.ReadSingles("score.weight").Average(v => (double)v * v)), 0.0156, 0.0244);
    }

    [Fact]
    public void A_score_head_that_is_missing_is_named_where_none_may_be_made()
    {
        using var folder = new TemporaryFolder();
        WeightFilesWriter.Save(folder.Path, NewModel.Tensors(Language("llama"), 1, DType.Float32));

        var failure = Assert.Throws<InputException>(() => ModelWeights.Open(folder.Path, Language("llama").WithScoreHead()));

        Assert.Contains("score.weight", failure.Message);
    }

    [Theory]
    [InlineData("llama", "LlamaForSequenceClassification")]
    [InlineData("mistral", "MistralForSequenceClassification")]
    [InlineData("mixtral", "MixtralForSequenceClassification")]
    [InlineData("gpt2", "GPT2ForSequenceClassification")]
    public void A_saved_reward_model_has_the_published_layout_and_reads_back_the_same(string kind, string architecture)
    {
        using var folder = new TemporaryFolder();
        var config = Language(kind).WithScoreHead();
        WeightFilesWriter.Save(folder["first"], NewModel.Tensors(config, 1, DType.Float32));
        using var model = Open(folder["first"], config);
        var tokenizer = Tokenizer.Load(WithTokenizer(folder.Path));

        new SavedModel(model, config, new GenerationDefaults(), tokenizer, DType.Float32).Write(folder["second"]);

        var saved = PublishedConfig.Load(folder["second"]);
        Assert.Equal([architecture], saved.Json["architectures"]!.AsArray().Select(name => name!.GetValue<string>()));
        Assert.Equal(1, saved.Json["num_labels"]!.GetValue<int>());
        Assert.Equal("LABEL_0", saved.Json["id2label"]!["0"]!.GetValue<string>());
        Assert.Equal(0, saved.Json["label2id"]!["LABEL_0"]!.GetValue<int>());
        using var files = WeightFiles.Open(folder["second"]);
        Assert.Equal((ValueList<long>)[1, config.Decoder.HiddenSize], files.Info("score.weight").Shape);
        Assert.DoesNotContain("lm_head.weight", files.Names);
        Assert.DoesNotContain("score.bias", files.Names);
        using var again = Open(folder["second"], saved);
        using var scope = TensorScope.Enter();
        int[][] rows = [[3, 1, 4, 1, 5], [9, 2, 6]];
        Assert.Equal(model.Scores(StreamLayout.Of(rows), [4, 7]).ToArray<float>(),
            again.Scores(StreamLayout.Of(rows), [4, 7]).ToArray<float>());
    }

    [Fact] // the Python library reads the score at the last token that is not padding: with the end token as padding, one token too early
    public void A_saved_reward_model_never_pads_with_the_end_token()
    {
        using var folder = new TemporaryFolder();
        var config = Language("llama").WithScoreHead();
        WeightFilesWriter.Save(folder["first"], NewModel.Tensors(config, 1, DType.Float32));
        using var model = Open(folder["first"], config);
        var tokenizer = Tokenizer.Load(WithTokenizer(folder.Path)).With(eosToken: "b", padToken: "b");

        new SavedModel(model, config, new GenerationDefaults(), tokenizer, DType.Float32).Write(folder["second"]);

        var pad = PublishedConfig.Load(folder["second"]).Decoder.PadId;
        Assert.NotNull(pad);
        Assert.NotEqual(tokenizer.EosId, pad);
        Assert.Equal(pad, Tokenizer.Load(folder["second"]).PadId);
    }

    [Fact]
    public void A_reward_model_refuses_to_predict_and_a_language_model_to_score()
    {
        using var folder = new TemporaryFolder();
        var config = Language("llama");
        WeightFilesWriter.Save(folder["lm"], NewModel.Tensors(config, 1, DType.Float32));
        WeightFilesWriter.Save(folder["rm"], NewModel.Tensors(config.WithScoreHead(), 1, DType.Float32));
        using var language = Open(folder["lm"], config);
        using var reward = Open(folder["rm"], config.WithScoreHead());
        var stream = StreamLayout.Of([[1, 2]]);

        Assert.Contains("handbook reward", Assert.Throws<InputException>(() => language.Scores(stream, [1])).Message);
        Assert.Contains("reward model", Assert.Throws<InputException>(() => reward.Logits(stream)).Message);
    }

    [Fact]
    public void A_classifier_of_several_labels_is_no_reward_model()
    {
        using var folder = new TemporaryFolder();
        Some.Llama(("architectures", new JsonArray("LlamaForSequenceClassification")),
            ("id2label", new JsonObject { ["0"] = "bad", ["1"] = "so", ["2"] = "good" })).Save(folder.Path);

        var failure = Assert.Throws<InputException>(() => RewardModel.Open(folder.Path, DType.Float32));

        Assert.Contains("a classifier of 3 labels", failure.Message);
    }

    [Fact] // bf16 keeps 8 bits; the head's own product is exact, so only the network's rounding is left
    public void Scores_of_a_bfloat16_network_are_float32()
    {
        using var folder = new TemporaryFolder();
        var config = Language("llama").WithScoreHead();
        WeightFilesWriter.Save(folder.Path, NewModel.Tensors(config, 1, DType.Float32));
        using var weights = ModelWeights.Open(folder.Path, config, fused: true);
        using var model = Decoder.Load(weights, ParameterPlan.Trained(weights.Parameters, DType.Float32, DType.BFloat16));
        using var scope = TensorScope.Enter();

        var scores = model.Scores(StreamLayout.Of([[1, 2, 3]]), [2]);
        scores.Sum().Backward();

        Assert.Equal(DType.Float32, scores.DType);
        Assert.Contains(model.Parameters["score.weight"].Gradient!.ToArray<float>(), g => g != 0);
        Assert.Contains(model.Parameters["embed.weight"].Gradient!.ToArray<float>(), g => g != 0);
    }

    private static PublishedConfig Language(string kind) => kind switch
    {
        "gpt2" => Some.Gpt2(vocabulary: 19, hidden: 12, heads: 3),
        _ => Some.Llama(("model_type", kind), ("architectures", new JsonArray("LlamaForCausalLM")), ("hidden_size", 256),
            ("num_attention_heads", 4)),
    };

    private static Decoder Open(string folder, PublishedConfig config)
    {
        using var weights = ModelWeights.Open(folder, config, fused: true);
        return Decoder.Load(weights, ParameterPlan.Frozen(weights, DType.Float32));
    }

    private static string WithTokenizer(string folder)
    {
        var path = Path.Combine(folder, "tokenizer.json");
        File.WriteAllText(path,
            """{"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":null,"post_processor":null,"decoder":null,"model":{"type":"BPE","vocab":{"a":0,"b":1,"c":2},"merges":[]}}""");
        return path;
    }
}
