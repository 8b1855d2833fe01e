using System.Text.Json;

namespace Handbook.Models.Constraints;

/// <summary>JSON as a grammar. RFC 8259; white space is short, so that a model cannot go on with it for ever, and numbers have at most
/// eighteen digits, a point and as many, so that every reader takes them.</summary>
internal static class JsonGrammar
{
    private static readonly Grammar s_digit = Grammar.Any("09"), s_hex = Grammar.Any("09", "af", "AF"), s_tail = Grammar.Range(0x80, 0xBF);

    /// <summary>A space, or a new line with as many spaces as a nested value needs.</summary>
    public static Grammar Space { get; } = Grammar.Or(Grammar.Empty, Grammar.Text(" "),
        Grammar.Of(Grammar.Text("\n"), Grammar.Times(Grammar.Any("  "), 0, 32)));

    /// <summary>A character of a string that stands for itself, but quote and backslash.</summary>
    public static Grammar Plain { get; } =
        Grammar.Or([new Grammar.Bytes(UInt256.Of(0x20, 0x7F).Without((byte)'"').Without((byte)'\\')), .. Wide()]);

    /// <summary>A character of a string, written in any way.</summary>
    public static Grammar Character { get; } = Grammar.Or(Plain, Grammar.Of(Grammar.Text("\\"), Grammar.Or(
        Grammar.Any("\"\"", "\\\\", "//", "bb", "ff", "nn", "rr", "tt"), Grammar.Of(Grammar.Text("u"), Grammar.Or(
            Grammar.Of(Grammar.Any("09", "ac", "AC", "ef", "EF"), s_hex, s_hex, s_hex),
            Grammar.Of(Grammar.Any("dd", "DD"), Grammar.Any("07"), s_hex, s_hex),
            // a pair of surrogates
            Grammar.Of(Grammar.Any("dd", "DD"), Grammar.Any("89", "ab", "AB"), s_hex, s_hex, Grammar.Text("\\u"), Grammar.Any("dd", "DD"),
                Grammar.Any("cf", "CF"), s_hex, s_hex))))));

    public static Grammar String { get; } = Text(0, null);

    public static Grammar Natural { get; } = Grammar.Or(Grammar.Text("0"), Grammar.Of(Grammar.Any("19"), Grammar.Times(s_digit, 0, 17)));

    public static Grammar Integer { get; } = Grammar.Of(Grammar.Maybe(Grammar.Text("-")), Natural);

    public static Grammar Number { get; } = Grammar.Of(Integer, Fraction);

    /// <summary>What may stand behind the whole part of a number.</summary>
    public static Grammar Fraction => Grammar.Of(Grammar.Maybe(Grammar.Of(Grammar.Text("."), Grammar.Times(s_digit, 1, 18))),
        Grammar.Maybe(Grammar.Of(Grammar.Any("ee", "EE"), Grammar.Maybe(Grammar.Any("++", "--")), Grammar.Times(s_digit, 1, 2))));

    public static Grammar Boolean { get; } = Grammar.Or(Grammar.Text("true"), Grammar.Text("false"));

    public static Grammar Null { get; } = Grammar.Text("null");

    private static readonly (Grammar Object, Grammar Value) s_any = MakeAny();

    /// <summary>Any object.</summary>
    public static Grammar Object => s_any.Object;

    /// <summary>Any value.</summary>
    public static Grammar Value => s_any.Value;

    /// <summary>A string of some characters.</summary>
    public static Grammar Text(int least, int? most) =>
        Grammar.Of(Grammar.Text("\""), Grammar.Times(Character, least, most), Grammar.Text("\""));

    /// <summary>Values between brackets, with commas.</summary>
    public static Grammar Listed(Grammar item, int least, int? most)
    {
        var more = Grammar.Of(Space, Grammar.Text(","), Space, item);
        var some = most == 0 ? Grammar.Empty : Grammar.Of(item, Grammar.Times(more, Math.Max(least - 1, 0), most - 1));
        some = Grammar.Of(some, Space);
        return Grammar.Of(Grammar.Text("["), Space, least == 0 ? Grammar.Maybe(some) : some, Grammar.Text("]"));
    }

    /// <summary>A key and its value.</summary>
    public static Grammar Pair(Grammar key, Grammar of) => Grammar.Of(key, Space, Grammar.Text(":"), Space, of);

    /// <summary>A value that is known, written without white space.</summary>
    public static Grammar Constant(JsonElement value) => Grammar.Text(JsonSerializer.Serialize(value, s_readable));

    /// <summary>The name of a property.</summary>
    public static Grammar Name(string name) => Grammar.Text(JsonSerializer.Serialize(name, s_readable));

    private static readonly JsonSerializerOptions s_readable =
        new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private static (Grammar Object, Grammar Value) MakeAny()
    {
        var any = new Grammar.Rule();
        var pair = Pair(String, any);
        var some = Grammar.Of(pair, Grammar.Times(Grammar.Of(Space, Grammar.Text(","), Space, pair), 0, null), Space);
        var whole = Grammar.Of(Grammar.Text("{"), Space, Grammar.Maybe(some), Grammar.Text("}"));
        any.Body = Grammar.Or(whole, Listed(any, 0, null), String, Number, Boolean, Null);
        return (whole, any);
    }

    /// <summary>Characters of several bytes, as UTF-8 has them. RFC 3629, §4.</summary>
    private static Grammar[] Wide() =>
    [
        Grammar.Of(Grammar.Range(0xC2, 0xDF), s_tail),
        Grammar.Of(Grammar.Range(0xE0, 0xE0), Grammar.Range(0xA0, 0xBF), s_tail),
        Grammar.Of(Grammar.Range(0xE1, 0xEC), s_tail, s_tail),
        Grammar.Of(Grammar.Range(0xED, 0xED), Grammar.Range(0x80, 0x9F), s_tail),
        Grammar.Of(Grammar.Range(0xEE, 0xEF), s_tail, s_tail),
        Grammar.Of(Grammar.Range(0xF0, 0xF0), Grammar.Range(0x90, 0xBF), s_tail, s_tail),
        Grammar.Of(Grammar.Range(0xF1, 0xF3), s_tail, s_tail, s_tail),
        Grammar.Of(Grammar.Range(0xF4, 0xF4), Grammar.Range(0x80, 0x8F), s_tail, s_tail),
    ];
}
