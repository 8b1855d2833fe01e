using System.Buffers.Text;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Text.Tokenizers.Patterns;
using Handbook.Text.Tokenizers.PreTokenizers;

namespace Handbook.Text.Tokenizers.Formats;

/// <summary>A tiktoken vocabulary as tokenizer.json: a line for each token, its bytes in base64 and its rank, which is its id.</summary>
/// <remarks>The file holds neither the pattern that cuts texts nor special tokens: both are the class's, and special tokens may stand in
/// tokenizer_config.json.</remarks>
internal static class TiktokenConversion
{
    /// <summary>Whether bytes begin as such a file does.</summary>
    public static bool Begins(ReadOnlySpan<byte> bytes)
    {
        var line = bytes[..Math.Max(0, bytes.IndexOf((byte)'\n'))];
        var space = line.IndexOf((byte)' ');
        return space > 0 && Base64.IsValid(line[..space]) && Utf8Parser.TryParse(line[(space + 1)..], out int _, out var _);
    }

    /// <param name="config">tokenizer_config.json; null for none.</param>
    /// <param name="class">The Python class; null for that of Llama 3.</param>
    /// <param name="name">Name of the file, for messages.</param>
    /// <exception cref="InputException">The file is no such vocabulary, or the class's pattern is not known.</exception>
    public static ConvertedTokenizer Convert(ReadOnlySpan<byte> bytes, JsonObject? config, string? @class, string name)
    {
        var (pattern, special) = @class switch
        {
            null or "LlamaTokenizer" => (SplitScanner.Llama3Pattern, Array.Empty<string>()),
            "QWenTokenizer" => (SplitScanner.Qwen2Pattern, (string[])["<|endoftext|>", "<|im_start|>", "<|im_end|>",
                .. Enumerable.Range(0, 205).Select(i => $"<|extra_{i}|>")]),
            _ => throw new InputException($"{name}: {@class} cuts texts by a pattern that is not known here",
                "a tiktoken file holds the tokens, but not how texts are cut before",
                "known are the files of Llama 3 and of QWenTokenizer; convert others with transformers, which writes tokenizer.json"),
        };
        var tokens = Read(bytes, name);
        if (tokens.Count == 0)
            throw new InputException($"{name} holds no tokens", fix: "fetch the file again");
        var ids = new Dictionary<string, int>(tokens.Count, StringComparer.Ordinal);
        foreach (var (token, rank) in tokens)
            if (!ids.TryAdd(token, rank))
                throw new InputException($"{name} gives one token two ranks: {ids[token]} and {rank}", fix: "fetch the file again");
        var next = ids.Values.Max() + 1;
        var json = new TokenizerJson
        {
            AddedTokens = [.. special.Select((token, i) => new AddedToken(next + i, token, false, false, false, false, Special: true))],
            PreTokenizer = TokenizerJson.Sequence("pretokenizers", TokenizerJson.Split(pattern),
                TokenizerJson.ByteLevel(TokenizerRules.ClassFlag(config ?? [], "add_prefix_space", false), useRegex: false)),
            PostProcessor = TokenizerJson.ByteLevel(addPrefixSpace: true, useRegex: true, trimOffsets: false),
            Decoder = TokenizerJson.ByteLevel(addPrefixSpace: true, useRegex: true),
            Model = TokenizerJson.Bpe(TokenizerJson.Vocabulary(tokens), Merges(tokens, ids), new(IgnoresMerges: true)),
        };
        // Llama 3's published tokenizer begins every text; the token itself is the configuration's to name.
        return new(json.Write(), special.Length > 0 ? new() { ["eos_token"] = special[0], ["pad_token"] = special[0] }
            : config?["bos_token"] is null ? [] : new() { ["add_bos_token"] = true, ["add_eos_token"] = false });
    }

    /// <summary>Tokens in the byte alphabet, with their ranks.</summary>
    private static List<(string Token, int Rank)> Read(ReadOnlySpan<byte> bytes, string name)
    {
        var tokens = new List<(string, int)>();
        var line = 0;
        foreach (var range in bytes.Split((byte)'\n'))
        {
            line++;
            var text = bytes[range].TrimEnd((byte)'\r');
            if (text.Length == 0)
                continue;
            var space = text.IndexOf((byte)' ');
            Span<byte> token = new byte[Math.Max(0, space)];
            if (space < 1 || Base64.DecodeFromUtf8(text[..space], token, out _, out var length) != System.Buffers.OperationStatus.Done
                || length == 0 || !Utf8Parser.TryParse(text[(space + 1)..], out int rank, out var read) || rank < 0
                || read != text.Length - space - 1)
                throw new InputException($"{name}:{line} is not a token in base64 and its rank", fix: "fetch the file again");
            tokens.Add((Text(token[..length]), rank));
        }
        return tokens;
    }

    /// <summary>Bytes as a token of a byte-level vocabulary.</summary>
    public static string Text(ReadOnlySpan<byte> bytes) => string.Create(bytes.Length, bytes, static (characters, own) =>
    {
        for (var i = 0; i < own.Length; i++)
            characters[i] = (char)ByteAlphabet.PointOf(own[i]);
    });

    /// <summary>Every way to put a token together from two others, in the order of the ranks.</summary>
    /// <param name="ids">The ids of all tokens that take part.</param>
    public static IEnumerable<(string, string)> Merges(List<(string Token, int Rank)> tokens, Dictionary<string, int> ids)
    {
        var find = ids.GetAlternateLookup<ReadOnlySpan<char>>();
        var own = new List<(int Left, int Right, int At)>();
        foreach (var (token, _) in tokens.OrderBy(token => token.Rank))
        {
            own.Clear();
            for (var at = 1; at < token.Length; at++)
                if (find.TryGetValue(token.AsSpan(0, at), out var left) && find.TryGetValue(token.AsSpan(at), out var right))
                    own.Add((left, right, at));
            own.Sort();
            foreach (var (_, _, at) in own)
                yield return (token[..at], token[at..]);
        }
    }
}
