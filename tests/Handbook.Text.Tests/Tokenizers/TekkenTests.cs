using Handbook.Base;
using Handbook.Testing;
using Handbook.Text.Tokenizers;
using Handbook.Text.Tokenizers.PreTokenizers;

namespace Handbook.Text.Tests.Tokenizers;

/// <summary>A tokenizer that is published as <c>tekken.json</c> alone.</summary>
public sealed class TekkenTests
{
    private static readonly byte[] s_bytes = [.. Enumerable.Range(0, 256).Select(value => (byte)value)];

    [Fact] // by hand: 22 special ids, 256 bytes, then the words; "abc" is a token of itself though nothing makes it of two
    public void Ids_are_ranks_behind_those_of_special_tokens()
    {
        var tokenizer = Load(Tekken.File(s_bytes, ["ab", " a", "xyz"]));
        Assert.Equal([1, 22 + 256, 22 + 'c', 22 + 257], tokenizer.Encode("abc a"));
        Assert.Equal([1, 22 + 258], tokenizer.Encode("xyz"));
        Assert.Equal([1, 22 + ' ', 22 + 'x', 22 + 'y'], tokenizer.Encode(" xy"));
        Assert.Equal([1, 3, 22 + 256, 4, 2], tokenizer.Encode("[INST]ab[/INST]</s>"));
        Assert.Equal("abc é", tokenizer.Decode(tokenizer.Encode("abc é"), skipSpecialTokens: true));
        Assert.Equal(("<SPECIAL_5>", "<SPECIAL_21>", 22 + 259), (tokenizer.IdToToken(5), tokenizer.IdToToken(21), tokenizer.VocabularySize));
        Assert.Equal((1, 2, null), (tokenizer.BosId, tokenizer.EosId, tokenizer.PadId));
    }

    [Fact]
    public void Tokens_beyond_the_model_s_vocabulary_are_not_made()
    {
        var tokenizer = Load(Tekken.File(s_bytes, ["ab", "abc"], ["<unk>", "<s>", "</s>"], numbered: 3, known: 257));
        Assert.Equal([1, 3 + 256, 3 + 'c'], tokenizer.Encode("abc"));
        Assert.Equal(260, tokenizer.VocabularySize);
    }

    [Fact]
    public void Files_of_older_versions_have_the_usual_special_tokens()
    {
        var tokenizer = Load(Tekken.File(s_bytes, [], special: null, numbered: 30, version: "v7"));
        Assert.Equal(("[INST]", "<pad>", "[TOOL_CONTENT]", "<SPECIAL_20>", 11), (tokenizer.IdToToken(3), tokenizer.IdToToken(11),
            tokenizer.IdToToken(19), tokenizer.IdToToken(20), tokenizer.PadId));
    }

    [Fact]
    public void What_is_saved_is_a_tokenizer_json_with_the_same_ids()
    {
        using var folder = new TemporaryFolder();
        var tokenizer = Load(Tekken.File(s_bytes, ["ab", " ab", "bc", "abc"]));
        tokenizer.Save(folder.Path);
        using var oracle = new Oracle(File.ReadAllBytes(folder["tokenizer.json"]));
        foreach (var text in new[] { "abcab abc", "é ab</s>ABc", "\n\n a12 3" })
        {
            Assert.Equal(tokenizer.Encode(text), Tokenizer.Load(folder.Path).Encode(text));
            // the begin token is the configuration's
            Assert.Equal(oracle.Encode(text), tokenizer.Encode(text)[1..]);
        }
    }

    [Fact] // tiktoken joins, again and again, the two neighbours whose whole has the lowest rank
    public void Real_ranks_join_as_in_the_library_of_the_layout()
    {
        using var json = System.Text.Json.JsonDocument.Parse(Oracle.Json("llama3"));
        byte[][] ranks = [.. json.RootElement.GetProperty("model").GetProperty("vocab").EnumerateObject().OrderBy(token =>
            token.Value.GetInt32()).Take(20_000).Select(token => token.Name.Select(point => (byte)ByteAlphabet.ByteOf(point)).ToArray())];
        var ids = ranks.Select((token, rank) => (Text: Convert.ToHexString(token), Rank: rank)).ToDictionary();
        var tokenizer = Load(Tekken.Of(ranks, ["<unk>", "<s>", "</s>"], 3, ranks.Length, "v11", @"\S+|\s+"));
        foreach (var word in TokenizerGolden.Texts(SharedFiles.Need("tokenizers", "texts.json")).Values
            .SelectMany(text => text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)).Where(word => word.Length < 60 && !word.Contains('<', StringComparison.Ordinal)).Take(1500))
            Assert.Equal(Joined(System.Text.Encoding.UTF8.GetBytes(word)), tokenizer.Encode(word)[1..]);

        int[] Joined(byte[] word)
        {
            var parts = word.Select(one => Convert.ToHexString([one])).ToList();
            while (true)
            {
                var (best, at) = (int.MaxValue, -1);
                for (var i = 0; i + 1 < parts.Count; i++)
                    if (ids.TryGetValue(parts[i] + parts[i + 1], out var rank) && rank < best)
                        (best, at) = (rank, i);
                if (ids.TryGetValue(Convert.ToHexString(word), out var whole))
                    return [3 + whole];
                if (at < 0)
                    return [.. parts.Select(part => 3 + ids[part])];
                parts[at] += parts[at + 1];
                parts.RemoveAt(at + 1);
            }
        }
    }

    [Theory]
    [InlineData("\"rank\":1,\"token_bytes\"", "\"rank\":0,\"token_bytes\"", "vocab[1].rank is 0")]
    [InlineData("YQ==", "YQ", "vocab[97].token_bytes is \"YQ\", but must be bytes in base64")]
    [InlineData("\"default_vocab_size\":280", "\"default_vocab_size\":9000", "has 258 tokens, but the model knows 8978")]
    [InlineData("\"default_vocab_size\":280", "\"default_vocab_size\":2", "default_vocab_size is 2, but there are 22 special tokens")]
    [InlineData("\"default_num_special_tokens\":22", "\"default_num_special_tokens\":2",
        "lists 5 special tokens, but config.default_num_special_tokens is 2")]
    [InlineData("\"rank\":1,\"token_str\":\"\\u003Cs\\u003E\"", "\"rank\":99,\"token_str\":\"\\u003Cs\\u003E\"",
        "gives the special token \"<s>\" the rank 99")]
    [InlineData("\"rank\":1,\"token_str\":\"\\u003Cs\\u003E\"", "\"rank\":1,\"token_str\":\"a\"", "has the token \"a\" twice")]
    [InlineData("special_tokens\":[", "other\":[", "has no \"special_tokens\"")]
    [InlineData("pattern", "patern", "config has no \"pattern\"")]
    public void Damage_is_named(string from, string to, string message)
    {
        var text = System.Text.Encoding.UTF8.GetString(Tekken.File(s_bytes, ["ab", " a"]));
        Assert.Contains(from, text);
        Assert.Contains(message, Assert.Throws<InputException>(() =>
            Load(System.Text.Encoding.UTF8.GetBytes(text.Replace(from, to, StringComparison.Ordinal)))).Message);
    }

    private static Tokenizer Load(byte[] file)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder["tekken.json"], file);
        return Tokenizer.Load(folder.Path);
    }
}
