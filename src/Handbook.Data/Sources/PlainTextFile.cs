using System.Buffers;
using System.Text.Json;
using System.Text.Unicode;
using Handbook.Base.Keys;

namespace Handbook.Data.Sources;

/// <summary>What makes a row of a plain text file.</summary>
public enum TextUnit
{
    /// <summary>Each line, as the Python library has it. Blank lines are rows without text, which are passed over.</summary>
    [Spelled("line")] Line,
    /// <summary>Lines up to the next blank line.</summary>
    [Spelled("paragraph")] Paragraph,
    /// <summary>The whole file.</summary>
    [Spelled("document")] Document,
}

/// <summary>Plain text; the one column is <c>text</c>.</summary>
internal static class PlainTextFile
{
    /// <summary>The reason of blank lines; they are part of the format and do not count as unusable.</summary>
    public const string BlankLine = "blank line";

    public static IEnumerable<SourceRow> Read(FileInput input, TextUnit unit)
    {
        var name = input.Name;
        using var lines = input.Lines();
        var text = new ArrayBufferWriter<byte>();
        long row = 0, first = 0;
        while (Append(lines, name, text))
        {
            if (first == 0)
                first = lines.Line;
            var isBlank = unit != TextUnit.Document && IsBlank(text.WrittenSpan, unit);
            if (unit == TextUnit.Document || (unit == TextUnit.Paragraph && !isBlank))
                continue;
            if (unit == TextUnit.Line && isBlank)
                yield return new SourceRow { File = name, Row = ++row, Line = first, Problem = new(BlankLine, "", "") };
            else if (ToRow(text, name, row + 1, first) is { } found)
            {
                row++;
                yield return found;
            }
            text.Clear();
            first = 0;
        }
        if (first > 0 && ToRow(text, name, row + 1, first) is { } last)
            yield return last;
    }

    private static bool Append(LineReader lines, string name, ArrayBufferWriter<byte> text)
    {
        if (!lines.TryRead(out var line))
            return false;
        if (!Utf8.IsValid(line))
            throw TextFile.NotUtf8(name, lines.Line, line);
        text.Write(line);
        text.Write("\n"u8);
        return true;
    }

    private static bool IsBlank(ReadOnlySpan<byte> text, TextUnit unit) =>
        unit == TextUnit.Line ? text.Trim(" \t\r\n"u8).IsEmpty : text is [(byte)'\n'] || text.EndsWith("\n\n"u8);

    private static SourceRow? ToRow(ArrayBufferWriter<byte> text, string name, long row, long line)
    {
        var span = text.WrittenSpan.TrimEnd((byte)'\n');
        if (span.IsEmpty)
            return null;
        var buffer = new ArrayBufferWriter<byte>(span.Length + 32);
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            writer.WriteString("text"u8, span);
            writer.WriteEndObject();
        }
        return new SourceRow { File = name, Row = row, Line = line, Value = JsonDocument.Parse(buffer.WrittenMemory).RootElement };
    }
}
