using System.Text.Json;
using Handbook.Base;

namespace Handbook.Text.Tokenizers;

/// <summary>A place in tokenizer.json, which knows its path for messages.</summary>
internal readonly record struct ConfigNode(JsonElement Json, string Path)
{
    public bool IsObject => Json.ValueKind == JsonValueKind.Object;

    public bool IsNull => Json.ValueKind is JsonValueKind.Null or JsonValueKind.Undefined;

    /// <summary>The child of that name, or null where it is absent or null.</summary>
    public ConfigNode? Find(string name) =>
        IsObject && Json.TryGetProperty(name, out var child) && child.ValueKind != JsonValueKind.Null ? new(child, $"{Path}.{name}") : null;

    public ConfigNode Need(string name) =>
        Find(name) ?? throw new InputException($"{Path} has no \"{name}\"", "the component cannot work without it",
            "compare the file with the published tokenizer.json");

    public string Text(string name) => Need(name).AsText();

    public string Text(string name, string otherwise) => Find(name)?.AsText() ?? otherwise;

    public bool Flag(string name) => Need(name).AsFlag();

    public bool Flag(string name, bool otherwise) => Find(name)?.AsFlag() ?? otherwise;

    public int Number(string name) => Need(name).AsNumber();

    public int Number(string name, int otherwise) => Find(name)?.AsNumber() ?? otherwise;

    public string AsText() => Json.ValueKind == JsonValueKind.String ? Json.GetString()! : throw Wrong("a string");

    public bool AsFlag() => Json.ValueKind switch
    {
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => throw Wrong("true or false"),
    };

    public int AsNumber() => Json.ValueKind == JsonValueKind.Number && Json.TryGetInt32(out var number) && number >= 0 ? number
        : throw Wrong("a whole number of at least 0");

    public IEnumerable<ConfigNode> Items()
    {
        if (Json.ValueKind != JsonValueKind.Array)
            throw Wrong("a list");
        return Each(Json, Path);

        static IEnumerable<ConfigNode> Each(JsonElement json, string path)
        {
            var index = 0;
            foreach (var item in json.EnumerateArray())
                yield return new(item, $"{path}[{index++}]");
        }
    }

    public IEnumerable<(string Name, ConfigNode Value)> Members()
    {
        if (!IsObject)
            throw Wrong("an object");
        return Each(Json, Path);

        static IEnumerable<(string, ConfigNode)> Each(JsonElement json, string path)
        {
            foreach (var member in json.EnumerateObject())
                yield return (member.Name, new(member.Value, path));
        }
    }

    public InputException Wrong(string expected) => new($"{Path} is {Shown}, but must be {expected}");

    /// <summary>The value as it stands in the file, shortened.</summary>
    public string Shown
    {
        get
        {
            var raw = Json.ValueKind == JsonValueKind.Undefined ? "absent" : Json.GetRawText();
            return raw.Length > 60 ? raw[..60] + "…" : raw;
        }
    }
}
