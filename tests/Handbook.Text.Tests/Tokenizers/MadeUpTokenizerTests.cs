using System.Text.Json;
using CsCheck;
using Handbook.Text.Tokenizers;

namespace Handbook.Text.Tests.Tokenizers;

/// <summary>Tokenizers put together at random beside the Rust library: each model with each normalizer, pre-tokenizer, added token.</summary>
public sealed class MadeUpTokenizerTests
{
    private static readonly string[] Letters =
    [
        "a", "b", "c", "ab", "abc", "é", "e", "\u0301", "中", "1", "2", "12", ".", " ", "▁", "▁a", "Ġ", "Ġa", "Ã", "©", "##a",
        "##b", "b</w>", "A", "B", "İ", "<0x20>", "<0xE4>", "<0xB8>", "<0xAD>",
    ];

    private static readonly string[] Normalizers =
    [
        """{"type":"NFC"}""", """{"type":"NFD"}""", """{"type":"NFKC"}""", """{"type":"NFKD"}""", """{"type":"Lowercase"}""",
        """{"type":"StripAccents"}""",
        """{"type":"Strip","strip_left":true,"strip_right":false}""", """{"type":"Prepend","prepend":"▁"}""",
        """{"type":"Replace","pattern":{"String":" "},"content":"▁"}""",
        """{"type":"Replace","pattern":{"Regex":"\\s+"},"content":" "}""",
        """{"type":"Replace","pattern":{"String":"ab"},"content":"c"}""", """{"type":"Nmt"}""",
        """{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true}""",
        """{"type":"ByteLevel"}""",
    ];

    private static readonly string[] PreTokenizers =
    [
        """{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}""",
        """{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":false}""",
        """{"type":"Whitespace"}""", """{"type":"WhitespaceSplit"}""", """{"type":"BertPreTokenizer"}""",
        """{"type":"Digits","individual_digits":false}""", """{"type":"UnicodeScripts"}""",
        """{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true}""",
        """{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":false}""",
        """{"type":"Punctuation","behavior":"Contiguous"}""", """{"type":"CharDelimiterSplit","delimiter":"a"}""",
        """{"type":"Split","pattern":{"String":"a"},"behavior":"MergedWithNext","invert":false}""",
        """{"type":"Split","pattern":{"Regex":"\\p{N}{1,2}"},"behavior":"Isolated","invert":true}""",
        """
        {"type":"Split","behavior":"Removed","invert":true,
        "pattern":{"Regex":"[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s+(?!\\S)|\\s+"}}
        """,
    ];

    private static readonly string[] AddedContents = ["<x>", "a b", "ab", " c", "É"];

    private static readonly Gen<bool> Flag = Gen.Bool;

    private static readonly Gen<string> Tokens =
        Gen.Select(Gen.Shuffle(Letters).Select(all => all.Take(14)), Gen.Int[0, 3], Flag, Flag, Flag)
        .Select((vocabulary, kind, first, second, third) => Model([.. vocabulary], kind, first, second, third));

    private static readonly Gen<string> AddedTokens = Gen.Select(Gen.Int[0, AddedContents.Length - 1], Flag, Flag, Flag, Flag, Flag)
        .Select((content, word, left, right, normalized, special) => (Content: AddedContents[content], Flags: $$"""
            "single_word":{{Json(word)}},"lstrip":{{Json(left)}},"rstrip":{{Json(right)}},
            "normalized":{{Json(normalized)}},"special":{{Json(special)}}
            """))
        .Array[0, 3].Select(tokens => string.Join(',', tokens.DistinctBy(token => token.Content)
            .Select((token, i) => $$"""{"id":{{100 + i}},"content":"{{token.Content}}",{{token.Flags}}}""")));

    private static readonly Gen<(string Json, string Text)> Cases = Gen.Select(Tokens, AddedTokens,
            Steps("normalizer", "normalizers", Normalizers), Steps("pre_tokenizer", "pretokenizers", PreTokenizers),
            RandomText.With(["<x>", "a b", "ab", " c", "É", "é", "▁", "abc", "12", "b"], atoms: 8))
        .Select((model, added, normalizer, preTokenizer, text) =>
            ($$"""{"version":"1.0","added_tokens":[{{added}}]{{normalizer}}{{preTokenizer}},"model":{{model}}}""", text));

    [Fact]
    public void A_tokenizer_put_together_at_random_gives_the_ids_of_the_oracle() => Compare(1000);

    [Fact, Trait("speed", "slow")]
    public void Many_tokenizers_put_together_at_random_give_the_ids_of_the_oracle() => Compare(30_000);

    private static void Compare(int iterations) => Cases.Sample(one => Both(one) is var (expected, actual) && expected == actual,
        iter: iterations, threads: 1,
        print: one => $"{one.Json}\n{RandomText.Show(one.Text)}: expected {Both(one).Expected}, got {Both(one).Actual}");

    private static (string Expected, string Actual) Both((string Json, string Text) one)
    {
        var json = System.Text.Encoding.UTF8.GetBytes(one.Json);
        using var oracle = new Oracle(json);
        return (Ids(() => oracle.Encode(one.Text)), Ids(() => Tokenizer.FromJson(json).Encode(one.Text)));
    }

    /// <summary>Ids, or that the text cannot be encoded: both refuse text outside a vocabulary without an unknown token.</summary>
    private static string Ids(Func<int[]> encode)
    {
        try
        {
            return string.Join(' ', encode());
        }
        catch (Exception failure) when (failure is Handbook.Base.InputException or global::Tokenizers.DotNet.TokenizerException)
        {
            return "refused";
        }
    }

    /// <summary>No step, one, or two in a sequence.</summary>
    private static Gen<string> Steps(string section, string list, string[] kinds) =>
        Gen.Int[0, kinds.Length - 1].Select(step => kinds[step]).Array[0, 2].Select(steps => steps.Length switch
        {
            0 => "",
            1 => $",\"{section}\":{steps[0]}",
            _ => $",\"{section}\":{{\"type\":\"Sequence\",\"{list}\":[{string.Join(',', steps)}]}}",
        });

    private static string Model(string[] tokens, int kind, bool first, bool second, bool third)
    {
        string[] vocabulary = ["<unk>", .. tokens];
        var ids = string.Join(',', vocabulary.Select((token, id) => $"{JsonSerializer.Serialize(token)}:{id}"));
        switch (kind)
        {
            case 0:
                var pairs = from left in tokens from right in tokens where tokens.Contains(left + right) select new[] { left, right };
                return $$"""
                    {"type":"BPE","unk_token":"<unk>",
                    "fuse_unk":{{Json(first)}},"byte_fallback":{{Json(second)}},"ignore_merges":{{Json(third)}},
                    "vocab":{{{ids}}},"merges":{{JsonSerializer.Serialize(pairs)}}}
                    """;
            case 1:
                return $$"""
                    {"type":"WordPiece","unk_token":"<unk>","continuing_subword_prefix":"##",
                    "max_input_chars_per_word":{{(first ? 100 : 4)}},
                    "vocab":{{{ids}}} }
                    """;
            case 2:
                return $$"""{"type":"WordLevel","unk_token":"<unk>","vocab":{{{ids}}} }""";
            default:
                // Scores that tie often, also in their last bit.
                var digits = first ? "1" : "123456789012345";
                var scored = vocabulary.Select((token, id) => $"[{JsonSerializer.Serialize(token)},-{id % 4}.{digits}{id % 3}]");
                return $$"""{"type":"Unigram","unk_id":0,"byte_fallback":{{Json(second)}},"vocab":[{{string.Join(',', scored)}}]}""";
        }
    }

    private static string Json(bool flag) => flag ? "true" : "false";
}
