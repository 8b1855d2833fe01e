using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Handbook.Training.Metrics;

/// <summary>Writes JSON as Python's <c>json.dump</c> does, so that files of both worlds look alike: <c>5e-05</c>,
/// <c>1.0</c>, ASCII only.</summary>
/// <remarks>Numbers keep full precision. NaN and infinity, which JSON has no word for, become null.</remarks>
internal static class PythonJson
{
    /// <param name="value">null, bool, int, long, double, string, enum-free records as dictionaries, lists, <see cref="MetricValue"/>,
    /// <see cref="JsonElement"/>.</param>
    /// <param name="indent">Spaces per level; 0 writes one line.</param>
    /// <param name="sortKeys">Keys in code point order, at every level.</param>
    public static string Write(object? value, int indent = 0, bool sortKeys = false)
    {
        var text = new StringBuilder();
        Write(text, value, indent, sortKeys, 0);
        return text.ToString();
    }

    /// <summary>The shortest digits that read back as the same number, laid out as Python's <c>repr</c>.</summary>
    public static string Number(double value)
    {
        if (!double.IsFinite(value))
            return "null";
        var text = value.ToString("E16", CultureInfo.InvariantCulture);
        var shortest = value.ToString("R", CultureInfo.InvariantCulture);
        var exponent = value == 0 ? 0
            : int.Parse(text.AsSpan(text.IndexOf('E') + 1), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
        var mantissa = shortest.IndexOf('E') is var e and >= 0 ? shortest[..e] : shortest;
        var sign = mantissa.StartsWith('-') ? "-" : "";
        var digits = mantissa.Replace("-", "").Replace(".", "").TrimStart('0').TrimEnd('0');
        if (digits.Length == 0)
            return sign + "0.0";
        // 9.9999999999999999e22 may round up at 17 digits: the shortest form decides.
        if (shortest.IndexOf('E') is var mark and >= 0)
            exponent = int.Parse(shortest.AsSpan(mark + 1), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
        if (exponent is < -4 or >= 16)
            return $"{sign}{digits[0]}{(digits.Length > 1 ? "." + digits[1..] : "")}e{(exponent < 0 ? "-" : "+")}{Math.Abs(exponent):00}";
        if (exponent < 0)
            return $"{sign}0.{new string('0', -exponent - 1)}{digits}";
        var whole = digits.PadRight(exponent + 1, '0');
        return $"{sign}{whole[..(exponent + 1)]}.{(whole.Length > exponent + 1 ? whole[(exponent + 1)..] : "0")}";
    }

    private static void Write(StringBuilder text, object? value, int indent, bool sortKeys, int depth)
    {
        switch (value)
        {
            case null: text.Append("null"); break;
            case bool flag: text.Append(flag ? "true" : "false"); break;
            case string word: Quote(text, word); break;
            case int or long: text.Append(CultureInfo.InvariantCulture, $"{value}"); break;
            case float number: text.Append(Number(number)); break;
            case double number: text.Append(Number(number)); break;
            case MetricValue metric: text.Append(metric.ToJson()); break;
            case JsonElement element: Write(text, Unwrap(element), indent, sortKeys, depth); break;
            case IEnumerable<KeyValuePair<string, MetricValue>> metrics:
                Object(text, metrics.Select(pair => KeyValuePair.Create(pair.Key, (object?)pair.Value)), indent, sortKeys, depth);
                break;
            case IEnumerable<KeyValuePair<string, object?>> pairs: Object(text, pairs, indent, sortKeys, depth); break;
            case IEnumerable<KeyValuePair<string, string>> words:
                Object(text, words.Select(pair => KeyValuePair.Create(pair.Key, (object?)pair.Value)), indent, sortKeys, depth);
                break;
            case System.Collections.IEnumerable items: Array(text, items.Cast<object?>(), indent, sortKeys, depth); break;
            case Enum or FileSystemInfo or Uri: Quote(text, value.ToString()!); break;
            default: throw new ArgumentException($"{value.GetType()} has no JSON form here", nameof(value));
        }
    }

    private static void Object(StringBuilder text, IEnumerable<KeyValuePair<string, object?>> pairs, int indent, bool sortKeys, int depth)
    {
        var list = pairs.ToList();
        if (sortKeys)
            list.Sort((a, b) => string.CompareOrdinal(a.Key, b.Key));
        Sequence(text, '{', '}', list, indent, depth, pair =>
        {
            Quote(text, pair.Key);
            text.Append(": ");
            Write(text, pair.Value, indent, sortKeys, depth + 1);
        });
    }

    private static void Array(StringBuilder text, IEnumerable<object?> items, int indent, bool sortKeys, int depth) =>
        Sequence(text, '[', ']', items.ToList(), indent, depth, item => Write(text, item, indent, sortKeys, depth + 1));

    private static void Sequence<T>(StringBuilder text, char open, char close, List<T> items, int indent, int depth, Action<T> write)
    {
        text.Append(open);
        for (var i = 0; i < items.Count; i++)
        {
            if (i > 0)
                text.Append(indent > 0 ? "," : ", ");
            if (indent > 0)
                text.Append('\n').Append(' ', indent * (depth + 1));
            write(items[i]);
        }
        if (indent > 0 && items.Count > 0)
            text.Append('\n').Append(' ', indent * depth);
        text.Append(close);
    }

    private static void Quote(StringBuilder text, string word)
    {
        text.Append('"');
        foreach (var c in word)
            _ = c switch
            {
                '"' => text.Append("\\\""),
                '\\' => text.Append("\\\\"),
                '\n' => text.Append("\\n"),
                '\r' => text.Append("\\r"),
                '\t' => text.Append("\\t"),
                < ' ' or > '~' => text.Append(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}"),
                _ => text.Append(c),
            };
        text.Append('"');
    }

    private static object? Unwrap(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.Object =>
            element.EnumerateObject().Select(property => KeyValuePair.Create(property.Name, (object?)property.Value)).ToList(),
        JsonValueKind.Array => element.EnumerateArray().Select(item => (object?)item).ToList(),
        JsonValueKind.String => element.GetString(),
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        JsonValueKind.Number => MetricValue.Read(element),
        _ => null,
    };
}
