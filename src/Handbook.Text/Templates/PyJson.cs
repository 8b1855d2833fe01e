using System.Globalization;
using System.Numerics;
using System.Text;
using System.Text.Json;

namespace Handbook.Text.Templates;

/// <summary>JSON in, as values of the language; and Python's <c>json.dumps</c> out.</summary>
internal static class PyJson
{
    public static object? Read(JsonElement element)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.Object:
                var dict = new PyDict();
                foreach (var property in element.EnumerateObject())
                    dict.Set(property.Name, Read(property.Value));
                return dict;
            case JsonValueKind.Array:
                var list = new List<object?>(element.GetArrayLength());
                foreach (var item in element.EnumerateArray())
                    list.Add(Read(item));
                return list;
            case JsonValueKind.String:
                return Text(element);
            case JsonValueKind.Number:
                return Number(element);
            case JsonValueKind.True:
                return Boxes.True;
            case JsonValueKind.False:
                return Boxes.False;
            default:
                return null;
        }
    }

    /// <summary>An integer stays an integer, 1.0 and 1e3 are floats: Python prints them differently.</summary>
    private static object Number(JsonElement element)
    {
        if (element.TryGetInt64(out var integer) && element.GetRawText() is var raw)
            return raw == "-0" || raw.AsSpan().IndexOfAny('.', 'e', 'E') < 0 ? Boxes.Of(integer) : (double)integer;
        raw = element.GetRawText();
        return raw.AsSpan().IndexOfAny('.', 'e', 'E') < 0 ? BigInteger.Parse(raw, CultureInfo.InvariantCulture)
            : double.Parse(raw, CultureInfo.InvariantCulture);
    }

    private static string Text(JsonElement element)
    {
        try
        {
            return element.GetString()!;
        }
        catch (InvalidOperationException)
        {
            // Half of a surrogate pair, as \ud83d in the file: .NET refuses it, Python keeps it.
            var raw = element.GetRawText();
            var result = new StringBuilder();
            for (var i = 1; i < raw.Length - 1; i++)
            {
                if (raw[i] != '\\')
                {
                    result.Append(raw[i]);
                    continue;
                }
                i++;
                if (raw[i] == 'u')
                {
                    result.Append((char)int.Parse(raw.AsSpan(i + 1, 4), NumberStyles.HexNumber));
                    i += 4;
                }
                else
                    result.Append(raw[i] switch { 'b' => '\b', 'f' => '\f', 'n' => '\n', 'r' => '\r', 't' => '\t', var other => other });
            }
            return result.ToString();
        }
    }

    /// <summary>What the filter <c>tojson</c> takes.</summary>
    public sealed record Options(bool EnsureAscii, string? Indent, string ItemSeparator, string KeySeparator, bool SortKeys);

    public static string Write(object? value, Options options)
    {
        var to = new StringBuilder();
        Write(to, value, options, 0);
        Budget.Text(to.Length);
        return to.ToString();
    }

    private static void Write(StringBuilder to, object? value, Options options, int depth)
    {
        Budget.Nest();
        Budget.Spend(1);
        Budget.CheckLength(to.Length);
        switch (value)
        {
            case null:
                to.Append("null");
                break;
            case bool truth:
                to.Append(truth ? "true" : "false");
                break;
            case string or Markup:
                WriteText(to, PyText.Of(value)!, options.EnsureAscii);
                break;
            case long or BigInteger or double:
                to.Append(NumberText(value));
                break;
            case List<object?> or PyTuple:
                WriteItems(to, value is PyTuple tuple ? tuple.Items : (List<object?>)value, '[', ']', options, depth,
                    item => Write(to, item, options, depth + 1));
                break;
            case PyDict dict:
                var keys = Enumerable.Range(0, dict.Count);
                if (options.SortKeys)
                    keys = PyCompare.Sorted(keys.Select(i => (object?)(long)i), i => dict.KeyAt((int)(long)i!), reverse: false)
                        .ConvertAll(i => (int)(long)i!);
                WriteItems(to, [.. keys.Select(i => (object?)i)], '{', '}', options, depth, boxed =>
                {
                    var i = (int)boxed!;
                    WriteText(to, KeyText(dict.KeyAt(i)), options.EnsureAscii);
                    to.Append(options.KeySeparator);
                    Write(to, dict.ValueAt(i), options, depth + 1);
                });
                break;
            default:
                throw JinjaException.Type($"Object of type {PyType.Name(value)} is not JSON serializable");
        }
    }

    private static void WriteItems(StringBuilder to, IReadOnlyList<object?> items, char open, char close, Options options,
        int depth, Action<object?> write)
    {
        to.Append(open);
        for (var i = 0; i < items.Count; i++)
        {
            if (i > 0)
                to.Append(options.ItemSeparator);
            NewLine(depth + 1);
            write(items[i]);
        }
        if (items.Count > 0)
            NewLine(depth);
        to.Append(close);

        void NewLine(int level)
        {
            if (options.Indent is null)
                return;
            to.Append('\n');
            for (var i = 0; i < level; i++)
                to.Append(options.Indent);
        }
    }

    private static string KeyText(object? key) => key switch
    {
        string or Markup => PyText.Of(key)!,
        null => "null",
        bool truth => truth ? "true" : "false",
        long or BigInteger or double => NumberText(key),
        _ => throw JinjaException.Type($"keys must be str, int, float, bool or None, not {PyType.Name(key)}"),
    };

    private static string NumberText(object number) => number switch
    {
        double.NaN => "NaN",
        double.PositiveInfinity => "Infinity",
        double.NegativeInfinity => "-Infinity",
        BigInteger big => PyNumber.Repr(big),
        _ => PyRepr.Str(number),
    };

    private static void WriteText(StringBuilder to, string text, bool ascii)
    {
        to.Append('"');
        var rest = text.AsSpan();
        while (true)
        {
            var at = ascii ? rest.IndexOfAnyExceptInRange(' ', '~') : -1;
            var special = rest.IndexOfAnyInRange('\0', '\u001f');
            var quote = rest.IndexOfAny('"', '\\');
            at = First(First(at, special), quote);
            if (at < 0)
                break;
            to.Append(rest[..at]);
            var letter = rest[at];
            to.Append(letter switch
            {
                '"' => "\\\"",
                '\\' => "\\\\",
                '\n' => "\\n",
                '\r' => "\\r",
                '\t' => "\\t",
                '\b' => "\\b",
                '\f' => "\\f",
                _ => $"\\u{(int)letter:x4}",
            });
            rest = rest[(at + 1)..];
        }
        to.Append(rest).Append('"');

        static int First(int a, int b) => a < 0 ? b : b < 0 ? a : Math.Min(a, b);
    }
}
