using System.Text.Json.Nodes;
using Handbook.Base;

namespace Handbook.Text.Tokenizers.Formats;

/// <summary>BERT's vocabulary as tokenizer.json: <c>vocab.txt</c>, a token a line, numbered from 0.</summary>
internal static class LineConversion
{
    private static readonly (string Role, string Token)[] Names =
        [("unk_token", "[UNK]"), ("sep_token", "[SEP]"), ("pad_token", "[PAD]"), ("cls_token", "[CLS]"), ("mask_token", "[MASK]")];

    /// <param name="config">tokenizer_config.json; null for none.</param>
    /// <param name="class">The Python class; null where the files name none.</param>
    /// <param name="name">Name of the file, for messages.</param>
    /// <exception cref="InputException">The file is damaged, or the class is not known.</exception>
    public static ConvertedTokenizer Convert(string vocabulary, JsonObject? config, string? @class, string name)
    {
        if (@class is not (null or "BertTokenizer" or "DistilBertTokenizer" or "ElectraTokenizer"))
            throw PairConversion.Unknown(@class, name, "BertTokenizer, DistilBertTokenizer and ElectraTokenizer");
        config ??= [];
        var ids = new Dictionary<string, int>(StringComparer.Ordinal);
        var lines = vocabulary.Split('\n');
        for (var id = 0; id < lines.Length; id++)
            if (id < lines.Length - 1 || lines[id].Length > 0)
                ids[lines[id].TrimEnd('\r')] = id;              // of two with the same text the later one counts, as in the reference
        var named = Names.ToDictionary(pair => pair.Role, pair => Content(config[pair.Role]) ?? pair.Token);
        var (begin, end) = (Known("cls_token"), Known("sep_token"));
        var json = new TokenizerJson
        {
            Normalizer = new()
            {
                ["type"] = "BertNormalizer",
                ["clean_text"] = true,
                ["handle_chinese_chars"] = TokenizerRules.ClassFlag(config, "tokenize_chinese_chars", true),
                ["strip_accents"] = config["strip_accents"] is null ? null : TokenizerRules.ClassFlag(config, "strip_accents", false),
                ["lowercase"] = TokenizerRules.ClassFlag(config, "do_lower_case", true),
            },
            PreTokenizer = new() { ["type"] = "BertPreTokenizer" },
            PostProcessor = TokenizerJson.Template([begin, "$A", end], [(begin, 0), ("$A", 0), (end, 0), ("$B", 1), (end, 1)],
                token => ids[token]),
            Decoder = new() { ["type"] = "WordPiece", ["prefix"] = "##", ["cleanup"] = true },
            Model = TokenizerJson.WordPiece(TokenizerJson.Vocabulary(ids.Select(pair => (pair.Key, pair.Value))), Known("unk_token"), "##"),
        };
        return new(json.Write(), PairConversion.Named(token => ids.TryGetValue(token, out var id) ? id : null, Names));

        string Known(string role) => ids.ContainsKey(named[role]) ? named[role]
            : throw new InputException($"{name} lacks the {role} \"{named[role]}\"", "it stands around texts, or for unknown ones",
                $"name it in tokenizer_config.json: \"{role}\"");
    }

    private static string? Content(JsonNode? token) => token switch
    {
        JsonValue value when value.TryGetValue(out string? text) => text,
        JsonObject flags => Content(flags["content"]),
        _ => null,
    };
}
