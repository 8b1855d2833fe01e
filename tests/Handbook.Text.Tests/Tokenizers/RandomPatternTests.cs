using System.Text.Json;
using CsCheck;
using Handbook.Base;
using Handbook.Text.Tokenizers;
using Handbook.Text.Tokenizers.PreTokenizers;

namespace Handbook.Text.Tests.Tokenizers;

/// <summary>Regular expressions put together at random cut texts where Oniguruma, in the Rust library, cuts them.</summary>
/// <remarks>Nothing here has another case of several letters, as ß has: under (?i) Oniguruma finds those, too, and this does not.</remarks>
public sealed class RandomPatternTests
{
    private static readonly string[] s_characters = ["a", "b", "B", "1", " ", "é", "中", "-", "_", @"\n", "k", "K", @"\.", "😀"];

    private static readonly string[] s_classes =
    [
        @"\s", @"\S", @"\d", @"\D", @"\w", @"\W", @"\p{L}", @"\p{N}", @"\P{L}", @"\p{Lu}", @"\p{^L}", @"\h", ".", "[ab]", @"[^a\s]",
        "[a-c&&[^b]]", "[[:alpha:]]",
        @"[\p{L}\d]", "[^[:space:]b]", @"[\p{Lu}\p{Lt}\p{M}]", @"[^\r\n\p{L}\p{N}]", "[a-z&&[^aeiou]]", "[-a]", @"[\w&&[^\d_]]",
    ];

    private static readonly string[] s_anchors = ["^", "$", @"\b", @"\B", @"\A", @"\z", @"\Z", @"\G"];

    private static readonly string[] s_times = ["*", "+", "?", "{1,2}", "{2}", "{2,}", "{,2}", "*?", "+?", "??", "{1,2}?", "*+", "++", "?+"];

    private static readonly Gen<string> s_text = One(["a", "b", "B", "1", "12", " ", "  ", "é", "中", "-", "_", "\n", "\r\n", "k", "K", ".",
        "😀", "ab"])
        .Array[0, 14].Select(string.Concat);

    private static Gen<string> One(string[] choices) => Gen.Int[0, choices.Length - 1].Select(i => choices[i]);

    private static readonly Gen<string> s_pattern = Pattern(3);

    /// <param name="depth">How deep groups may lie in one another.</param>
    private static Gen<string> Pattern(int depth)
    {
        var plain = Gen.Frequency((4, One(s_characters)), (4, One(s_classes)), (1, One(s_anchors)));
        var atom = plain;
        if (depth > 0)
        {
            var inner = Pattern(depth - 1);
            var behind = Gen.Frequency((2, One(s_characters)), (1, One(s_classes)));
            atom = Gen.Frequency((7, plain), (2, inner.Select(x => $"(?:{x})")), (1, inner.Select(x => $"({x})")),
                (1, inner.Select(x => $"(?i:{x})")), (1, inner.Select(x => $"(?>{x})")), (1, inner.Select(x => $"(?={x})")),
                (1, inner.Select(x => $"(?!{x})")), (1, behind.Select(x => $"(?<={x})")), (1, behind.Select(x => $"(?<!{x})")));
        }
        var repeated = Gen.Frequency((3, atom), (2, Gen.Select(atom, One(s_times), (one, times) => IsAnchor(one) ? one
            // Groups are not repeated for long: where one may be empty, Oniguruma goes its own way, and where it takes back too much, it
            // ends the process.
            : one + (one[0] == '(' ? "?" + times[1..].Replace("}", "", StringComparison.Ordinal).TrimStart('1', '2', ',') : times))));
        var sequence = repeated.Array[1, 3].Select(string.Concat);
        return Gen.Frequency((3, sequence), (1, Gen.Select(sequence, sequence, (left, right) => $"{left}|{right}")));
    }

    private static bool IsAnchor(string atom) => s_anchors.Contains(atom) || atom.StartsWith("(?=", StringComparison.Ordinal)
        || atom.StartsWith("(?!", StringComparison.Ordinal) || atom.StartsWith("(?<", StringComparison.Ordinal);

    // Oniguruma repeats no lookbehind, and has rules of its own for what stands in one.
    private const string Refused = "refused";

    [Fact, Trait("speed", "slow")]
    public void A_random_pattern_cuts_where_the_oracle_cuts() => Compare(10_000);

    private static void Compare(int iterations) => Gen.Select(s_pattern, s_text.Array[1, 5]).Sample(
        one => Both(one.Item1, one.Item2) is var (expected, actual) && (expected == actual || expected == Refused), iter: iterations, threads: 1,
        print: one => $"{one.Item1} over {string.Join(" and ", one.Item2.Select(RandomText.Show))}: expected "
            + $"{Both(one.Item1, one.Item2).Expected}, got {Both(one.Item1, one.Item2).Actual}");

    private static (string Expected, string Actual) Both(string pattern, string[] texts)
    {
        var json = System.Text.Encoding.UTF8.GetBytes($$"""
            {"version":"1.0","added_tokens":[],"pre_tokenizer":{"type":"Sequence","pretokenizers":[
            {"type":"Split","pattern":{"Regex":{{JsonSerializer.Serialize(pattern)}} },"behavior":"Isolated","invert":false},
            {"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":false}]},
            "model":{"type":"BPE","vocab":{{{s_bytes}}},"merges":[]} }
            """);
        return (Of(() =>
        {
            using var oracle = new Oracle(json);
            return All(oracle.Encode);
        }), Of(() => All(text => Tokenizer.FromJson(json).Encode(text))));

        // A piece begins with a space that it has or that is put before it, so the ids say where a text is cut.
        string All(Func<string, int[]> encode) => string.Join(" / ", texts.Select(text => string.Join(' ', encode(text))));
    }

    private static readonly string s_bytes = string.Join(',', Enumerable.Range(0, 256).Select(value =>
        $"{JsonSerializer.Serialize(((char)ByteAlphabet.PointOf((byte)value)).ToString())}:{value}"));

    private static string Of(Func<string> result)
    {
        try
        {
            return result();
        }
        catch (Exception failure) when (failure is InputException or global::Tokenizers.DotNet.TokenizerException)
        {
            return Refused;
        }
    }
}
