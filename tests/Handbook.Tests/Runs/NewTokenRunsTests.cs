using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Models.Generation;
using Handbook.Recipes;
using Handbook.Runs;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;
using Handbook.Torch;

namespace Handbook.Tests.Runs;

/// <summary>Runs that add tokens: the model has 39 rows, and its head is its embedding.</summary>
[Collection("tensors")]
public sealed class NewTokenRunsTests : IDisposable
{
    private const string Embedding = "model.embed_tokens.weight";

    private readonly AdapterRuns _runs = new();

    public void Dispose() => _runs.Dispose();

    [Fact]
    public void A_base_model_is_set_up_for_chats_and_trained_whole()
    {
        _runs.Train("cpt", "chat", "use_peft: false", "setup_chat_format: true", "max_steps: 2");
        var tokenizer = Tokenizer.Load(_runs["chat"]);
        Assert.Equal((39, 40, 40), (tokenizer.BosId, tokenizer.EosId, tokenizer.PadId));
        Assert.Equal(ChatTemplate.ChatMl, tokenizer.ChatTemplate);
        Assert.Equal([39, 1, 40], tokenizer.Encode("<|im_start|>a<|im_end|>"));
        var config = PublishedConfig.Load(_runs["chat"]);
        Assert.Equal((41, true), (config.Decoder.VocabularySize, config.Decoder.TiedHead));
        Assert.Equal([40], config.Decoder.EosIds);
        Assert.Equal([40], GenerationDefaults.Load(_runs["chat"], config.Decoder).EosIds);
        using var model = LanguageModel.Open(_runs["chat"], DType.Float32);
        Assert.Equal(41, model.Network.Config.VocabularySize);
    }

    [Fact]
    public void A_run_goes_on_from_a_checkpoint_with_the_rows_that_it_added()
    {
        string[] keys = ["use_peft: false", "new_special_tokens: [<|tool|>]", "resize_to_multiple_of: 16", "save_steps: 2",
            "save_strategy: steps"];
        _runs.Train("cpt", "whole", keys);
        _runs.CutAfter("whole", "cut", 2);
        _runs.Train("cpt", "cut", keys);
        Assert.Equal(_runs.Curve("whole"), _runs.Curve("cut"));
        Assert.Equal(48, PublishedConfig.Load(_runs["cut"]).Decoder.VocabularySize);
        Assert.Equal(File.ReadAllBytes(_runs["whole", "model.safetensors"]), File.ReadAllBytes(_runs["cut", "model.safetensors"]));
    }

    [Theory]
    [InlineData("trainable_token_indices: [39, 40]", 2)]
    [InlineData("lora_modules_to_save: [embed_tokens]", 41)]
    public void New_rows_are_trained_with_an_adapter_and_saved_with_it(string key, int trained)
    {
        string[] keys = ["setup_chat_format: true", "lora_target_modules: [q_proj]", key];
        // Texts that hold the new tokens, before others, so that their rows get gradients.
        File.WriteAllText(_runs["texts", "train.jsonl"], string.Concat(Enumerable.Repeat("{\"text\": \"<|im_start|>ab<|im_end|>c\"}\n", 8)));
        _runs.Train("cpt", "adapter", keys);
        var merged = MergeRun.Run(new() { Adapter = _runs["adapter"], Output = _runs["merged"] },
            cancel: TestContext.Current.CancellationToken);
        using var before = WeightFiles.Open(_runs["model"]);
        using var after = WeightFiles.Open(merged.Folder);
        var (old, grown) = (Rows(before), Rows(after));
        Assert.Equal((39, 41), (old.Length, grown.Length));
        // The mean of the old rows is where the new ones began; both went on from there.
        var mean = Enumerable.Range(0, 32).Select(column => old.Average(row => row[column])).ToArray();
        foreach (var row in grown[39..])
            Assert.InRange(row.Zip(mean, (a, b) => Math.Abs(a - b)).Max(), 1e-3, 0.2);
        Assert.Equal(trained == 2, old.Zip(grown).All(pair => pair.First.AsSpan().SequenceEqual(pair.Second)));
        Assert.Equal(40, Tokenizer.Load(merged.Folder).EosId);
    }

    [Fact]
    public void Rows_that_are_not_trained_are_saved_with_the_adapter_all_the_same()
    {
        _runs.Train("cpt", "adapter", "new_special_tokens: [<|tool|>]", "lora_target_modules: [q_proj]");
        using var model = LanguageModel.Open(_runs["adapter"], DType.Float32);
        Assert.Equal((40, 39), (model.Network.Config.VocabularySize, model.Tokenizer.TokenToId("<|tool|>")));
        // A run over the adapter begins with its tables.
        Assert.Equal(40, ModelSource.Find(_runs["adapter"]).Config().Decoder.VocabularySize);
    }

    [Fact]
    public void Tokens_that_are_there_change_nothing()
    {
        _runs.Train("cpt", "plain", "use_peft: false", "new_special_tokens: [</s>]");
        Assert.Equal(39, PublishedConfig.Load(_runs["plain"]).Decoder.VocabularySize);
    }

    private static float[][] Rows(WeightFiles files) =>
        [.. System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(files.Bytes(Embedding)).ToArray().Chunk(32)];
}
