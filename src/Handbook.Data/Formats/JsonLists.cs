using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;
using Handbook.Data.Sources;

namespace Handbook.Data.Formats;

/// <summary>Puts JSON values together, as deep as rows may be: the serializer stops at 64 levels.</summary>
internal static class JsonLists
{
    private static readonly JsonWriterOptions s_writing = new()
    {
        MaxDepth = JsonOptions.Document.MaxDepth,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping
    };

    /// <summary>A list of values, each as it is written.</summary>
    public static JsonElement Of(params IEnumerable<JsonElement> values)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, s_writing))
        {
            json.WriteStartArray();
            foreach (var value in values)
                value.WriteTo(json);
            json.WriteEndArray();
        }
        return JsonDocument.Parse(buffer.WrittenMemory, JsonOptions.Document).RootElement;
    }
}
