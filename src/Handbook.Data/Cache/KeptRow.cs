using System.Buffers;
using System.Runtime.InteropServices;
using System.Text.Json;
using Handbook.Data.Sources;

namespace Handbook.Data.Cache;

/// <summary>A row of a file in the form in which it is kept beside its tokens: a JSON object of its file, place and columns.</summary>
internal static class KeptRow
{
    public static ReadOnlySpan<byte> Write(SourceRow row)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteString("file"u8, row.File);
            json.WriteNumber("row"u8, row.Row);
            json.WriteNumber("line"u8, row.Line);
            json.WritePropertyName("value"u8);
            json.WriteRawValue(JsonMarshal.GetRawUtf8Value(row.Value), skipInputValidation: true);
            json.WriteEndObject();
        }
        return buffer.WrittenSpan;
    }

    public static SourceRow Read(ReadOnlySpan<byte> kept)
    {
        var row = JsonDocument.Parse(kept.ToArray(), JsonOptions.Document).RootElement;
        return new()
        {
            File = row.GetProperty("file").GetString()!,
            Row = row.GetProperty("row").GetInt64(),
            Line = row.GetProperty("line").GetInt64(),
            Value = row.GetProperty("value"),
        };
    }
}
