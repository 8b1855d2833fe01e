using System.Text.Json;
using Handbook.Text.Tokenizers;

namespace Handbook.Text.Tests.Templates;

/// <summary>A tokenizer of single bytes and special tokens, made here, so that every token is one letter or one special token.</summary>
internal static class TinyTokenizer
{
    /// <param name="end">The token called eos_token.</param>
    /// <param name="specials">More special tokens.</param>
    public static Tokenizer With(string end, params string[] specials) => Make(null, end, specials);

    /// <summary>The same, but it puts its begin token before every text.</summary>
    /// <inheritdoc cref="With"/>
    public static Tokenizer WithBegin(string end, params string[] specials) => Make(new
    {
        type = "TemplateProcessing",
        single = new object[] { new { SpecialToken = new { id = "<s>", type_id = 0 } },
                new { Sequence = new { id = "A", type_id = 0 } } },
        pair = new object[] { new { Sequence = new { id = "A", type_id = 0 } }, new { Sequence = new { id = "B", type_id = 1 } } },
        special_tokens = new Dictionary<string, object>
        {
            ["<s>"] = new
            {
                id = "<s>",
                ids = new[] { 256 },
                tokens = new[] { "<s>" }
            }
        },
    }, end, specials);

    private static Tokenizer Make(object? postProcessor, string end, string[] specials)
    {
        string[] all = [.. new[] { "<s>", "</s>", end }.Union(specials)];
        // GPT-2's alphabet: printable Latin-1 letters stand for themselves, the other bytes for the letters from U+0100 on.
        var next = 0x100;
        var bytes = Enumerable.Range(0, 256)
            .Select(code => (char)(code is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or >= 0xAE ? code : next++)).ToList();
        var folder = Directory.CreateTempSubdirectory("handbook-tokenizer-").FullName;
        File.WriteAllText(Path.Combine(folder, "tokenizer.json"), JsonSerializer.Serialize(new Dictionary<string, object?>
        {
            ["version"] = "1.0",
            ["added_tokens"] = all.Select((content, id) =>
                new { id = 256 + id, content, single_word = false, lstrip = false, rstrip = false, normalized = false, special = true }),
            ["normalizer"] = null,
            ["pre_tokenizer"] = new { type = "ByteLevel", add_prefix_space = false, trim_offsets = false, use_regex = true },
            ["post_processor"] = postProcessor,
            ["decoder"] = new { type = "ByteLevel", add_prefix_space = false, trim_offsets = false, use_regex = true },
            ["model"] = new
            {
                type = "BPE",
                vocab = bytes.Select((letter, id) => (letter, id)).ToDictionary(pair => pair.letter.ToString(),
                pair => pair.id),
                merges = Array.Empty<string>()
            },
        }));
        File.WriteAllText(Path.Combine(folder, "tokenizer_config.json"),
            JsonSerializer.Serialize(new { bos_token = "<s>", eos_token = end }));
        var tokenizer = Tokenizer.Load(folder);
        Directory.Delete(folder, recursive: true);
        return tokenizer;
    }
}
