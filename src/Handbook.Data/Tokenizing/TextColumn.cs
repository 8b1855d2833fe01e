using System.IO.Compression;
using System.Text.Json;
using Handbook.Base;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;

namespace Handbook.Data.Tokenizing;

/// <summary>The texts of data files: a column, or the turns of conversations.</summary>
internal static class TextColumn
{
    private static readonly string[] Conversations = ["messages", "conversations"];

    /// <summary>Reads every text of a file or folder in any format that data sets may have; a JSONL file may also
    /// hold plain strings.</summary>
    /// <param name="column">The column with the text; where a row has none, its <c>messages</c> are taken.</param>
    /// <exception cref="InputException">A row holds neither.</exception>
    public static IEnumerable<string> Read(string path, string column = "text")
    {
        if (HoldsStrings(path))
            return ReadStrings(path);
        return ReadRows(path, column);
    }

    private static IEnumerable<string> ReadRows(string path, string column)
    {
        var source = Dataset.Open(new DatasetSpec { Id = path, TextUnit = TextUnit.Document });
        foreach (var row in source.Read())
        {
            if (row.Problem is { } problem)
                throw new InputException(
                    $"{row.Place}: {problem.Reason}{(problem.Detail.Length > 0 ? $", {problem.Detail}" : "")}: {problem.Excerpt}",
                    fix: "repair or remove that row");
            foreach (var text in Texts(row, column))
                yield return text;
        }
    }

    private static bool HoldsStrings(string path)
    {
        if (!File.Exists(path) || DataFile.FormatOf(path) != DataFormat.JsonLines
            || path.EndsWith(".zst", StringComparison.OrdinalIgnoreCase))
            return false;
        using var reader = Open(path);
        return reader.Peek() == '"';
    }

    private static IEnumerable<string> ReadStrings(string path)
    {
        using var reader = Open(path);
        for (var line = 1; reader.ReadLine() is { } text; line++)
            if (text.Length > 0)
                yield return Parse(text, path, line);
    }

    private static string Parse(string line, string path, int number)
    {
        try
        {
            return JsonSerializer.Deserialize<string>(line) ?? "";
        }
        catch (JsonException broken)
        {
            throw new InputException($"{path}:{number} is not a JSON string", "the first line of the file is one, so every line must be",
                "give each line the form \"text\" or {\"text\": \"…\"}", broken);
        }
    }

    private static StreamReader Open(string path)
    {
        var file = File.OpenRead(path);
        return new(path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) ? new GZipStream(file, CompressionMode.Decompress) : file);
    }

    private static IEnumerable<string> Texts(SourceRow row, string column)
    {
        if (row.Value.TryGetProperty(column, out var value) && value.ValueKind == JsonValueKind.String)
            return [value.GetString()!];
        foreach (var name in Conversations)
            if (row.Value.TryGetProperty(name, out var turns) && turns.ValueKind == JsonValueKind.Array)
                return turns.EnumerateArray().Select(Content).OfType<string>();
        throw new InputException($"{row.Place} has no text in the column \"{column}\", and no messages; its columns "
            + $"are {string.Join(", ", row.Value.EnumerateObject().Select(member => member.Name))}",
            fix: $"name the column: --column {row.Value.EnumerateObject().Select(member => member.Name).FirstOrDefault("text")}");
    }

    private static string? Content(JsonElement turn) =>
        turn.ValueKind == JsonValueKind.Object
            && (turn.TryGetProperty("content", out var content) || turn.TryGetProperty("value", out content))
            && content.ValueKind == JsonValueKind.String
            ? content.GetString() : null;
}
