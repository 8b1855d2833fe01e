using System.Text.Json;
using Handbook.Base;

namespace Handbook.Data.Sources;

/// <summary>A <c>.json</c> file: a list of objects, an object that holds such a list, or in truth one object a line. Read as a stream.</summary>
internal static class JsonFile
{
    // A file that is one object is one row where it has one of these columns, even if that is a list of objects.
    private static readonly HashSet<string> _rowColumns = ["messages", "conversations", "prompt", "completion", "chosen", "rejected", "text", "instruction"];

    /// <param name="input">The file.</param>
    /// <param name="split">Where the file is an object of several lists, the name of the one that is wanted.</param>
    public static IEnumerable<SourceRow> Read(FileInput input, string? split)
    {
        var (first, isLines) = Look(input);
        if (isLines)
            return JsonLinesFile.Read(input);
        return first switch
        {
            (byte)'[' => ReadList(input, null),
            (byte)'{' => ReadObject(input, split),
            0 => throw new InputException($"{input.Name}: is empty", fix: "check how it was made; a JSON data file is a list of objects: [{\"text\": \"…\"}, …]"),
            _ => throw new InputException($"{input.Name}: begins with '{(char)first}', but a JSON data file is a list of objects or an object that holds one", fix: "check that it is JSON; for plain text use the ending .txt"),
        };
    }

    /// <summary>The first byte that is not blank, and whether the file is one object a line.</summary>
    private static (byte First, bool IsLines) Look(FileInput input)
    {
        using var lines = input.Lines();
        byte first = 0;
        while (lines.TryRead(out var line))
        {
            var text = line.Trim(" \t\r"u8);
            if (text.IsEmpty)
                continue;
            if (first != 0)
                return (first, text[0] == '{');
            first = text[0];
            if (first != '{' || text[^1] != '}' || !IsWhole(text))
                return (first, false);
        }
        return (first, false);

        static bool IsWhole(ReadOnlySpan<byte> text)
        {
            var reader = new Utf8JsonReader(text, JsonOptions.Reader);
            try
            {
                while (reader.Read()) { }
                return true;
            }
            catch (JsonException)
            {
                return false;
            }
        }
    }

    private static IEnumerable<SourceRow> ReadObject(FileInput input, string? split)
    {
        List<string> lists;
        using (var stream = new JsonStream(TextFile.OpenUtf8(input), input.Name))
            lists = stream.ListsOfObjects();
        if (lists.Exists(_rowColumns.Contains))
            lists = [];
        if (lists.Count == 0)
            return JsonLinesFileOfOne(input);
        var chosen = split is not null && lists.Contains(split) ? split : lists.Count == 1 ? lists[0] : null;
        return chosen is null
            ? throw new InputException($"{input.Name}: holds the lists {string.Join(", ", lists)}, and none is named \"{split}\"", fix: $"name one as the split, e.g. split: {lists[0]}")
            : ReadList(input, chosen);
    }

    private static IEnumerable<SourceRow> JsonLinesFileOfOne(FileInput input)
    {
        using var stream = TextFile.OpenUtf8(input);
        using var memory = new MemoryStream();
        stream.CopyTo(memory);
        yield return JsonLinesFile.Parse(memory.ToArray(), new SourceRow { File = input.Name, Row = 1 });
    }

    private static IEnumerable<SourceRow> ReadList(FileInput input, string? property)
    {
        using var stream = new JsonStream(TextFile.OpenUtf8(input), input.Name);
        stream.EnterList(property);
        long row = 0;
        while (stream.NextElement() is { } value)
        {
            var place = new SourceRow { File = input.Name, Row = ++row };
            yield return value.ValueKind == JsonValueKind.Object
                ? place with { Value = value }
                : place with { Problem = new("not an object", $"the row is {JsonOptions.Name(value.ValueKind)}", Excerpt.Of(value.GetRawText())) };
        }
    }
}
