using System.Text;
using System.Text.Json;

namespace Handbook.Text.Tests.Tokenizers;

/// <summary>Writes small files of Mistral's tekken layout.</summary>
internal static class Tekken
{
    /// <summary>The pattern of the published files.</summary>
    public const string Pattern = @"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
        + @"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
        + @"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    /// <param name="bytes">Tokens of one byte, first of all.</param>
    /// <param name="words">Further tokens.</param>
    /// <param name="special">Special tokens by their ids; null lists none.</param>
    /// <param name="numbered">Special tokens with and without names.</param>
    /// <param name="known">Tokens that the model knows; null for all.</param>
    public static byte[] File(byte[] bytes, string[] words, string[]? special, int numbered = 22, int? known = null, string version = "v11",
        string pattern = Pattern)
    {
        byte[][] tokens = [.. bytes.Select(one => new[] { one }), .. words.Select(Encoding.UTF8.GetBytes)];
        return Of(tokens, special, numbered, known ?? tokens.Length, version, pattern);
    }

    /// <inheritdoc cref="File(byte[], string[], string[], int, int?, string, string)"/>
    public static byte[] File(byte[] bytes, string[] words) => File(bytes, words, ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]);

    /// <inheritdoc cref="File(byte[], string[], string[], int, int?, string, string)"/>
    /// <param name="tokens">All tokens, by their ranks.</param>
    public static byte[] Of(IReadOnlyList<byte[]> tokens, string[]? special, int numbered, int known, string version, string pattern)
    {
        var file = new Dictionary<string, object?>
        {
            ["config"] = new
            {
                pattern,
                num_vocab_tokens = tokens.Count,
                default_vocab_size = known + numbered,
                default_num_special_tokens = numbered,
                version,
            },
            ["vocab"] = tokens.Select((token, rank) =>
                new { rank, token_bytes = Convert.ToBase64String(token), token_str = Encoding.UTF8.GetString(token) }),
        };
        if (special is not null)
            file["special_tokens"] = special.Select((token_str, rank) => new { rank, token_str, is_control = true });
        return JsonSerializer.SerializeToUtf8Bytes(file);
    }
}
