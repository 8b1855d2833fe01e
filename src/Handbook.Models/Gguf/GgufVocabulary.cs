using System.Text.Json;
using Handbook.Base;
using Handbook.Models.Files;
using Handbook.Models.Generation;
using Handbook.Text.Tokenizers;
using Handbook.Text.Tokenizers.Models;

namespace Handbook.Models.Gguf;

/// <summary>A tokenizer as keys of a GGUF file: tokens with their kinds, merges or scores, special tokens, chat templates.</summary>
internal static class GgufVocabulary
{
    private const string Prefix = "tokenizer.ggml.";
    private const char Space = '▁';

    /// <summary>Adds the keys of a tokenizer.</summary>
    /// <param name="rows">Rows of the embedding; those beyond the tokens get placeholders.</param>
    /// <param name="notes">Gets what llama.cpp cuts otherwise than the tokenizer does, in some texts.</param>
    /// <exception cref="InputException">llama.cpp has no tokenizer that cuts texts so.</exception>
    public static void Add(GgufMetadata metadata, Tokenizer tokenizer, PromptEncoder prompts, int rows, List<string> notes)
    {
        using var document = JsonDocument.Parse(tokenizer.Json, new() { MaxDepth = 128 });
        var root = document.RootElement;
        var model = root.GetProperty("model");
        var isBytes = tokenizer.Pipeline.Model is BpeModel && Has(Part(root, "pre_tokenizer"), "ByteLevel");
        var tokens = Tokens(tokenizer, rows, isBytes);
        switch (tokenizer.Pipeline.Model)
        {
            case BpeModel when isBytes:
                AddBytePairs(metadata, root, model, notes);
                break;
            case BpeModel:
                AddPieces(metadata, tokenizer, root, model, tokens, notes);
                break;
            case UnigramModel:
                GgufUnigram.Add(metadata, root, tokens, notes);
                break;
            case WordPieceModel:
                tokens = GgufWordPiece.Add(metadata, root, tokens, notes);
                break;
            default:
                var kind = tokenizer.Pipeline.Model.GetType().Name.Replace("Model", "");
                throw new InputException($"the tokenizer's model is {kind}, of which no GGUF file is written",
                    why: "llama.cpp has byte pair encoding, byte by byte (GPT-2, Llama 3, Qwen) or with ▁ for spaces (Llama 2, Gemma), "
                    + "Unigram and WordPiece", fix: "serve it as safetensors");
        }
        metadata.Add(Prefix + "tokens", [.. tokens.Select(token => token.Text)]);
        metadata.Add(Prefix + "token_type", [.. tokens.Select(token => (long)token.Kind)]);
        if (isBytes)
            metadata.Add(Prefix + "merges", [.. Merges(model).Select(merge => $"{merge.Left} {merge.Right}")]);
        if (tokenizer.Pipeline.Added.Tokens.Count(token => token.LeftStrip || token.RightStrip) is > 0 and var strips)
            notes.Add($"the tokenizer drops spaces beside {strips} of its added tokens, llama.cpp keeps them");
        AddSpecial(metadata, tokenizer, prompts, notes);
        foreach (var (name, template) in tokenizer.ChatTemplates.OrderBy(pair => pair.Key != "default"))
            metadata.Add(name == "default" ? "tokenizer.chat_template" : $"tokenizer.chat_template.{name}", template);
        if (tokenizer.ChatTemplates.Keys.Where(name => name != "default").ToArray() is { Length: > 0 } others)
            metadata.Add("tokenizer.chat_templates", others);
    }

    private static (string Text, GgufTokenKind Kind)[] Tokens(Tokenizer tokenizer, int rows, bool isBytes)
    {
        var limit = NewModel.IdCount(tokenizer);
        if (limit > rows)
            throw new InputException($"the tokenizer gives ids up to {limit - 1}, but the embedding has {rows} rows",
                why: "an id without a row cannot be looked up",
                fix: "add rows with `handbook tokenizer add`, or name the tokenizer's own model");
        var tokens = new (string, GgufTokenKind)[rows];
        for (var id = 0; id < rows; id++)
            tokens[id] = tokenizer.IdToToken(id) is not { } text ? ($"[PAD{id}]", GgufTokenKind.Unused) : (text, KindOf(id, text));
        return tokens;

        GgufTokenKind KindOf(int id, string text)
        {
            if (tokenizer.Pipeline.Added.Find(id) is { } added)
                return text == tokenizer.Pipeline.Model.UnknownToken && !isBytes ? GgufTokenKind.Unknown
                    : added.Special ? GgufTokenKind.Control : GgufTokenKind.UserDefined;
            return isBytes ? GgufTokenKind.Normal
                : text == tokenizer.Pipeline.Model.UnknownToken ? GgufTokenKind.Unknown
                : text.Length == 6 && text.StartsWith("<0x", StringComparison.Ordinal) && text[5] == '>' ? GgufTokenKind.Byte
                : GgufTokenKind.Normal;
        }
    }

    private static void AddBytePairs(GgufMetadata metadata, JsonElement root, JsonElement model, List<string> notes)
    {
        var ignores = model.TryGetProperty("ignore_merges", out var flag) && flag.ValueKind == JsonValueKind.True;
        var steps = Part(root, "pre_tokenizer");
        var name = PreTokenizerNames.NameOf(steps, ignores) ?? throw new InputException(
            $"llama.cpp knows no name for how this tokenizer cuts texts: {steps.GetRawText()}{(ignores ? ", whole pieces first" : "")}",
            why: "with another way the model would read other tokens than it has learned; known are "
                + string.Join(", ", PreTokenizerNames.Known),
            fix: "serve it as safetensors");
        metadata.Add(Prefix + "model", "gpt2");
        metadata.Add(Prefix + "pre", name);
        if (Has(steps, "ByteLevel", step => step.TryGetProperty("add_prefix_space", out var prefix) && prefix.GetBoolean()))
            notes.Add("the tokenizer puts a space before a text, llama.cpp does not: begin texts with one there");
        NoteNormalizer(Part(root, "normalizer"), notes);
    }

    /// <summary>Notes that texts are changed before they are cut, and not so there.</summary>
    internal static void NoteNormalizer(JsonElement normalizer, List<string> notes)
    {
        if (normalizer.ValueKind == JsonValueKind.Object)
            notes.Add($"the tokenizer first changes texts by {normalizer.GetProperty("type").GetString()}, llama.cpp reads them as they "
                + "are: texts that this changes are cut otherwise there");
    }

    private static void AddPieces(GgufMetadata metadata, Tokenizer tokenizer, JsonElement root, JsonElement model,
        (string Text, GgufTokenKind Kind)[] tokens, List<string> notes)
    {
        var (normalizer, steps) = (Part(root, "normalizer"), Part(root, "pre_tokenizer"));
        var prefix = Has(normalizer, "Prepend") || Has(steps, "Metaspace", step => step.TryGetProperty("prepend_scheme", out var scheme)
            ? scheme.GetString() != "never" : !step.TryGetProperty("add_prefix_space", out var add) || add.GetBoolean());
        var isPieces = model.TryGetProperty("byte_fallback", out var fallback) && fallback.ValueKind == JsonValueKind.True
            && (Has(normalizer, "Replace", step => step.GetProperty("content").GetString() == Space.ToString()) || Has(steps, "Metaspace"));
        if (!isPieces)
            throw new InputException("this tokenizer is neither one of bytes nor one with ▁ for spaces and tokens for bytes",
                why: "llama.cpp has no other byte pair encoding", fix: "serve it as safetensors");
        metadata.Add(Prefix + "model", "llama");
        metadata.Add(Prefix + "pre", "default");
        metadata.Add(Prefix + "add_space_prefix", prefix);
        metadata.Add(Prefix + "scores", Scores(tokenizer, Merges(model), tokens, notes));
    }

    /// <summary>A piece's score is the rank of its first merge, negative: llama.cpp joins the two neighbours that make the piece of the
    /// best score, as the merges do.</summary>
    private static double[] Scores(Tokenizer tokenizer, IEnumerable<(string Left, string Right)> merges,
        (string Text, GgufTokenKind Kind)[] tokens, List<string> notes)
    {
        var scores = new double[tokens.Length];
        var known = new HashSet<(string, string)>();
        var (rank, last, torn) = (0, "", 0);
        var vocabulary = tokenizer.Pipeline.Model.Vocabulary;
        var ranks = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var merge in merges)
        {
            known.Add(merge);
            var piece = merge.Left + merge.Right;
            if (ranks.TryAdd(piece, rank))
                rank++;
            else if (piece != last)
                torn++;
            last = piece;
        }
        for (var id = 0; id < tokens.Length; id++)
            scores[id] = tokens[id].Kind is GgufTokenKind.Normal ? ranks.TryGetValue(tokens[id].Text, out var its) ? -its : -rank
                : 0;
        // A pair without a merge of its own whose piece is a token would be joined there all the same.
        var find = vocabulary.GetAlternateLookup<ReadOnlySpan<char>>();
        var absent = ranks.Keys.Count(piece => Enumerable.Range(1, piece.Length - 1).Any(at => !char.IsLowSurrogate(piece[at])
            && find.ContainsKey(piece.AsSpan(0, at)) && find.ContainsKey(piece.AsSpan(at)) && !known.Contains((piece[..at], piece[at..]))));
        if (torn + absent > 0)
            notes.Add($"{torn + absent} of the tokenizer's {ranks.Count} pieces are joined in an order that scores cannot say: llama.cpp "
                + "may cut some words otherwise");
        return scores;
    }

    private static void AddSpecial(GgufMetadata metadata, Tokenizer tokenizer, PromptEncoder prompts, List<string> notes)
    {
        var (before, after) = tokenizer.Pipeline.PostProcessor?.Frame ?? ([], []);
        int? first = before is [var begin] ? begin : null, last = after is [var stop] ? stop : null;
        var (bos, eos) = (first ?? tokenizer.BosId, last ?? tokenizer.EosId ?? prompts.StopIds.Cast<int?>().FirstOrDefault());
        var unknown = tokenizer.UnkId;
        // ids that are not said are T5's and BERT's own there, whatever these tokens are
        if (tokenizer.Pipeline.Model is UnigramModel or WordPieceModel && tokenizer.Pipeline.Model.UnknownToken is { } name)
            unknown ??= tokenizer.TokenToId(name);
        if (tokenizer.Pipeline.Model is WordPieceModel)
        {
            bos ??= unknown;
            metadata.Add(Prefix + "seperator_token_id", last ?? unknown);      // spelled so there
            metadata.Add(Prefix + "mask_token_id", tokenizer.TokenToId("[MASK]") ?? unknown);
            metadata.Add(Prefix + "add_sep_token", last is not null);
        }
        foreach (var (key, id) in new[] { ("bos", bos), ("eos", eos), ("unknown", unknown), ("padding", tokenizer.PadId),
            ("eot", prompts.TurnEnd is { } end && end != eos ? end : null) })
            metadata.Add($"{Prefix}{key}_token_id", id);
        metadata.Add(Prefix + "add_bos_token", first is not null);
        metadata.Add(Prefix + "add_eos_token", last is not null && tokenizer.Pipeline.Model is not WordPieceModel);
        if (before.Length > 1 || after.Length > 1)
            notes.Add($"the tokenizer puts {before.Length} tokens before a text and {after.Length} behind it; llama.cpp puts at most "
                + "one each");
    }

    /// <summary>A component of the tokenizer.json; undefined where it has none.</summary>
    internal static JsonElement Part(JsonElement root, string name) => root.TryGetProperty(name, out var part) ? part : default;

    /// <summary>Whether a component is of a type, or one of its steps is.</summary>
    internal static bool Has(JsonElement part, string type, Func<JsonElement, bool>? which = null)
    {
        if (part.ValueKind != JsonValueKind.Object)
            return false;
        foreach (var list in (string[])["normalizers", "pretokenizers"])
            if (part.TryGetProperty(list, out var steps))
                return steps.EnumerateArray().Any(step => Has(step, type, which));
        return part.GetProperty("type").GetString() == type && (which?.Invoke(part) ?? true);
    }

    private static IEnumerable<(string Left, string Right)> Merges(JsonElement model)
    {
        foreach (var merge in model.GetProperty("merges").EnumerateArray())
            if (merge.ValueKind == JsonValueKind.Array)
                yield return (merge[0].GetString()!, merge[1].GetString()!);
            else
            {
                var text = merge.GetString()!;
                var at = text.IndexOf(' ', 1);
                yield return (text[..at], text[(at + 1)..]);
            }
    }
}
