using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Testing;
using Handbook.Text.Tokenizers;
using Handbook.Text.Tokenizers.PreTokenizers;
using static Handbook.Text.Tests.Tokenizers.SentencePieces;

namespace Handbook.Text.Tests.Tokenizers;

/// <summary>Tokenizers without a tokenizer.json beside the published one that was made from the same vocabulary.</summary>
public sealed class TokenizerFormatTests
{
    [Theory, Trait("kind", "golden")]
    [InlineData("llama2", "LlamaTokenizer")]
    [InlineData("mistral-v0.1", "LlamaTokenizerFast")]
    [InlineData("yi-gemma-pipeline", "GemmaTokenizer")]
    [InlineData("albert", "AlbertTokenizer")]
    public void A_sentencepiece_model_is_the_tokenizer_that_was_published_of_it(string name, string @class)
    {
        using var folder = new TemporaryFolder();
        File.Copy(SharedFiles.Need("tokenizers", name, "tokenizer.model"), folder["tokenizer.model"]);
        Write(folder, new { tokenizer_class = @class });
        // Published files of Llama are older than the rule by which equally good merges of one token are ordered today; Llama 2's looks for
        // its special tokens in normalized text, where they are hardly ever found.
        string[] sections = ["decoder", "pre_tokenizer", "normalizer", "post_processor"];
        Same(name, Tokenizer.Load(folder.Path), name is "llama2" or "mistral-v0.1" ? sections : [.. sections, "model"],
            name == "llama2" ? "s>" : null);
    }

    [Fact, Trait("kind", "golden")]
    public void A_tiktoken_file_is_the_tokenizer_that_was_published_of_it()
    {
        using var folder = new TemporaryFolder();
        var vocabulary = Model("llama3").GetProperty("vocab").EnumerateObject().Select(token => (token.Name, Id: token.Value.GetInt32()));
        File.WriteAllLines(folder["tokenizer.model"], vocabulary.OrderBy(token => token.Id).Select(token =>
            $"{Convert.ToBase64String([.. token.Name.Select(point => (byte)ByteAlphabet.ByteOf(point))])} {token.Id}"));
        File.Copy(SharedFiles.Need("tokenizers", "llama3", "tokenizer_config.json"), folder["tokenizer_config.json"]);
        Same("llama3", Tokenizer.Load(folder.Path), sections: ["model"]);
    }

    [Theory, Trait("kind", "golden")]
    [InlineData("gpt2", "GPT2Tokenizer")]
    [InlineData("gpt2", null)]
    [InlineData("qwen2.5", "Qwen2Tokenizer")]
    public void Vocab_json_with_merges_txt_is_the_tokenizer_that_was_published_of_it(string name, string? @class)
    {
        using var folder = new TemporaryFolder();
        var model = Model(name);
        File.WriteAllText(folder["vocab.json"], model.GetProperty("vocab").GetRawText());
        File.WriteAllText(folder["merges.txt"], string.Join('\n', ["#version: 0.2", .. model.GetProperty("merges").EnumerateArray()
            .Select(merge => merge.ValueKind == JsonValueKind.String ? merge.GetString()! : $"{merge[0]} {merge[1]}"), ""]));
        if (name == "qwen2.5")
            File.Copy(SharedFiles.Need("tokenizers", name, "tokenizer_config.json"), folder["tokenizer_config.json"]);
        else if (@class is not null)
            Write(folder, new { tokenizer_class = @class });
        Same(name, Tokenizer.Load(folder.Path), sections: ["normalizer"]);
    }

    [Fact, Trait("kind", "golden")]
    public void Vocab_txt_is_the_tokenizer_that_was_published_of_it()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllLines(folder["vocab.txt"], Model("bert-base-uncased").GetProperty("vocab").EnumerateObject()
            .OrderBy(token => token.Value.GetInt32()).Select(token => token.Name));
        Same("bert-base-uncased", Tokenizer.Load(folder["vocab.txt"]), sections: ["model", "normalizer", "pre_tokenizer", "decoder"]);
    }

    [Fact] // by hand: "ab" has the best score of the two that could be merged first, and "▁ab" is not reached from "▁a"
    public void Pieces_are_merged_by_score_and_unknown_text_falls_back_to_bytes()
    {
        var tokenizer = Load(Piece("<unk>", 0, 2), Piece("<s>", 0, 3), Piece("</s>", 0, 3), Piece("<0xC3>", 0, 6),
            Piece("<0xA9>", 0, 6), Piece("▁", -1), Piece("a", -2), Piece("b", -3), Piece("ab", -4), Piece("▁a", -5), Piece("▁ab", -6),
            Spec(bpe: true, bytes: true));
        Assert.Equal([10], tokenizer.Encode("ab"));
        Assert.Equal([9, 6, 3, 4, 8], tokenizer.Encode("aaéab"));
        Assert.Equal("aaéab", tokenizer.Decode([9, 6, 3, 4, 8]));
    }

    [Fact]
    public void A_file_without_a_class_gets_the_pipeline_that_it_states_itself()
    {
        var tokenizer = Load(Piece("<unk>", 0, 2), Piece("▁", -1), Piece("a", -2), Piece("▁a", -3), Spec(bpe: false, bytes: false),
            Normalizer(addsPrefix: false, removesSpaces: true));
        Assert.Equal([2, 3], tokenizer.Encode("  a  a "));              // no space before the text, and one of two
    }

    [Theory]
    [InlineData("T5Tokenizer", "other ids")]
    [InlineData("XGLMTokenizer", "other ids")]
    public void A_class_that_numbers_its_tokens_itself_is_refused_by_name(string @class, string part)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder["spiece.model"], [.. Piece("<unk>", 0, 2), .. Spec(bpe: false, bytes: false)]);
        Write(folder, new { tokenizer_class = @class });
        var refusal = Assert.Throws<InputException>(() => Tokenizer.Load(folder.Path));
        Assert.Contains(@class, refusal.Message, StringComparison.Ordinal);
        Assert.Contains(part, refusal.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("ClvpTokenizer", "vocab.json")]
    [InlineData("FunnelTokenizer", "vocab.txt")]
    public void A_class_whose_cuts_are_not_known_is_refused_by_name(string @class, string file)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder[file], "{}");
        File.WriteAllText(folder["merges.txt"], "");
        Write(folder, new { tokenizer_class = @class });
        Assert.Contains(@class, Assert.Throws<InputException>(() => Tokenizer.Load(folder.Path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_model_type_of_config_json_names_the_class_where_nothing_else_does()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder["tokenizer.model"], [.. Piece("<unk>", 0, 2), .. Piece("<s>", 0, 3), .. Piece("</s>", 0, 3),
            .. Piece("▁", -1), .. Piece("a", -2), .. Spec(bpe: true, bytes: false)]);
        File.WriteAllText(folder["config.json"], """{"model_type": "mistral"}""");
        Assert.Equal([1, 3, 4], Tokenizer.Load(folder.Path).Encode("a"));
    }

    [Fact]
    public void A_tokenizer_of_another_form_is_saved_as_tokenizer_json()
    {
        using var folder = new TemporaryFolder();
        var tokenizer = Load(Piece("<unk>", 0, 2), Piece("▁", -1), Piece("a", -2), Piece("▁a", -3), Spec(bpe: true, bytes: false));
        tokenizer.Save(folder.Path);
        Assert.Equal(tokenizer.Encode("a aa"), Tokenizer.Load(folder.Path).Encode("a aa"));
    }

    [Theory]
    [InlineData("not a model at all", "is no sentencepiece model")]
    [InlineData("YQ== 0\nYg== x\n", "tokenizer.model:2 is not a token")]
    [InlineData("YQ== 0\nYQ== 1\n", "two ranks")]
    public void A_damaged_file_is_refused(string text, string part)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["tokenizer.model"], text);
        Assert.Contains(part, Assert.Throws<InputException>(() => Tokenizer.Load(folder.Path)).Message, StringComparison.Ordinal);
    }

    /// <summary>The ids and texts of two tokenizers, and those parts of their files that should be the same.</summary>
    private static void Same(string name, Tokenizer ours, string[] sections, string? without = null)
    {
        using var published = JsonDocument.Parse(Oracle.Json(name));
        using var folder = new TemporaryFolder();
        ours.Save(folder.Path);
        using var own = JsonDocument.Parse(File.ReadAllBytes(folder["tokenizer.json"]));
        foreach (var section in sections)
            Assert.True(JsonNode.DeepEquals(Comparable(published, section), Comparable(own, section)), section);
        var expected = Tokenizer.FromJson(Oracle.Json(name));
        var documents = TokenizerGolden.Corpus(SharedFiles.Need("tokenizers", "corpus", "mixed.jsonl.gz")).Where((_, i) => i % 20 == 0);
        var texts = TokenizerGolden.Texts(SharedFiles.Need("tokenizers", "texts.json")).Values.Concat(documents);
        foreach (var text in texts.Where(text => without is null || !text.Contains(without, StringComparison.Ordinal)))
        {
            var ids = expected.Encode(text, addSpecialTokens: false);
            Assert.Equal(ids, ours.Encode(text, addSpecialTokens: false));
            Assert.Equal(expected.Decode(ids), ours.Decode(ids));
        }
        Assert.Equal(expected.Encode("one text"), ours.Encode("one text"));
    }

    /// <summary>A section without the marks of old layouts.</summary>
    private static JsonNode? Comparable(JsonDocument file, string section)
    {
        var node = JsonNode.Parse(file.RootElement.GetProperty(section).GetRawText());
        if (section == "model" && node is JsonObject model)
        {
            if (model["merges"] is JsonArray merges)
                model["merges"] = new JsonArray([.. merges.Select(merge => (JsonNode)(merge is JsonArray pair ? $"{pair[0]} {pair[1]}"
                    : merge!.GetValue<string>()))]);
            foreach (var switches in new[] { "dropout", "fuse_unk", "byte_fallback", "ignore_merges", "continuing_subword_prefix",
                "end_of_word_suffix" })
                if (model[switches] is null || (model[switches]!.GetValueKind() == JsonValueKind.False))
                    model.Remove(switches);
        }
        return node;
    }

    private static JsonElement Model(string name)
    {
        using var document = JsonDocument.Parse(Oracle.Json(name));
        return document.RootElement.GetProperty("model").Clone();
    }

    private static void Write(TemporaryFolder folder, object config) =>
        File.WriteAllText(folder["tokenizer_config.json"], JsonSerializer.Serialize(config));

    private static Tokenizer Load(params byte[][] fields)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder["tokenizer.model"], [.. fields.SelectMany(field => field)]);
        return Tokenizer.Load(folder["tokenizer.model"]);
    }
}
