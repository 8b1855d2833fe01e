using System.Text.Json;
using System.Text.Unicode;
using Handbook.Base;

namespace Handbook.Data.Sources;

/// <summary>One JSON object a line. A line that cannot be read is a row with a problem; the rows after it are read.</summary>
internal static class JsonLinesFile
{
    public static IEnumerable<SourceRow> Read(FileInput input)
    {
        using var lines = input.Lines();
        long row = 0;
        while (Next(lines, input.Name, ref row) is { } next)
            yield return next;
    }

    private static SourceRow? Next(LineReader lines, string name, ref long row)
    {
        while (lines.TryRead(out var line))
        {
            if (line.Trim(" \t\r"u8).IsEmpty)
                continue;
            return Parse(line.ToArray(), new SourceRow { File = name, Row = ++row, Line = lines.Line });
        }
        return null;
    }

    /// <summary>The row with its value, or with the reason why it has none.</summary>
    internal static SourceRow Parse(byte[] text, SourceRow row)
    {
        if (!Utf8.IsValid(text))
            return row with
            {
                Problem = new("not UTF-8",
                $"byte 0x{text[TextFile.FirstInvalid(text)]:X2} at column {TextFile.FirstInvalid(text) + 1}", Excerpt.Of(text))
                {
                    Fix = TextFile.EncodingFix(row.File),
                }
            };
        try
        {
            var value = JsonDocument.Parse(text, JsonOptions.Document).RootElement;
            return value.ValueKind == JsonValueKind.Object
                ? row with { Value = value }
                : row with { Problem = new("not an object", $"the row is {JsonOptions.Name(value.ValueKind)}", Excerpt.Of(text)) };
        }
        catch (JsonException failure)
        {
            if (BareNumbers.Replace(text) is { } mended)
                return Parse(mended, row);
            return row with
            {
                Problem = new("broken JSON",
                $"column {failure.BytePositionInLine + 1}: {JsonMistake.Of(failure)}", Excerpt.Of(text))
            };
        }
    }
}

/// <summary>How data files' JSON is read.</summary>
internal static class JsonOptions
{
    public static JsonDocumentOptions Document { get; } = new() { MaxDepth = 512 };

    public static JsonReaderOptions Reader { get; } = new() { MaxDepth = 512 };

    public static string Name(JsonValueKind kind) => kind switch
    {
        JsonValueKind.Object => "an object",
        JsonValueKind.Array => "a list",
        JsonValueKind.String => "a text",
        JsonValueKind.Number => "a number",
        JsonValueKind.True or JsonValueKind.False => "true or false",
        JsonValueKind.Null => "null",
        _ => "absent",
    };
}
