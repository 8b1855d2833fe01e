using System.Text.Json;
using Handbook.Data.Formats;

namespace Handbook.Data.Decontamination;

/// <summary>A text of a row.</summary>
/// <param name="Where">Its column and place there, e.g. <c>messages[1].content</c>.</param>
internal readonly record struct PlacedText(string Where, string Text);

/// <summary>Every text of a row, however deep it stands: prompts, answers, all turns, what tools said.</summary>
internal static class RowTexts
{
    private static readonly (string First, string Second)[] s_joined = [("prompt", "completion"), ("prompt", "chosen"), ("prompt", "rejected")];

    /// <summary>The texts, in the order of the columns.</summary>
    /// <param name="row">An object with the row's columns.</param>
    /// <param name="reads">Whether a column counts; null lets all count.</param>
    public static IEnumerable<PlacedText> Of(JsonElement row, Func<string, bool>? reads = null) =>
        row.EnumerateObject().Where(column => reads?.Invoke(column.Name) != false).SelectMany(column => Within(column.Name, column.Value));

    /// <summary>The texts as they are learnt: those that follow one another without a border count as one as well, since what is looked
    /// for may stand across.</summary>
    /// <param name="nameOf">What the rows call one of our columns; null where they call it the same.</param>
    /// <inheritdoc cref="Of"/>
    public static IEnumerable<PlacedText> AsLearnt(JsonElement row, Func<string, bool>? reads = null, Func<string, string>? nameOf = null)
    {
        foreach (var text in Of(row, reads))
            yield return text;
        foreach (var (first, second) in s_joined)
            if (Plain(first) is { } before && Plain(second) is { } after)
                yield return new($"{nameOf?.Invoke(first) ?? first} + {nameOf?.Invoke(second) ?? second}", before + after);

        string? Plain(string name)
        {
            name = nameOf?.Invoke(name) ?? name;
            return reads?.Invoke(name) != false && row.TryGetProperty(name, out var value)
                && ChatTurns.Parsed(value) is { ValueKind: JsonValueKind.String } text ? text.GetString() : null;
        }
    }

    /// <summary>Whether a text says who speaks a turn.</summary>
    /// <param name="where">The text's place.</param>
    public static bool IsRole(string where) =>
        where.EndsWith("].role", StringComparison.Ordinal) || where.EndsWith("].from", StringComparison.Ordinal);

    private static IEnumerable<PlacedText> Within(string where, JsonElement value)
    {
        // Some sets keep lists as texts.
        value = ChatTurns.Parsed(value);
        return value.ValueKind switch
        {
            JsonValueKind.String => [new(where, value.GetString()!)],
            JsonValueKind.Array => value.EnumerateArray().Index().SelectMany(item => Within($"{where}[{item.Index}]", item.Item)),
            JsonValueKind.Object => value.EnumerateObject().SelectMany(field => Within($"{where}.{field.Name}", field.Value)),
            _ => [],
        };
    }
}
