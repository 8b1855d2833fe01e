using System.Text.Json;

namespace Handbook.Text.Tokenizers;

/// <summary>Describes the components of a tokenizer.json in a line each.</summary>
internal static class TokenizerParts
{
    private static readonly string[] Names = ["normalizer", "pre_tokenizer", "model", "post_processor", "decoder"];
    private static readonly string[] Lists = ["normalizers", "pretokenizers", "processors", "decoders"];

    public static IReadOnlyList<(string, string)> Of(TokenizerFolder files)
    {
        using var document = TokenizerFolder.Parse(files.Tokenizer, files.Name);
        return [.. Names.Select(name => (name, document.RootElement.TryGetProperty(name, out var part) ? Describe(part) : "none"))];
    }

    private static string Describe(JsonElement part)
    {
        if (part.ValueKind != JsonValueKind.Object)
            return "none";
        var type = part.TryGetProperty("type", out var named) ? named.GetString()!
            : part.TryGetProperty("merges", out _) ? "BPE" : "Unigram";
        foreach (var list in Lists)
            if (part.TryGetProperty(list, out var steps) && steps.ValueKind == JsonValueKind.Array)
                return $"{type}({string.Join(", ", steps.EnumerateArray().Select(Describe))})";
        var details = part.EnumerateObject().Where(member => member.Name != "type").Select(Detail).OfType<string>().ToArray();
        return details.Length == 0 ? type : $"{type}({string.Join(", ", details)})";
    }

    /// <summary>A setting in short; null for tables and for what is off.</summary>
    private static string? Detail(JsonProperty setting) => setting.Value.ValueKind switch
    {
        JsonValueKind.True => setting.Name,
        JsonValueKind.Number => $"{setting.Name} {setting.Value.GetRawText()}",
        JsonValueKind.String when setting.Value.GetString() is { Length: > 0 and < 80 } text => $"{setting.Name} \"{text}\"",
        JsonValueKind.Object when setting.Name == "pattern" => setting.Value.GetRawText(),
        JsonValueKind.Array when setting.Name == "merges" => $"{setting.Value.GetArrayLength()} merges",
        _ => null,
    };
}
