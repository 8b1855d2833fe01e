using System.Text.Json;
using CsCheck;
using Handbook.Text.Tokenizers;

namespace Handbook.Text.Tests.Tokenizers;

/// <summary>Tokenizers put together at random beside the Rust library: each part with each other.</summary>
public sealed class MadeUpTokenizerTests
{
    private static readonly string[] Letters =
    [
        "a", "b", "c", "ab", "abc", "é", "e", "\u0301", "中", "1", "2", "12", ".", " ", "▁", "▁a", "Ġ", "Ġa", "Ã", "©", "##a",
        "##b", "b</w>", "A", "B", "İ", "a</w>", "c</w>", "ab</w>", "##b</w>", "<0x20>", "<0xE4>", "<0xB8>", "<0xAD>",
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

    private static readonly string[] PostProcessors =
    [
        """
        {"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<unk>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
        "pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],
        "special_tokens":{"<unk>":{"id":"<unk>","ids":[0,2],"tokens":["<unk>","b"]}}}
        """,
        """{"type":"BertProcessing","sep":["<unk>",0],"cls":["b",1]}""",
        """{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true}""",
        """{"type":"RobertaProcessing","sep":["<unk>",0],"cls":["b",1],"trim_offsets":true,"add_prefix_space":false}""",
    ];

    private static readonly string[] Decoders =
    [
        """{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}""", """{"type":"ByteFallback"}""",
            """{"type":"Fuse"}""",
        """{"type":"WordPiece","prefix":"##","cleanup":true}""",
        """{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true}""", """{"type":"BPEDecoder","suffix":"</w>"}""",
        """{"type":"Replace","pattern":{"String":"▁"},"content":" "}""", """{"type":"Replace","pattern":{"Regex":"[ab]+"},"content":"x"}""",
        """{"type":"Strip","content":" ","start":1,"stop":0}""", """{"type":"Strip","content":"a","start":2,"stop":0}""",
        """{"type":"CTC","pad_token":"a","word_delimiter_token":"▁","cleanup":true}""",
    ];

    private static readonly string[] AddedContents = ["<x>", "a b", "ab", " c", "É"];

    private static readonly Gen<bool> Flag = Gen.Bool;

    private static readonly Gen<string> Tokens =
        Gen.Select(Gen.Shuffle(Letters).Select(all => all.Take(14)), Gen.Int[0, 4], Flag, Flag, Flag)
        .Select((vocabulary, kind, first, second, third) => Model([.. vocabulary], kind, first, second, third));

    private static readonly Gen<string> AddedTokens = Gen.Select(Gen.Int[0, AddedContents.Length - 1], Flag, Flag, Flag, Flag, Flag)
        .Select((content, word, left, right, normalized, special) => (Content: AddedContents[content], Flags: $$"""
            "single_word":{{Json(word)}},"lstrip":{{Json(left)}},"rstrip":{{Json(right)}},
            "normalized":{{Json(normalized)}},"special":{{Json(special)}}
            """))
        .Array[0, 3].Select(tokens => string.Join(',', tokens.DistinctBy(token => token.Content)
            .Select((token, i) => $$"""{"id":{{100 + i}},"content":"{{token.Content}}",{{token.Flags}}}""")));

    private static readonly Gen<string> Ends = Gen
        .Select(Steps("post_processor", "processors", PostProcessors), Steps("decoder", "decoders", Decoders))
        .Select((post, decoder) => post + decoder);

    private static readonly Gen<(string Json, string Text, int[] Ids)> Cases = Gen.Select(Tokens, AddedTokens,
            Steps("normalizer", "normalizers", Normalizers), Steps("pre_tokenizer", "pretokenizers", PreTokenizers), Ends,
            RandomText.With(["<x>", "a b", "ab", " c", "É", "é", "▁", "abc", "12", "b"], atoms: 8), Gen.Int[0, 18].Array[0, 8])
        .Select((model, added, normalizer, preTokenizer, ends, text, ids) =>
            ($$"""{"version":"1.0","added_tokens":[{{added}}]{{normalizer}}{{preTokenizer}}{{ends}},"model":{{model}}}""", text, ids));

    [Fact]
    public void A_tokenizer_put_together_at_random_gives_the_ids_and_texts_of_the_oracle() => Compare(1000);

    [Fact, Trait("speed", "slow")]
    public void Many_tokenizers_put_together_at_random_give_the_ids_and_texts_of_the_oracle() => Compare(30_000);

    private static void Compare(int iterations) => Cases.Sample(one => Both(one) is var (expected, actual) && expected == actual,
        iter: iterations, threads: 1,
        print: one => $"{one.Json}\n{RandomText.Show(one.Text)}, {string.Join(' ', one.Ids)}: "
            + $"expected {Both(one).Expected}, got {Both(one).Actual}");

    private static (string Expected, string Actual) Both((string Json, string Text, int[] Ids) one)
    {
        var json = System.Text.Encoding.UTF8.GetBytes(one.Json);
        using var oracle = new Oracle(json);
        var ours = Tokenizer.FromJson(json);
        return (All(oracle.Encode, oracle.Decode), All(text => ours.Encode(text), ids => ours.Decode(ids, skipSpecialTokens: true)));

        string All(Func<string, int[]> encode, Func<int[], string> decode) =>
            $"{Try(() => string.Join(' ', encode(one.Text)))} and {Try(() => RandomText.Show(decode(one.Ids)))}";
    }

    /// <summary>A result, or that there is none: both refuse text outside a vocabulary without an unknown token.</summary>
    private static string Try(Func<string> result)
    {
        try
        {
            return result();
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
            case 3:
                // A prefix within words and a suffix at their ends: every right part of a merge has the prefix, the whole does not.
                var prefix = first ? "##" : "";
                var joins = from left in tokens
                            from right in tokens
                            where right.StartsWith(prefix, StringComparison.Ordinal) && tokens.Contains(left + right[prefix.Length..])
                            select new[] { left, right };
                return $$"""
                    {"type":"BPE","unk_token":"<unk>","fuse_unk":{{Json(third)}},
                    "continuing_subword_prefix":{{(first ? "\"##\"" : "null")}},"end_of_word_suffix":{{(second ? "\"</w>\"" : "null")}},
                    "vocab":{{{ids}}},"merges":{{JsonSerializer.Serialize(joins)}}}
                    """;
            default:
                // Scores that tie often, also in their last bit.
                var digits = first ? "1" : "123456789012345";
                var scored = vocabulary.Select((token, id) => $"[{JsonSerializer.Serialize(token)},-{id % 4}.{digits}{id % 3}]");
                return $$"""{"type":"Unigram","unk_id":0,"byte_fallback":{{Json(second)}},"vocab":[{{string.Join(',', scored)}}]}""";
        }
    }

    private static string Json(bool flag) => flag ? "true" : "false";
}
