using System.Text.Json;

namespace Handbook.Data.Formats;

/// <summary>The right answer that a row has beside its prompt, for those who compare with it.</summary>
internal static class ReferenceAnswer
{
    private static readonly string[] s_usual = ["answer", "reference", "solution", "expected", "target"];

    /// <summary>Its text, or null where the row has none.</summary>
    /// <param name="column">The column that the recipe names; null takes the first of the usual ones that the row has.</param>
    public static string? Of(JsonElement row, string? column) =>
        (column is null ? s_usual : [column]).Select(name => Plain(row, name)).FirstOrDefault(text => text is not null);

    /// <summary>Why a row has no right answer.</summary>
    /// <param name="column">The column that the recipe names; null where it names none.</param>
    public static string Missing(JsonElement row, string? column) =>
        (column is null ? $"none of the columns {string.Join(", ", s_usual)} holds a text or a number"
            : $"{column}, which reference_column names, holds no text or number")
        + $"; the row has {string.Join(", ", row.EnumerateObject().Select(entry => entry.Name))}";

    /// <summary>What to do about it.</summary>
    public const string Fix = "name the column with the right answers in reference_column, correct these rows, or take a scorer that "
        + "compares with none";

    private static string? Plain(JsonElement row, string name) =>
        row.TryGetProperty(name, out var value)
            && value.ValueKind is JsonValueKind.String or JsonValueKind.Number or JsonValueKind.True or JsonValueKind.False
            ? value.ToString() : null;
}
