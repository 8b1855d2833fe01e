using Handbook.Models.Files;

namespace Handbook.Models.Gguf;

/// <summary>A GGUF file of an architecture, on its way to a config.json.</summary>
/// <param name="file">The file.</param>
/// <param name="architecture">Its architecture, which begins its keys.</param>
internal sealed class GgufReading(GgufFile file, string architecture)
{
    public GgufFile File => file;

    /// <summary>A whole number of the architecture; null where there is none.</summary>
    public int? Whole(string key) => file.Metadata.Whole($"{architecture}.{key}");

    /// <inheritdoc cref="Whole"/>
    public double? Number(string key) => file.Metadata.Number($"{architecture}.{key}");

    /// <inheritdoc cref="Whole"/>
    public string? Text(string key) => file.Metadata.Text($"{architecture}.{key}");

    /// <inheritdoc cref="Whole"/>
    public bool? Flag(string key) => file.Metadata.Flag($"{architecture}.{key}");

    /// <summary>A number that every file of the architecture has.</summary>
    public int Need(string key) => file.Metadata.Need(Whole(key), $"{architecture}.{key}");

    /// <summary>Whether the first layer has a tensor.</summary>
    public bool HasTensor(string name) => file.Find($"blk.0.{name}") is not null;

    /// <summary>A small tensor's values; null where there is none.</summary>
    public float[]? Values(string name)
    {
        if (file.Find(name) is not { } tensor)
            return null;
        var values = new float[tensor.Count];
        file.Read(tensor, 0, values);
        return values;
    }
}
