using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Models.Families;

namespace Handbook.Models;

/// <summary>A model's <c>config.json</c>: the published keys as they stand, the family they belong to and the decoder they describe.</summary>
public sealed class PublishedConfig
{
    private PublishedConfig(JsonObject json, Family family, DecoderConfig decoder) => (Json, Family, Decoder) = (json, family, decoder);

    /// <summary>Every key as it was read, known to us or not.</summary>
    public JsonObject Json { get; }

    public Family Family { get; }

    public DecoderConfig Decoder { get; }

    /// <param name="path">A <c>config.json</c> or the folder that holds it.</param>
    /// <exception cref="InputException">The file is missing, broken, contradicts itself, or describes a family that is not built.</exception>
    public static PublishedConfig Load(string path)
    {
        var file = Directory.Exists(path) ? Path.Combine(path, "config.json") : path;
        try
        {
            return Parse(File.ReadAllBytes(file), file);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new InputException($"{file} does not exist", why: "it describes the model's architecture",
                fix: "name a folder with config.json and model.safetensors", inner: e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"{file} cannot be read: {e.Message}", inner: e);
        }
    }

    /// <param name="utf8">The file's bytes.</param>
    /// <param name="file">Its name, for messages.</param>
    public static PublishedConfig Parse(ReadOnlySpan<byte> utf8, string file)
    {
        var json = ParseObject(utf8, file);
        var reader = new ConfigReader(json, file);
        var modelType = reader.Text("model_type");
        reader.ThrowIfAnyProblem();
        if (modelType is null)
            throw new InputException($"{file}: model_type is missing", why: "it says which architecture the weights belong to",
                fix: $"add it; supported are {string.Join(", ", Family.All.Select(f => f.ModelType))}");
        var family = Family.For(modelType, file);
        var decoder = family.Describe(reader);
        reader.ThrowIfAnyProblem();
        return new(json, family, decoder);
    }

    internal static JsonObject ParseObject(ReadOnlySpan<byte> utf8, string file)
    {
        try
        {
            var start = utf8.StartsWith("\uFEFF"u8) ? 3 : 0;
            if (JsonNode.Parse(utf8[start..], documentOptions: new() { AllowDuplicateProperties = false }) is JsonObject json)
                return json;
        }
        catch (JsonException e)
        {
            throw new InputException($"{file}:{e.LineNumber + 1}:{e.BytePositionInLine + 1}: not valid JSON", fix: "fetch the file again", inner: e);
        }
        throw new InputException($"{file}: must hold a JSON object", fix: "fetch the file again");
    }
}
