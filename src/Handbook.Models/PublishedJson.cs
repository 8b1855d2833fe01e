using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Base.Files;

namespace Handbook.Models;

/// <summary>Small JSON files in the Python libraries' layout: two spaces, keys sorted, a line end at the end.</summary>
internal static class PublishedJson
{
    private static readonly JsonWriterOptions _layout = new()
    {
        Indented = true,
        NewLine = "\n",
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping
    };

    /// <summary>The object of a file; null where the file is absent.</summary>
    /// <exception cref="InputException">The file cannot be read or is no JSON object.</exception>
    public static JsonObject? ReadIfThere(string path)
    {
        try
        {
            return PublishedConfig.ParseObject(File.ReadAllBytes(path), path);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"{path} cannot be read: {e.Message}", inner: e);
        }
    }

    public static void Write(string path, JsonObject json) => WholeFile.WriteBytes(path, ToBytes(json));

    public static byte[] ToBytes(JsonObject json)
    {
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream, _layout))
        {
            writer.WriteStartObject();
            foreach (var (key, value) in json.OrderBy(p => p.Key, StringComparer.Ordinal))
            {
                writer.WritePropertyName(key);
                if (value is null)
                    writer.WriteNullValue();
                else
                    value.WriteTo(writer);
            }
            writer.WriteEndObject();
        }
        stream.Write("\n"u8);
        return stream.ToArray();
    }
}
