using System.Text.Json;
using Handbook.Serving;

namespace Handbook.Server;

/// <summary>A text, several texts, token ids, or several lists of them, as completions and embeddings take them.</summary>
internal static class TokenInput
{
    /// <returns>Token ids of each.</returns>
    /// <param name="most">Most texts.</param>
    public static IReadOnlyList<int[]> Read(RequestBody body, string key, ServedModel model, int most)
    {
        var value = body.Require(key);
        if (value.ValueKind == JsonValueKind.String)
            return [model.Prompts.EncodeText(RequestBody.TextOf(value, key))];
        if (value.ValueKind != JsonValueKind.Array || value.GetArrayLength() == 0)
            throw body.Wrong(key, $"is {RequestBody.Shown(value)}, but must be a text, a list of texts, or token ids");
        if (value[0].ValueKind == JsonValueKind.Number)
            return [Ids(value, key, model)];
        if (value.GetArrayLength() > most)
            throw body.Wrong(key, $"has {value.GetArrayLength()} texts, but may have at most {most}");
        return [.. value.EnumerateArray().Select((item, i) => item.ValueKind == JsonValueKind.Array ? Ids(item, $"{key}[{i}]", model)
            : model.Prompts.EncodeText(RequestBody.TextOf(item, $"{key}[{i}]")))];
    }

    private static int[] Ids(JsonElement list, string path, ServedModel model)
    {
        if (list.GetArrayLength() == 0)
            throw ApiException.Bad(path, $"{path} has no token");
        return [.. list.EnumerateArray().Select((item, i) => item.ValueKind == JsonValueKind.Number && item.TryGetInt32(out var id)
            && (uint)id < (uint)model.Network.Config.VocabularySize ? id
            : throw ApiException.Bad($"{path}[{i}]", $"{path}[{i}] is {RequestBody.Shown(item)}, but must be a token id below "
                + $"{model.Network.Config.VocabularySize}"))];
    }
}
