using Handbook.Text.Tokenizers;

namespace Handbook.Text.Tests.Tokenizers;

/// <summary>Every code point through each part of the pipeline, beside the Rust library: parts differ in their Unicode.</summary>
public sealed class ComponentOracleTests
{
    /// <summary>A name, the sections of a tokenizer.json, and whether pieces are counted instead of bytes compared.</summary>
    private static readonly (string Name, string Sections, bool Pieces)[] Parts =
    [
        .. Of("normalizer", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt"),
        ("Strip", Section("normalizer", """{"type":"Strip","strip_left":true,"strip_right":true}"""), false),
        .. new[] { "clean_text", "handle_chinese_chars", "strip_accents", "lowercase" }
            .Select(flag => ($"BertNormalizer {flag}", Section("normalizer", Bert(flag)), false)),
        .. Of("pre_tokenizer", "Whitespace", "WhitespaceSplit", "BertPreTokenizer", "UnicodeScripts"),
        ("Punctuation", Section("pre_tokenizer", """{"type":"Punctuation","behavior":"Isolated"}"""), true),
        ("Digits", Section("pre_tokenizer", """{"type":"Digits","individual_digits":true}"""), true),
        ("ByteLevel", Section("pre_tokenizer",
            """{"type":"ByteLevel","add_prefix_space":false,"use_regex":true,"trim_offsets":false}"""), true),
        .. Classes.Select(pattern => (pattern, Section("pre_tokenizer", Split(pattern)), true)),
        .. new[] { "single_word", "lstrip", "rstrip" }.Select(flag => ($"added token {flag}", Added(flag), true)),
    ];

    private static string[] Classes =>
    [
        @"\p{L}", @"\p{Lu}", @"\p{Ll}", @"\p{Lt}", @"\p{Lm}", @"\p{Lo}", @"\p{M}", @"\p{Mn}", @"\p{N}", @"\p{Nd}",
        @"\p{P}", @"\p{S}", @"\p{Z}", @"\p{C}", @"\p{Cn}", @"\s", @"\w", @"\d", @"\h", @"\R",
        "[[:alpha:]]", "[[:punct:]]", "[[:upper:]]", "[[:lower:]]", "[[:alnum:]]", "[[:graph:]]", "[[:print:]]",
        @"\p{Han}", @"\p{Latin}", @"\p{Arabic}", @"\p{Emoji}", "(?i:k)", "(?i:s)", "(?i:σ)", "(?i:[a-z])",
    ];

    public static TheoryData<string> Names => [.. Parts.Select(part => part.Name)];

    [Theory, MemberData(nameof(Names))]
    public void A_part_treats_a_selection_of_code_points_as_the_oracle_does(string name) => Compare(name, step: 211);

    [Theory, MemberData(nameof(Names)), Trait("speed", "slow")]
    public void A_part_treats_every_code_point_as_the_oracle_does(string name) => Compare(name, step: 1);

    private static void Compare(string name, int step)
    {
        var (_, sections, pieces) = Parts.Single(part => part.Name == name);
        var json = System.Text.Encoding.UTF8.GetBytes($$"""{"version":"1.0",{{sections}},"model":{{(pieces ? OnePerPiece : Bytes)}}}""");
        using var oracle = new Oracle(json);
        var ours = Tokenizer.FromJson(json);
        var chosen = Enumerable.Range(1, 0x10FFFF).Where(point => point is < 0xD800 or >= 0xE000 && IsChosen(point, step)).Select(TextOf);
        // Many at once are faster; only where they differ is each looked at. Strip looks at the ends of a text, so each needs its own.
        var different = chosen.Chunk(name == "Strip" ? 1 : 32).Where(many => !Agree(string.Join('\n', many)))
            .SelectMany(many => many.Where(text => !Agree(text)).DefaultIfEmpty(string.Join('\n', many))).Select(RandomText.Show).ToList();
        Assert.True(different.Count == 0, $"{different.Count} differ: {string.Join(' ', different.Take(20))}");

        bool Agree(string text) => oracle.Encode(text).AsSpan().SequenceEqual(ours.Encode(text));

        string TextOf(int point)
        {
            var c = char.ConvertFromUtf32(point);
            return sections.Contains("[X]", StringComparison.Ordinal) ? $"~{c}[X]{c}~" : $"a{c}b{c}{c} {c}1{c}~{c}";
        }
    }

    /// <summary>Every so many, and below U+20000, where the scripts live, one of sixteen: a stride alone would miss small blocks.</summary>
    private static bool IsChosen(int point, int step) => point % step == 0 || (point < 0x20000 && point % 16 == step % 16);

    /// <summary>A token for every byte and no merges: ids are the bytes of the normalized text.</summary>
    private static string Bytes { get; } = $$"""
        {"type":"BPE","unk_token":"?","byte_fallback":true,"merges":[],"vocab":{"?":0,{{string.Join(',', ByteTokens)}}} }
        """;

    private static IEnumerable<string> ByteTokens => Enumerable.Range(0, 256).Select(value => $"\"<0x{value:X2}>\":{value + 1}");

    /// <summary>Nothing but the unknown token, fused: one id for each piece.</summary>
    private const string OnePerPiece = """{"type":"BPE","unk_token":"?","fuse_unk":true,"merges":[],"vocab":{"?":0}}""";

    private static string Section(string name, string value) => $"\"added_tokens\":[],\"{name}\":{value}";

    /// <summary>Components without settings.</summary>
    private static IEnumerable<(string, string, bool)> Of(string section, params string[] types) =>
        types.Select(type => (type, Section(section, $$"""{"type":"{{type}}"}"""), section == "pre_tokenizer"));

    private static string Split(string pattern) => $$"""
        {"type":"Split","pattern":{"Regex":{{System.Text.Json.JsonSerializer.Serialize(pattern)}}},"behavior":"Isolated","invert":false}
        """;

    private static string Bert(string on) => On(on, """
        {"type":"BertNormalizer","clean_text":false,"handle_chinese_chars":false,"strip_accents":false,"lowercase":false}
        """);

    private static string Added(string on) => On(on, """
        "added_tokens":[{"id":1,"content":"[X]","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}]
        """);

    private static string On(string flag, string json) => json.Replace($"\"{flag}\":false", $"\"{flag}\":true", StringComparison.Ordinal);
}
