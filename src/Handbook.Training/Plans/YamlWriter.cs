using System.Collections;
using System.Globalization;
using System.Reflection;
using System.Text;
using Handbook.Base.Keys;
using Handbook.Data.Decontamination;
using Handbook.Training;

namespace Handbook.Training.Plans;

/// <summary>Values as YAML that every parser reads alike, 1.1 and 1.2.</summary>
internal static class YamlWriter
{
    /// <summary>A value on one line.</summary>
    public static string Flow(object? value) => value switch
    {
        null => "null",
        bool truth => truth ? "true" : "false",
        string text => Text(text),
        double number => Number(number),
        StepInterval steps => steps.Value < 1 ? Number(steps.Value) : ((long)steps.Value).ToString(CultureInfo.InvariantCulture),
        Enum name => Text(RecipeNames.Of(name)),
        int or long => Convert.ToString(value, CultureInfo.InvariantCulture)!,
        IDictionary map => Braces(Entries(map)),
        IEnumerable list => $"[{string.Join(", ", list.Cast<object?>().Select(Flow))}]",
        _ => Braces(Properties(value)),
    };

    /// <summary>A value behind <c>key:</c>; several lines where that reads better.</summary>
    public static string Block(object? value, int indent = 0)
    {
        var margin = new string(' ', indent + 2);
        switch (value)
        {
            case string text when Literal(text) is { } header:
                return $" {header}\n{string.Join('\n', text.TrimEnd('\n').Split('\n').Select(line => line.Length == 0 ? "" : margin + line))}";
            case IDictionary { Count: > 0 } map:
                return "\n" + string.Join('\n', Entries(map).Select(entry =>
                    $"{margin}{Text(entry.Key)}:{Block(entry.Value, indent + 2)}"));
            case DatasetMixture or DecontaminationOptions { Against.Count: > 0 }:
                return "\n" + string.Join('\n', Properties(value).Select(p => p.Value is IEnumerable entries and not string
                    ? $"{margin}{p.Key}:\n{string.Join('\n', entries.Cast<object>().Select(entry => $"{margin}  - {Flow(entry)}"))}"
                    : $"{margin}{p.Key}: {Flow(p.Value)}"));
            default:
                return $" {Flow(value)}";
        }
    }

    // the header of a literal block, or null where the text would not survive one
    private static string? Literal(string text)
    {
        if (!text.Contains('\n') || text[0] is ' ' or '\n' || text.Split('\n').Any(line => line.Length > 0 && line[^1] is ' ' or '\t')
            || text.Any(c => char.IsControl(c) && c is not ('\n' or '\t') || c is '\uFEFF' or '\u0085' or '\u2028' or '\u2029'))
            return null;
        var breaks = text.Length - text.TrimEnd('\n').Length;
        return breaks switch { 0 => "|-", 1 => "|", _ => null };
    }

    private static string Braces(IEnumerable<(string Key, object? Value)> entries) =>
        $"{{{string.Join(", ", entries.Select(entry => $"{Text(entry.Key)}: {Flow(entry.Value)}"))}}}";

    private static IEnumerable<(string Key, object? Value)> Properties(object record) =>
        record.GetType().GetProperties(BindingFlags.Public | BindingFlags.Instance)
            .Select(property => (RecipeNames.Key(property.Name), property.GetValue(record)));

    private static IEnumerable<(string Key, object? Value)> Entries(IDictionary map)
    {
        for (var entries = map.GetEnumerator(); entries.MoveNext();)
            yield return ((string)entries.Key, entries.Value);
    }

    // YAML 1.1 takes 2e-05 for a text: a number there has a point and a signed exponent
    private static string Number(double number)
    {
        var text = number.ToString("R", CultureInfo.InvariantCulture).Replace('E', 'e');
        var exponent = text.IndexOf('e');
        var mantissa = exponent < 0 ? text : text[..exponent];
        return (mantissa.Contains('.') ? mantissa : $"{mantissa}.0") + (exponent < 0 ? "" : text[exponent..]);
    }

    private static string Text(string text)
    {
        if (IsPlain(text))
            return text;
        var quoted = new StringBuilder("\"");
        foreach (var c in text)
            quoted.Append(c switch
            {
                '"' => "\\\"",
                '\\' => "\\\\",
                '\n' => "\\n",
                '\t' => "\\t",
                '\r' => "\\r",
                _ when char.IsControl(c) || c is '\u0085' or '\u2028' or '\u2029' or '\uFEFF' => $"\\u{(int)c:x4}",
                _ => c.ToString(),
            });
        return quoted.Append('"').ToString();
    }

    private static bool IsPlain(string text)
    {
        if (text.Length == 0 || !char.IsAsciiLetter(text[0])
            || !text.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-' or '.' or '/'))
            return false;
        return text.ToLowerInvariant() is not ("null" or "none" or "true" or "false" or "yes" or "no" or "on" or "off" or "y" or "n");
    }
}
