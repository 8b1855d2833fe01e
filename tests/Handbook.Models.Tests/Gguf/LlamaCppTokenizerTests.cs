using System.Text.Json.Nodes;
using Handbook.Models.Files;
using Handbook.Models.Gguf;
using Handbook.Testing;
using Handbook.Text.Tokenizers;
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
            if (text.Length == 0 || text.Contains('<') && _withoutMarkup.Contains(name)
                || normalizes && ours.Decode(ours.Encode(text, addSpecialTokens: false)) != text)
                continue;
            compared++;
            if (!ours.Encode(text).SequenceEqual(theirs.Encode(text)))
                different.Add($"{row["id"]} {text}");
        }
        Assert.True(different.Count == 0, $"{different.Count}: {string.Join('\n', different)}");
        Assert.True(compared > 200, $"only {compared} texts were compared");
    }

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
