using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using Handbook.Models.Files;
using Handbook.Models.Gguf;
using Handbook.Testing;
using Handbook.Text.Tokenizers;
using Handbook.Text.Tokenizers.Training;
using Handbook.Torch;

namespace Handbook.Models.Tests.Gguf;

/// <summary>Tokenizers in our files, as llama.cpp reads them.</summary>
[Collection("tensors")]
public sealed class LlamaCppTokenizerTests
{
    /// <summary>Texts that agree by what llama.cpp can: it takes texts as they are, without NFC, and spaces beside special tokens as
    /// spaces; it takes <c>&lt;/s&gt;</c> for an end wherever it is a token.</summary>
    private static readonly string[] _withoutMarkup = ["llama2", "phi3", "qwen2.5"];

    [Theory, Trait("speed", "slow")]
    [InlineData("llama2")]
    [InlineData("llama3")]
    [InlineData("gpt2")]
    [InlineData("phi3")]
    [InlineData("qwen2.5")]
    [InlineData("smollm2")]
    [InlineData("mistral-v0.1")]
    [InlineData("falcon")]
    [InlineData("gpt-neox")]
    [InlineData("minimind")]
    [InlineData("command")]
    [InlineData("yi-gemma-pipeline")]
    [InlineData("t5-small")]
    [InlineData("bert-base-uncased")]
    public void A_published_tokenizer_gives_the_same_ids_there(string name)
    {
        var source = SharedFiles.Need("tokenizers", name);
        using var folder = new TemporaryFolder();
        foreach (var file in Directory.GetFiles(source, "*tokenizer*.json*").Concat(Directory.GetFiles(source, "special_tokens_map.json")))
            File.Copy(file, folder[Path.GetFileName(file)]);
        var ours = Tokenizer.Load(folder.Path);
        WriteModel(folder.Path, ours);
        var notes = GgufExport.Write(folder.Path, GgufPrecision.All[1], folder["model.gguf"]).Notes;
        using var theirs = new LlamaCpp(folder["model.gguf"], vocabularyOnly: true);
        var normalizes = notes.Any(note => note.Contains("first changes texts"));
        Assert.Equal(name is "qwen2.5" or "gpt-neox" or "command", normalizes);
        Assert.Equal(name == "phi3", notes.Any(note => note.Contains("spaces beside")));
        var (compared, different) = (0, new List<string>());
        foreach (var row in JsonNode.Parse(File.ReadAllBytes(SharedFiles.Need("tokenizers", "texts.json")))!.AsArray())
        {
            var text = (string)row!["text"]!;
            if (name is "t5-small" or "bert-base-uncased" && IsToldApart(text))
                continue;       // as a note says
            if (text.Length == 0 || text.Contains('<') && _withoutMarkup.Contains(name)
                || normalizes && ours.Decode(ours.Encode(text, addSpecialTokens: false)) != text)
                continue;
            compared++;
            if (!ours.Encode(text).SequenceEqual(theirs.Encode(text)))
                different.Add($"{row["id"]} {text}");
        }
        Assert.True(different.Count == 0, $"{different.Count}: {string.Join('\n', different)}");
        Assert.True(compared > (name is "t5-small" or "bert-base-uncased" ? 120 : 200), $"only {compared} texts were compared");
    }

    [Theory]
    [InlineData(SplitPattern.Gpt2)]
    [InlineData(SplitPattern.Llama3)]
    [InlineData(SplitPattern.Qwen2)]
    public void A_tokenizer_trained_here_and_its_turns_are_known_there(SplitPattern pattern)
    {
        using var folder = new TemporaryFolder();
        string[] texts = [.. Enumerable.Range(0, 200).Select(i => $"the {i} moons of a planet, {i * 37 % 100} of them bright; isn't it so?")];
        var ours = BpeTrainer.Train(texts, new()
        {
            VocabularySize = 400,
            Pattern = pattern,
            SpecialTokens = ["<|im_start|>", "<|im_end|>"],
            EosToken = "<|endoftext|>",
            ChatTemplate = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
                + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        });
        ours.Save(folder.Path);
        WriteModel(folder.Path, ours);
        Assert.Empty(GgufExport.Write(folder.Path, GgufPrecision.All[0], folder["model.gguf"]).Notes);
        using var theirs = new LlamaCpp(folder["model.gguf"], vocabularyOnly: true);
        foreach (var text in texts.Append("<|im_start|>user\nIt's 1234 o'clock!\n\n  é<|im_end|>"))
            Assert.Equal(ours.Encode(text), theirs.Encode(text));
        Assert.Equal($"{ours.EosId}", theirs.Metadata("tokenizer.ggml.eos_token_id"));
        Assert.Equal($"{ours.TokenToId("<|im_end|>")}", theirs.Metadata("tokenizer.ggml.eot_token_id"));
        Assert.Equal(ours.ChatTemplate, theirs.Metadata("tokenizer.chat_template"));
    }

    [Fact]
    public void Pieces_and_words_learned_here_are_known_there()
    {
        string[] texts = [.. Enumerable.Range(0, 60).Select(i => $"the {i} moons of a planet, {i * 37 % 100} of them bright; isn't it so?")];
        TrainerOptions[] kinds = [new UnigramTrainerOptions { VocabularySize = 90 }, new WordPieceTrainerOptions { VocabularySize = 90 }];
        foreach (var kind in kinds)
        {
            using var folder = new TemporaryFolder();
            var ours = kind.Train(texts);
            ours.Save(folder.Path);
            WriteModel(folder.Path, ours);
            Assert.All(GgufExport.Write(folder.Path, GgufPrecision.All[0], folder["model.gguf"]).Notes, note =>
                Assert.True(note.Contains("first changes texts") || note.Contains("are cut otherwise"), note));     // but not these
            using var theirs = new LlamaCpp(folder["model.gguf"], vocabularyOnly: true);
            foreach (var text in texts.Append("moons; bright planets 77"))
                Assert.Equal(ours.Encode(text), theirs.Encode(text));
        }
    }

    // What the notes of Unigram and WordPiece name.
    private static bool IsToldApart(string text) => text.Split().Any(word => word.Length > 100)
        || text.EnumerateRunes().Any(rune => rune.Value is >= 0xAC00 and <= 0xD7A3 or >= 0x1100 and <= 0x11FF || rune.Value > 0xFFFF
            || Rune.GetUnicodeCategory(rune) is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.NonSpacingMark
                or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.OtherNotAssigned or UnicodeCategory.PrivateUse);

    /// <summary>The smallest model with room for every id.</summary>
    internal static void WriteModel(string folder, Tokenizer tokenizer)
    {
        File.WriteAllText(Path.Combine(folder, "config.json"), new JsonObject
        {
            ["model_type"] = "llama",
            ["hidden_size"] = 8,
            ["intermediate_size"] = 8,
            ["num_hidden_layers"] = 1,
            ["num_attention_heads"] = 1,
            ["max_position_embeddings"] = 64,
            ["tie_word_embeddings"] = true,
        }.ToJsonString());
        var config = NewModel.Config(folder, tokenizer);
        WeightFilesWriter.Save(folder, NewModel.Tensors(config, 1, DType.Float32));
        config.Save(folder);
    }
}
