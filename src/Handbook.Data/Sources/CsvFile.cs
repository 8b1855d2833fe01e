using System.Buffers;
using System.Text.Json;
using System.Text.Unicode;
using Handbook.Base;

namespace Handbook.Data.Sources;

/// <summary>Comma- or tab-separated values with a header line, quoted as in RFC 4180: fields in quotes may hold separators, doubled
/// quotes and line ends.</summary>
internal static class CsvFile
{
    public static IEnumerable<SourceRow> Read(FileInput input, byte separator)
    {
        var name = input.Name;
        using var lines = input.Lines();
        var fields = new List<byte[]?>();
        if (!NextRecord(lines, name, separator, fields, out _))
            throw new InputException($"{name}: is empty", fix: "the first line must name the columns");
        var columns = Columns(fields, name);
        RequireSeparator(columns, name, separator);
        for (long row = 1; NextRecord(lines, name, separator, fields, out var line); row++)
        {
            var place = new SourceRow { File = name, Row = row, Line = line };
            yield return fields.Count == columns.Length
                ? place with { Value = ToObject(columns, fields) }
                : place with
                {
                    Problem = new("wrong number of fields", $"{fields.Count} fields, but the header names {columns.Length} columns",
                        Excerpt.Of(string.Join((char)separator,
                            fields.Select(field => field is null ? "" : System.Text.Encoding.UTF8.GetString(field))))),
                };
        }
    }

    /// <summary>A header of one column that holds the mark of another kind of table was separated by that one.</summary>
    private static void RequireSeparator(string[] columns, string name, byte separator)
    {
        if (columns[0].StartsWith("sep=", StringComparison.Ordinal) && columns.Length <= 2)
            throw new InputException(
                $"{name}:1: begins with \"{columns[0]}\", the mark of a spreadsheet, and not with the names of columns",
                fix: "remove the line, and write the file with commas (or with tabs and the ending .tsv)");
        if (columns is not [var only]
            || "\t;|,".FirstOrDefault(mark => mark != separator && only.Contains(mark)) is not (var other and not (char)0))
            return;
        var (found, wanted) = (Name(other), Name((char)separator));
        throw new InputException($"{name}:1: the header holds {found} and no {wanted}: {Excerpt.Of(only)}",
            $"a {Path.GetExtension(TextFile.WithoutCompression(name))} file has its columns separated by {wanted}",
            other switch
            {
                '\t' => $"it is a .tsv file: mv {name} {Renamed(".tsv")}",
                ',' => $"it is a .csv file: mv {name} {Renamed(".csv")}",
                _ => $"the separator is \"{other}\": save the file with commas, or with tabs and the ending .tsv; a README.md beside it "
                    + "may name it instead: "
                    + $"configs: [{{config_name: default, data_files: {Path.GetFileName(name)}, sep: \"{other}\"}}], and the folder is "
                        + "then the data set",
            });

        static string Name(char mark) => mark switch { '\t' => "tabs", ';' => "semicolons", ',' => "commas", _ => "vertical bars" };

        string Renamed(string ending) => TextFile.WithoutCompression(name) is var plain
            ? Path.ChangeExtension(plain, ending) + name[plain.Length..] : name;
    }

    private static string[] Columns(List<byte[]?> fields, string name)
    {
        var columns = new string[fields.Count];
        for (var i = 0; i < columns.Length; i++)
        {
            columns[i] = System.Text.Encoding.UTF8.GetString(fields[i] ?? []).Trim();
            if (Array.IndexOf(columns, columns[i], 0, i) >= 0)
                throw new InputException($"{name}:1: the header names the column \"{columns[i]}\" twice",
                    fix: "give each column its own name");
        }
        return columns;
    }

    /// <summary>Reads one record; an empty field without quotes is null.</summary>
    private static bool NextRecord(LineReader lines, string name, byte separator, List<byte[]?> fields, out long firstLine)
    {
        fields.Clear();
        firstLine = 0;
        ReadOnlySpan<byte> line;
        do
        {
            if (!lines.TryRead(out line))
                return false;
        }
        while (line.IsEmpty);
        firstLine = lines.Line;
        Check(line, name, lines.Line);

        var field = new ArrayBufferWriter<byte>();
        while (true)
        {
            field.Clear();
            if (line is not [(byte)'"', ..])
            {
                var end = line.IndexOf(separator);
                var text = end < 0 ? line : line[..end];
                fields.Add(text.IsEmpty ? null : text.ToArray());
                if (end < 0)
                    return true;
                line = line[(end + 1)..];
                continue;
            }
            line = line[1..];
            while (true)
            {
                var quote = line.IndexOf((byte)'"');
                if (quote < 0)
                {
                    field.Write(line);
                    field.Write("\n"u8);
                    if (!lines.TryRead(out line))
                        throw new InputException($"{name}:{firstLine}: a quote is opened and never closed; the file ends inside the field",
                            fix: "close it, or double quotes that are part of the text: \"\"");
                    Check(line, name, lines.Line);
                    continue;
                }
                field.Write(line[..quote]);
                line = line[(quote + 1)..];
                if (line is not [(byte)'"', ..])
                    break;
                field.Write("\""u8);
                line = line[1..];
            }
            // After the closing quote: what stands before the separator belongs to the field, as Python's reader has it.
            var next = line.IndexOf(separator);
            field.Write(next < 0 ? line : line[..next]);
            fields.Add(field.WrittenSpan.ToArray());
            if (next < 0)
                return true;
            line = line[(next + 1)..];
        }
    }

    private static void Check(ReadOnlySpan<byte> line, string name, long number)
    {
        if (!Utf8.IsValid(line))
            throw TextFile.NotUtf8(name, number, line);
    }

    private static JsonElement ToObject(string[] columns, List<byte[]?> fields)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            for (var i = 0; i < columns.Length; i++)
                if (fields[i] is { } field)
                    writer.WriteString(columns[i], field);
                else
                    writer.WriteNull(columns[i]);
            writer.WriteEndObject();
        }
        return JsonDocument.Parse(buffer.WrittenMemory).RootElement;
    }
}
