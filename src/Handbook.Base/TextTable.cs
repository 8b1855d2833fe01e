namespace Handbook.Base;

/// <summary>Tables whose columns stand below each other in a font of one width.</summary>
internal static class TextTable
{
    /// <summary>A line a row, its cells two spaces apart, without spaces at its end.</summary>
    /// <inheritdoc cref="Padded"/>
    public static IEnumerable<string> Lines(IReadOnlyList<string[]> rows, params int[] right) =>
        Padded(rows, right).Select(row => string.Join("  ", row).TrimEnd());

    /// <summary>The same cells, each filled up with spaces to the width of its column.</summary>
    /// <param name="rows">Rows of as many cells.</param>
    /// <param name="right">The columns whose cells end below each other; those of the others begin so.</param>
    public static string[][] Padded(IReadOnlyList<string[]> rows, params int[] right)
    {
        int[] widths = rows.Count == 0 ? [] : [.. rows[0].Select((_, column) => rows.Max(row => row[column].Length))];
        return [.. rows.Select(row => row.Select((cell, column) =>
            right.Contains(column) ? cell.PadLeft(widths[column]) : cell.PadRight(widths[column])).ToArray())];
    }
}
