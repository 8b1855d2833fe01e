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

    private static Gen<string> Flag => Gen.Bool.Select(Json);

    private static Gen<string> One(params string[] choices) => Gen.Int[0, choices.Length - 1].Select(i => choices[i]);

    private static readonly string[] Texts = ["a", " ", "ab", "▁", "é", "1", ". ", "bc"];

    private static readonly string[] Regexes =
    [
        @"\s+", " {2,}", "(?<=a)b", @"^\s+|\s+$", @"\p{M}", "[ab]+", @"\p{N}{1,2}", @"\p{L}+", "(?i:ab|e)", ".", "b*?a",
        @"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+(?!\S)|\s+",
    ];

    private static readonly Gen<string> Pattern = Gen.OneOf(One(Texts).Select(text => $$"""{"String":{{Json(text)}} }"""),
        One(Regexes).Select(regex => $$"""{"Regex":{{Json(regex)}} }"""));

    /// <summary>Those too that match where nothing is; in a normalizer they end the oracle's process.</summary>
    private static readonly Gen<string> AnyPattern = Gen.Frequency((5, Pattern),
        (1, One("a?", @"\b", "$", "^", "(?=a)", "").Select(regex => $$"""{"Regex":{{Json(regex)}} }""")),
        (1, Gen.Const("""{"String":""}""")));

    /// <summary>Not nothing: behind a normalizer that takes characters away, the oracle's next one may end the process.</summary>
    private static readonly Gen<string> Text = One(Texts).Select(Json);

    private static readonly Gen<string> Normalizers = Gen.OneOf(
        One("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "ByteLevel").Select(type => $$"""{"type":"{{type}}"}"""),
        Gen.Select(Flag, Flag, (left, right) => $$"""{"type":"Strip","strip_left":{{left}},"strip_right":{{right}} }"""),
        Text.Select(text => $$"""{"type":"Prepend","prepend":{{text}} }"""),
        Gen.Select(Pattern, Text, (pattern, text) => $$"""{"type":"Replace","pattern":{{pattern}},"content":{{text}} }"""),
        Gen.Select(Flag, Flag, One("null", "true", "false"), Flag, (clean, chinese, accents, lower) => $$"""
            {"type":"BertNormalizer","clean_text":{{clean}},"handle_chinese_chars":{{chinese}},"strip_accents":{{accents}},
            "lowercase":{{lower}}}
            """));

    private static readonly Gen<string> Behavior =
        One("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous").Select(Json);

    private static readonly Gen<string> Metaspace = Gen.Select(One("▁", "_", "a"), One("always", "first", "never"), Flag,
        (mark, scheme, split) => $$"""{"type":"Metaspace","replacement":"{{mark}}","prepend_scheme":"{{scheme}}","split":{{split}} }""");

    private static readonly Gen<string> PreTokenizers = Gen.OneOf(
        Gen.Select(Flag, Flag, (space, regex) => $$"""
            {"type":"ByteLevel","add_prefix_space":{{space}},"trim_offsets":true,"use_regex":{{regex}}}
            """),
        One("Whitespace", "WhitespaceSplit", "BertPreTokenizer", "UnicodeScripts").Select(type => $$"""{"type":"{{type}}"}"""),
        Flag.Select(each => $$"""{"type":"Digits","individual_digits":{{each}} }"""), Metaspace,
        Behavior.Select(behavior => $$"""{"type":"Punctuation","behavior":{{behavior}} }"""),
        One("a", " ", "é").Select(mark => $$"""{"type":"CharDelimiterSplit","delimiter":"{{mark}}"}"""),
        Gen.Int[1, 4].Select(length => $$"""{"type":"FixedLength","length":{{length}} }"""),
        Gen.Select(AnyPattern, Behavior, Flag, (pattern, behavior, invert) => $$"""
            {"type":"Split","pattern":{{pattern}},"behavior":{{behavior}},"invert":{{invert}}}
            """));

    private static readonly Gen<string> PostProcessors = Gen.OneOf(
        // No more than one token: the oracle's next step knows only one part or two.
        One(Text0, Special + "," + Text0, Text0 + "," + Special).Select(single => $$"""
            {"type":"TemplateProcessing","single":[{{single}}],
            "pair":[{"Sequence":{"id":"A","type_id":0} },{"Sequence":{"id":"B","type_id":1} }],
            "special_tokens":{"<unk>":{"id":"<unk>","ids":[0,2],"tokens":["<unk>","b"]} } }
            """),
        Gen.Const("""{"type":"BertProcessing","sep":["<unk>",0],"cls":["b",1]}"""),
        Flag.Select(trim => $$"""{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":{{trim}} }"""),
        Flag.Select(trim => $$"""
            {"type":"RobertaProcessing","sep":["<unk>",0],"cls":["b",1],"trim_offsets":{{trim}},"add_prefix_space":false}
            """));

    private const string Special = """{"SpecialToken":{"id":"<unk>","type_id":0}}""";

    private const string Text0 = """{"Sequence":{"id":"A","type_id":0}}""";

    private static readonly Gen<string> Decoders = Gen.OneOf(
        One("ByteFallback", "Fuse").Select(type => $$"""{"type":"{{type}}"}"""), Metaspace,
        Gen.Const("""{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}"""),
        Gen.Select(One("##", "", "a"), Flag, (prefix, clean) => $$"""{"type":"WordPiece","prefix":"{{prefix}}","cleanup":{{clean}} }"""),
        One("</w>", "", "b").Select(suffix => $$"""{"type":"BPEDecoder","suffix":"{{suffix}}"}"""),
        Gen.Select(Pattern, Text, (pattern, text) => $$"""{"type":"Replace","pattern":{{pattern}},"content":{{text}} }"""),
        // Not at the end of a token: where that is too short, the oracle ends the process.
        Gen.Select(One(" ", "a", "▁"), Gen.Int[0, 2], (content, start) => $$"""
            {"type":"Strip","content":"{{content}}","start":{{start}},"stop":0}
            """),
        Gen.Select(One("a", "▁", "<unk>"), One("▁", "b"), Flag, (pad, word, clean) => $$"""
            {"type":"CTC","pad_token":"{{pad}}","word_delimiter_token":"{{word}}","cleanup":{{clean}}}
            """));

    private static readonly string[] AddedContents = ["<x>", "a b", "ab", " c", "É", " ", "b", "12", "▁", "e\u0301", "<unk>"];

    private static readonly Gen<string> Tokens = Gen.Select(Gen.Shuffle(Letters).Select(all => all.Take(14)), Gen.Int[0, 4],
            Gen.Bool, Gen.Bool, Gen.Bool, Gen.Int[0, 3], Gen.Int[1, 1000])
        .Select((vocabulary, kind, first, second, third, unknown, seed) => Model([.. vocabulary], kind, first, second, third, unknown, seed));

    private static readonly Gen<string> AddedTokens = Gen.Select(One(AddedContents), Flag, Flag, Flag, Flag, Flag)
        .Select((content, word, left, right, normalized, special) => (Content: content, Flags: $$"""
            "single_word":{{word}},"lstrip":{{left}},"rstrip":{{right}},"normalized":{{normalized}},"special":{{special}}
            """))
        .Array[0, 4].Select(tokens => string.Join(',', tokens.DistinctBy(token => token.Content).Select((token, i) =>
            $$"""{"id":{{100 + i}},"content":{{Json(token.Content)}},{{Flags(token.Flags, tokens.Select(one => one.Content))}}}""")));

    // One that swallows the spaces behind it, where another begins with one, ends the oracle's process.
    private static string Flags(string flags, IEnumerable<string> contents) => contents.Any(content => content.StartsWith(' '))
        ? flags.Replace("\"rstrip\":true", "\"rstrip\":false", StringComparison.Ordinal) : flags;

    private static readonly Gen<string> Ends = Gen
        .Select(Steps("post_processor", "processors", PostProcessors, most: 2), Steps("decoder", "decoders", Decoders))
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
        var ours = Tokenizer.FromJson(json);
        if (IsBeyondOracle(ours, one.Json))
            return ("", "");
        using var oracle = new Oracle(json);
        return (All(oracle.Encode, oracle.Decode), All(text => ours.Encode(text), ids => ours.Decode(ids, skipSpecialTokens: true)));

        string All(Func<string, int[]> encode, Func<int[], string> decode) =>
            $"{Try(() => string.Join(' ', encode(one.Text)))} and {Try(() => RandomText.Show(decode(one.Ids)))}";
    }

    /// <summary>An added token of which the normalizer leaves nothing is found everywhere, within characters too: the oracle ends the
    /// process.</summary>
    private static bool IsBeyondOracle(Tokenizer tokenizer, string json) => tokenizer.Pipeline.Normalizer is { } normalizer
        && AddedContents.Any(content => json.Contains($"\"content\":{Json(content)}", StringComparison.Ordinal)
            && normalizer.Apply(content).Length == 0);

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

    /// <summary>No step, one, or a few in a sequence, which may be sequences themselves.</summary>
    private static Gen<string> Steps(string section, string list, Gen<string> kind, int most = 3)
    {
        var nested = kind.Array[0, 2].Select(Sequence);
        return (most < 3 ? kind : Gen.Frequency((6, kind), (1, nested))).Array[0, most].Select(steps => steps.Length switch
        {
            0 => "",
            1 => $",\"{section}\":{steps[0]}",
            _ => $",\"{section}\":{Sequence(steps)}",
        });

        string Sequence(string[] steps) => $"{{\"type\":\"Sequence\",\"{list}\":[{string.Join(',', steps)}]}}";
    }

    /// <param name="unknown">0: there is no unknown token; 1: one that the vocabulary lacks; otherwise the first.</param>
    /// <param name="seed">Of the order of merges.</param>
    private static string Model(string[] tokens, int kind, bool first, bool second, bool third, int unknown, int seed)
    {
        var random = new Random(seed);
        string[] vocabulary = ["<unk>", .. tokens];
        var ids = string.Join(',', vocabulary.Select((token, id) => $"{Json(token)}:{id}"));
        var named = unknown switch { 0 => "null", 1 => "\"<none>\"", _ => "\"<unk>\"" };
        switch (kind)
        {
            case 0:
                var pairs = from left in tokens from right in tokens where tokens.Contains(left + right) select new[] { left, right };
                return $$"""
                    {"type":"BPE","unk_token":{{named}},"dropout":{{(third ? "null" : "0.0")}},
                    "fuse_unk":{{Json(first)}},"byte_fallback":{{Json(second)}},"ignore_merges":{{Json(third)}},
                    "vocab":{{{ids}}},"merges":{{JsonSerializer.Serialize(Mixed(pairs))}}}
                    """;
            case 1:
                return $$"""
                    {"type":"WordPiece","unk_token":{{(unknown == 1 ? named : "\"<unk>\"")}},
                    "continuing_subword_prefix":"{{(second ? "##" : third ? "" : "a")}}","max_input_chars_per_word":{{(first ? 100 : 4)}},
                    "vocab":{{{ids}}} }
                    """;
            case 2:
                return $$"""{"type":"WordLevel","unk_token":{{(unknown == 1 ? named : "\"<unk>\"")}},"vocab":{{{ids}}} }""";
            case 3:
                // A prefix within words and a suffix at their ends: every right part of a merge has the prefix, the whole does not.
                var prefix = first ? "##" : "";
                var joins = from left in tokens
                            from right in tokens
                            where right.StartsWith(prefix, StringComparison.Ordinal) && tokens.Contains(left + right[prefix.Length..])
                            select new[] { left, right };
                return $$"""
                    {"type":"BPE","unk_token":{{named}},"fuse_unk":{{Json(third)}},"ignore_merges":{{Json(seed % 2 == 0)}},
                    "continuing_subword_prefix":{{(first ? "\"##\"" : "null")}},"end_of_word_suffix":{{(second ? "\"</w>\"" : "null")}},
                    "vocab":{{{ids}}},"merges":{{JsonSerializer.Serialize(Mixed(joins))}}}
                    """;
            default:
                // Scores that tie often, also in their last bit.
                var digits = first ? "1" : "123456789012345";
                var scored = vocabulary.Select((token, id) => $"[{Json(token)},-{id % 4}.{digits}{id % 3}]");
                return $$"""
                    {"type":"Unigram","unk_id":{{(third ? 3 : 0)}},"byte_fallback":{{Json(second)}},
                    "vocab":[{{string.Join(',', scored)}}]}
                    """;
        }

        // In any order, and some twice.
        string[][] Mixed(IEnumerable<string[]> merges)
        {
            string[][] all = [.. merges, .. merges.Where(_ => random.Next(8) == 0)];
            random.Shuffle(all);
            return all;
        }
    }

    private static string Json(bool flag) => flag ? "true" : "false";

    private static string Json(string text) => JsonSerializer.Serialize(text);
}
