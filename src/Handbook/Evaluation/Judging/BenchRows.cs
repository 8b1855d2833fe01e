using System.Text.Json;
using Handbook.Base;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;

namespace Handbook.Evaluation.Judging;

/// <summary>A row of a file of questions, answers or judgements, read with messages that name its place.</summary>
/// <param name="Value">The row, an object.</param>
/// <param name="Place">Where it stands.</param>
internal readonly record struct BenchRow(JsonElement Value, string Place)
{
    /// <summary>The rows of a file of any format that data sets have.</summary>
    /// <param name="path">The file.</param>
    /// <param name="option">What named it, for the message.</param>
    /// <exception cref="InputException">It is not there, a row cannot be read, or it holds none.</exception>
    public static IReadOnlyList<BenchRow> Read(string path, string option)
    {
        if (!File.Exists(path))
            throw new InputException($"{option} {path} is not there", fix: "name a file that exists");
        var rows = new List<BenchRow>();
        foreach (var row in Dataset.Open(new DatasetSpec { Id = path }).Read())
        {
            if (row.Problem is { Reason: PlainTextFile.BlankLine })
                continue;
            if (row.Problem is { } problem)
                throw new InputException($"{row.Place}: {problem.Reason}{(problem.Detail.Length > 0 ? $": {problem.Detail}" : "")}",
                    fix: problem.Fix ?? "mend the row, or remove it");
            rows.Add(new(row.Value, row.Place));
        }
        return rows.Count > 0 ? rows : throw new InputException($"{option} {path} holds no row", fix: "name the whole file");
    }

    /// <summary>A column's text.</summary>
    /// <exception cref="InputException">There is none.</exception>
    public string Text(string column) => Value.TryGetProperty(column, out var value) && value.ValueKind == JsonValueKind.String
        ? value.GetString()! : throw Missing(column, "a text");

    /// <summary>A column's text; null where it has none.</summary>
    public string? TextOrNull(string column) =>
        Value.TryGetProperty(column, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    /// <summary>A column's whole number.</summary>
    /// <exception cref="InputException">There is none.</exception>
    public int Whole(string column) => Value.TryGetProperty(column, out var value) && value.ValueKind == JsonValueKind.Number
        && value.TryGetDouble(out var number) && number == Math.Floor(number) && Math.Abs(number) <= int.MaxValue
        ? (int)number : throw Missing(column, "a whole number");

    /// <summary>A column's number; NaN where it is empty.</summary>
    /// <exception cref="InputException">It is something else.</exception>
    public double Number(string column)
    {
        if (!Value.TryGetProperty(column, out var value) || value.ValueKind == JsonValueKind.Null)
            return double.NaN;
        if (value.ValueKind == JsonValueKind.Number)
            return value.GetDouble();
        var text = value.ValueKind == JsonValueKind.String ? value.GetString()!.Trim() : null;
        return text is "" ? double.NaN
            : double.TryParse(text, System.Globalization.CultureInfo.InvariantCulture, out var number) ? number
            : throw Missing(column, "a number");
    }

    /// <summary>A column's list of texts.</summary>
    /// <exception cref="InputException">It has none, or one that is empty.</exception>
    public IReadOnlyList<string> Texts(string column)
    {
        if (!Value.TryGetProperty(column, out var list) || list.ValueKind != JsonValueKind.Array || list.GetArrayLength() == 0
            || list.EnumerateArray().Any(text => text.ValueKind != JsonValueKind.String))
            throw Missing(column, "a list of texts");
        return [.. list.EnumerateArray().Select(text => text.GetString()!)];
    }

    public InputException Missing(string column, string what) => new($"{Place}: \"{column}\" is not {what}",
        $"the row has {string.Join(", ", Value.EnumerateObject().Select(property => property.Name))}", "mend the row, or name another file");
}
