using System.Buffers.Text;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;

namespace Handbook.Text.Tokenizers.Formats;

/// <summary>Mistral's <c>tekken.json</c> as tokenizer.json: a vocabulary of bytes with ranks, the pattern that cuts texts, and special
/// tokens, whose ids come first.</summary>
/// <remarks>
/// The id of a token is its rank and the number of special tokens. Ids of special tokens that have no name are
/// <c>&lt;SPECIAL_20&gt;</c> and so on. Where Mistral's own library never finds special tokens in a text, this finds them, as the
/// tokenizer.json that is published beside such files does: chat templates write them.
/// </remarks>
internal static class TekkenConversion
{
    /// <summary>Those of files that list none, by their ids.</summary>
    private static readonly string[] s_old =
    [
        "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]",
        "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]",
        "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]",
    ];

    // of versions after it, every file lists its own
    private const int LastWithoutList = 7;

    // lists are made from both
    private const int MostTokens = 1 << 24;
    private const int MostSpecial = 1 << 16;

    private const string Again = "fetch the file again";

    /// <param name="bytes">What the file holds.</param>
    /// <param name="config">tokenizer_config.json; null for none.</param>
    /// <param name="name">Name of the file, for messages.</param>
    /// <exception cref="InputException">The file is damaged.</exception>
    public static ConvertedTokenizer Convert(byte[] bytes, JsonObject? config, string name)
    {
        using var document = TokenizerFolder.Parse(bytes, name);
        var root = new ConfigNode(document.RootElement, name);
        var settings = root.Need("config");
        var pattern = settings.Text("pattern");
        var special = Special(root, settings, Bounded(settings, "default_num_special_tokens", MostSpecial));
        var size = Bounded(settings, "default_vocab_size", MostTokens);
        if (size < special.Count)
            throw new InputException($"{settings.Path}.default_vocab_size is {size}, but there are {special.Count} special tokens", fix: Again);
        var tokens = Vocabulary(root.Need("vocab"), size - special.Count);
        var ids = new Dictionary<string, int>(tokens.Length + special.Count, StringComparer.Ordinal);
        foreach (var token in special.Select(token => token.Content).Concat(tokens))
            if (!ids.TryAdd(token, ids.Count))
                throw new InputException($"{name} has the token \"{token}\" twice", "a token has one id", Again);
        List<(string, int)> ranked = [.. tokens.Select((token, rank) => (token, special.Count + rank))];
        var json = new TokenizerJson
        {
            AddedTokens = special,
            PreTokenizer = TokenizerJson.Sequence("pretokenizers", TokenizerJson.Split(pattern),
                TokenizerJson.ByteLevel(TokenizerRules.ClassFlag(config ?? [], "add_prefix_space", false), useRegex: false)),
            PostProcessor = TokenizerJson.ByteLevel(addPrefixSpace: true, useRegex: true, trimOffsets: false),
            Decoder = TokenizerJson.ByteLevel(addPrefixSpace: true, useRegex: true),
            Model = TokenizerJson.Bpe(TokenizerJson.Vocabulary(ids.OrderBy(pair => pair.Value).Select(pair => pair.Key)),
                TiktokenConversion.Merges(ranked, ranked.ToDictionary(StringComparer.Ordinal)), new(IgnoresMerges: true)),
        };
        // Texts begin with a token of their own, and nothing is added at the end.
        var defaults = new JsonObject();
        foreach (var (role, token) in (ReadOnlySpan<(string, string)>)[("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>"),
            ("pad_token", "<pad>")])
            if (special.Exists(one => one.Content == token))
                defaults[role] = token;
        if (defaults.ContainsKey("bos_token"))
            (defaults["add_bos_token"], defaults["add_eos_token"]) = (true, false);
        return new(json.Write(), defaults);
    }

    private static int Bounded(ConfigNode settings, string key, int most) => settings.Number(key) is var number && number <= most ? number
        : throw settings.Need(key).Wrong($"at most {most}");

    /// <summary>All special tokens in the order of their ids.</summary>
    private static List<AddedToken> Special(ConfigNode root, ConfigNode settings, int count)
    {
        var listed = new List<(int Id, string Content, bool IsControl)>();
        if (root.Find("special_tokens") is { } list)
            foreach (var token in list.Items())
                listed.Add((token.Number("rank"), token.Text("token_str"), token.Flag("is_control", true)));
        else if (settings.Find("version")?.AsText() is ['v', .. var version] && int.TryParse(version, CultureInfo.InvariantCulture,
            out var number) && number > LastWithoutList)
            throw new InputException($"{root.Path} has no \"special_tokens\"", $"files of version v{number} list their own", Again);
        else
            listed.AddRange(s_old.Take(count).Select((token, id) => (id, token, true)));
        if (listed.Count > count)
            throw new InputException($"{root.Path} lists {listed.Count} special tokens, but config.default_num_special_tokens is {count}",
                fix: Again);
        var tokens = new AddedToken?[count];
        foreach (var (id, content, isControl) in listed)
            tokens[id] = id < count && tokens[id] is null
                ? new(id, content, false, false, false, Normalized: false, Special: isControl)
                : throw new InputException($"{root.Path} gives the special token \"{content}\" the rank {id}",
                    id < count ? "another one has it" : $"there are {count} of them", Again);
        return [.. tokens.Select((token, id) => token ?? new(id, $"<SPECIAL_{id}>", false, false, false, Normalized: false, Special: true))];
    }

    /// <summary>Tokens in the byte alphabet, in the order of their ranks.</summary>
    /// <param name="count">How many of them the model knows: the first.</param>
    private static string[] Vocabulary(ConfigNode vocabulary, int count)
    {
        ConfigNode[] items = [.. vocabulary.Items()];
        if (items.Length < count)
            throw new InputException($"{vocabulary.Path} has {items.Length} tokens, but the model knows {count}",
                "that is default_vocab_size without default_num_special_tokens", Again);
        var tokens = new string?[count];
        foreach (var item in items)
        {
            var rank = item.Number("rank");
            if (rank >= count)
                continue;
            var text = System.Text.Encoding.UTF8.GetBytes(item.Text("token_bytes"));
            if (text.Length == 0 || !Base64.IsValid(text))
                throw item.Need("token_bytes").Wrong("bytes in base64");
            Span<byte> token = new byte[text.Length];
            Base64.DecodeFromUtf8(text, token, out _, out var length);
            tokens[rank] = tokens[rank] is null && length > 0 ? TiktokenConversion.Text(token[..length])
                : throw new InputException($"{item.Path}.rank is {rank}", "another token has it, or this one is empty", Again);
        }
        if (Array.IndexOf(tokens, null) is >= 0 and var missing)
            throw new InputException($"{vocabulary.Path} has no token of rank {missing}", $"the model knows {count} of them", Again);
        return tokens!;
    }
}
