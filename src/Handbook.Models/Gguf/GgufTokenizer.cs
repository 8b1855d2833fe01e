using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Models.Files;
using Handbook.Text.Tokenizers;
using Handbook.Text.Tokenizers.Formats;

namespace Handbook.Models.Gguf;

/// <summary>The tokenizer that the keys of a GGUF file amount to.</summary>
internal static class GgufTokenizer
{
    private const string Prefix = "tokenizer.ggml.";

    /// <exception cref="InputException">The file has no tokenizer, or one that is not read.</exception>
    public static Tokenizer Read(GgufFile file)
    {
        var metadata = file.Metadata;
        var tokens = metadata.Need(metadata.Texts(Prefix + "tokens"), Prefix + "tokens");
        var kinds = metadata.Wholes(Prefix + "token_type") ?? [.. tokens.Select(_ => (long)GgufTokenKind.Normal)];
        if (kinds.Length != tokens.Length)
            throw new InputException($"{file.Path}: {Prefix}token_type has {kinds.Length} entries, but {Prefix}tokens has {tokens.Length}",
                fix: "fetch or write the file again");
        // rows of the embedding behind the last token
        var count = tokens.Length;
        while (count > 0 && kinds[count - 1] == (long)GgufTokenKind.Unused)
            count--;
        var repeated = tokens.Take(count).GroupBy(token => token).FirstOrDefault(group => group.Count() > 1);
        if (count == 0 || repeated is not null)
            throw new InputException(
                $"{file.Path}: {Prefix}tokens has {(repeated is null ? "no tokens" : $"the token \"{repeated.Key}\" twice")}",
                fix: "fetch or write the file again");
        var around = (Begin: Added(metadata, "bos", count), End: Added(metadata, "eos", count));
        var json = metadata.Need(metadata.Text(Prefix + "model"), Prefix + "model") switch
        {
            "gpt2" => BytePairs(metadata, tokens[..count], kinds, around),
            "llama" => Pieces(metadata, tokens[..count], kinds, around),
            var other => throw new InputException($"{file.Path}: the tokenizer's model is \"{other}\", which is not read back",
                why: "gpt2 (byte pairs) and llama (pieces with scores) are",
                fix: "name the model's folder, or its name on the hub, instead of this file"),
        };
        return Tokenizer.Create(new() { Name = file.Path, Tokenizer = json, Config = Settings(metadata, tokens) });
    }

    /// <summary>The token that is put before every text, or behind it; null for none.</summary>
    private static int? Added(GgufMetadata metadata, string role, int tokens) =>
        metadata.Flag($"{Prefix}add_{role}_token") ?? (role == "bos" && metadata.Text(Prefix + "model") == "llama")
            ? Id(metadata, role, tokens) : null;

    /// <summary>The token of a role; null for none.</summary>
    private static int? Id(GgufMetadata metadata, string role, int tokens) => metadata.Whole($"{Prefix}{role}_token_id") is not { } id ? null
        : id >= 0 && id < tokens ? id : throw new InputException(
            $"{metadata.File}: {Prefix}{role}_token_id is {id}, but there are {tokens} tokens", fix: "fetch or write the file again");

    private static AddedToken[] AddedTokens(string[] tokens, long[] kinds) => [.. tokens.Select((token, id) => (token, id))
        .Where(entry => (GgufTokenKind)kinds[entry.id] is GgufTokenKind.Control or GgufTokenKind.UserDefined or GgufTokenKind.Unknown)
        .Select(entry => new AddedToken(entry.id, entry.token, false, false, false, Normalized: false,
            Special: (GgufTokenKind)kinds[entry.id] != GgufTokenKind.UserDefined))];

    private static JsonObject? Around(string[] tokens, (int? Begin, int? End) around)
    {
        string[] before = around.Begin is { } begin ? [tokens[begin]] : [], after = around.End is { } end ? [tokens[end]] : [];
        return before.Length + after.Length == 0 ? null : TokenizerJson.Template([.. before, "$A", .. after],
            [.. before.Select(token => (token, 0)), ("$A", 0), .. after.Select(token => (token, 0)), .. before.Select(token => (token, 1)),
                ("$B", 1), .. after.Select(token => (token, 1))], token => Array.IndexOf(tokens, token));
    }

    private static byte[] BytePairs(GgufMetadata metadata, string[] tokens, long[] kinds, (int? Begin, int? End) around)
    {
        var pre = metadata.Text(Prefix + "pre") ?? "default";
        if (PreTokenizerNames.StepsOf(pre) is not { } cuts)
            throw new InputException($"{metadata.File}: {Prefix}pre is \"{pre}\", a way to cut texts that is not read back",
                why: $"known are {string.Join(", ", PreTokenizerNames.Read)}",
                fix: "name the model's folder, or its name on the hub, instead of this file");
        var merges = metadata.Need(metadata.Texts(Prefix + "merges"), Prefix + "merges").Select(merge =>
        {
            var at = merge.IndexOf(' ', 1);
            return at > 0 ? (merge[..at], merge[(at + 1)..]) : throw new InputException(
                $"{metadata.File}: {Prefix}merges has \"{merge}\", which is no pair", fix: "fetch or write the file again");
        });
        return new TokenizerJson
        {
            AddedTokens = AddedTokens(tokens, kinds),
            PreTokenizer = PreTokenizerNames.Component(cuts.Steps),
            PostProcessor = Around(tokens, around),
            Decoder = TokenizerJson.ByteLevel(addPrefixSpace: false, useRegex: true),
            Model = TokenizerJson.Bpe(TokenizerJson.Vocabulary(tokens), merges, new(IgnoresMerges: cuts.IgnoresMerges)),
        }.Write();
    }

    private static byte[] Pieces(GgufMetadata metadata, string[] tokens, long[] kinds, (int? Begin, int? End) around)
    {
        var scores = metadata.Need(metadata.Numbers(Prefix + "scores"), Prefix + "scores");
        if (scores.Length < tokens.Length)
            throw new InputException($"{metadata.File}: {Prefix}scores has {scores.Length} entries, but {Prefix}tokens has {tokens.Length}",
                fix: "fetch or write the file again");
        var unknown = Id(metadata, "unknown", tokens.Length) ?? Math.Max(0, Array.IndexOf(kinds, (long)GgufTokenKind.Unknown));
        return SentencePieceConversion.OfPieces([.. tokens.Select((token, id) => new VocabularyPiece(token, (float)scores[id],
            (PieceKind)kinds[id]))], unknown, metadata.Flag(Prefix + "add_space_prefix") ?? true, AddedTokens(tokens, kinds),
            Around(tokens, around), metadata.File);
    }

    private static JsonObject Settings(GgufMetadata metadata, string[] tokens)
    {
        var settings = new JsonObject { ["tokenizer_class"] = "PreTrainedTokenizerFast", ["clean_up_tokenization_spaces"] = false };
        foreach (var (role, key) in new[] { ("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"),
            ("pad_token", "padding") })
            if (Id(metadata, key, tokens.Length) is { } id)
                settings[role] = tokens[id];
        if (metadata.Text("tokenizer.chat_template") is { } template)
            settings["chat_template"] = template;
        return settings;
    }
}
