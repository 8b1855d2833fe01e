using System.Text.Json;
using Handbook.Base;

namespace Handbook.Data.Sources;

/// <summary>JSON, whatever its file is called: one object a line, a list of objects, an object that holds such a list, or objects
/// over several lines.</summary>
/// <remarks>The first lines say which it is: published files are named .json and .jsonl with little care.</remarks>
internal static class JsonFile
{
    // A file that is one object is one row where it has one of these columns, even if that is a list of objects.
    private static readonly HashSet<string> _rowColumns =
        ["messages", "conversations", "prompt", "completion", "chosen", "rejected", "text", "instruction", "input_ids", "answers"];

    private enum Form { Empty, Lines, List, Objects, Other }

    /// <summary>How far a line gets as JSON by itself.</summary>
    private enum Line { Whole, Unfinished, Broken }

    /// <param name="input">The file.</param>
    /// <param name="split">Where the file is an object of several lists, the name of the one that is wanted.</param>
    /// <param name="isNamedLines">Whether its name says that it has one object a line; then a line that is
    /// broken costs only itself.</param>
    public static IEnumerable<SourceRow> Read(FileInput input, string? split, bool isNamedLines) =>
        FormOf(input, isNamedLines, out var first) switch
        {
            Form.Lines => JsonLinesFile.Read(input),
            Form.List => ReadValues(input, null),
            Form.Objects => ReadObjects(input, split),
            Form.Empty => throw new InputException($"{input.Name}: is empty",
                fix: "check how it was made; a JSON data file is a list of objects: [{\"text\": \"…\"}, …]"),
            _ => throw new InputException($"{input.Name}: begins with '{(char)first}', but a JSON data file is a list of objects "
                + "or an object "
                + "that holds one",
                fix: "check that it is JSON; for plain text use the ending .txt"),
        };

    private static Form FormOf(FileInput input, bool isNamedLines, out byte first)
    {
        first = 0;
        using var lines = input.Lines();
        if (!NextLine(lines, out var text))
            return isNamedLines ? Form.Lines : Form.Empty;
        first = text[0];
        if (first is not ((byte)'{' or (byte)'['))
            return isNamedLines ? Form.Lines : Form.Other;
        var isList = first == '[';
        var holdsRows = isList && text[1..].TrimStart(" \t"u8) is [(byte)'{', ..];
        var line = Look(text);
        var next = NextLine(lines, out text) ? text[0] : (byte)0;
        if (isList)
            return line == Line.Whole && !holdsRows && next is (byte)'[' or (byte)'{' ? Form.Lines : Form.List;
        return line switch
        {
            Line.Whole => next == '{' || isNamedLines ? Form.Lines : Form.Objects,
            // Of a line that was cut off, the next one begins anew; an object over several lines goes on with its first name.
            Line.Unfinished => isNamedLines && next is (byte)'{' or 0 ? Form.Lines : Form.Objects,
            _ => isNamedLines ? Form.Lines : Form.Objects,
        };
    }

    /// <summary>The next line that is not blank, without blanks around it.</summary>
    private static bool NextLine(LineReader lines, out ReadOnlySpan<byte> text)
    {
        while (lines.TryRead(out text))
            if (!(text = text.Trim(" \t\r"u8)).IsEmpty)
                return true;
        return false;
    }

    private static Line Look(ReadOnlySpan<byte> text)
    {
        if (BareNumbers.Replace(text) is { } mended)
            text = mended;
        var reader = new Utf8JsonReader(text, isFinalBlock: false, new JsonReaderState(JsonOptions.Reader));
        try
        {
            while (reader.Read()) { }
            return reader is { CurrentDepth: 0, TokenType: JsonTokenType.EndObject or JsonTokenType.EndArray }
                && reader.BytesConsumed == text.Length ? Line.Whole : Line.Unfinished;
        }
        catch (JsonException)
        {
            return Line.Broken;
        }
    }

    private static IEnumerable<SourceRow> ReadObjects(FileInput input, string? split)
    {
        List<string> lists;
        using (var stream = Open(input))
            lists = stream.ListsOfObjects();
        if (lists.Count == 0 || lists.Exists(_rowColumns.Contains))
            return ReadValues(input, null);
        var chosen = split is not null && lists.Contains(split) ? split : lists.Count == 1 ? lists[0] : null;
        return chosen is null
            ? throw new InputException($"{input.Name}: holds the lists {string.Join(", ", lists)}, and none is named \"{split}\"",
                fix: $"name one as the split, e.g. split: {lists[0]}")
            : ReadValues(input, chosen);
    }

    /// <param name="property">The property of the top object whose elements are rows; null where the file is a list, or
    /// rows one after the other.</param>
    private static IEnumerable<SourceRow> ReadValues(FileInput input, string? property)
    {
        using var stream = Open(input);
        if (property is not null)
            stream.EnterList(property);
        long row = 0;
        while (stream.NextElement() is { } value)
        {
            var place = new SourceRow { File = input.Name, Row = ++row };
            yield return value.ValueKind == JsonValueKind.Object
                ? place with { Value = value }
                : place with
                {
                    Problem = new("not an object", $"the row is {JsonOptions.Name(value.ValueKind)}",
                    Excerpt.Of(value.GetRawText()))
                };
        }
    }

    private static JsonStream Open(FileInput input) => new(new BareNumberStream(TextFile.OpenUtf8(input)), input.Name);
}
