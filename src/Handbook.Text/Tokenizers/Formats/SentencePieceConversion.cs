using System.Text.Json.Nodes;
using Handbook.Base;

namespace Handbook.Text.Tokenizers.Formats;

/// <summary>A sentencepiece model as tokenizer.json, by the rules with which the published files were made.</summary>
/// <remarks>
/// The classes of Llama, Gemma and ALBERT have pipelines of their own. Any other class gets what the file itself says of spaces and
/// replacements, except those that number their tokens in another way than the file does: they are refused by name.
/// </remarks>
internal static class SentencePieceConversion
{
    private const string Space = "▁";

    /// <summary>Classes whose ids are not the file's.</summary>
    private static readonly string[] Renumbered =
    [
        "BarthezTokenizer", "BigBirdTokenizer", "CamembertTokenizer", "CpmTokenizer", "DebertaV2Tokenizer", "ErnieMTokenizer",
        "M2M100Tokenizer", "MarianTokenizer", "MBart50Tokenizer", "MBartTokenizer", "NllbTokenizer", "PegasusTokenizer", "PLBartTokenizer",
        "RemBertTokenizer", "SeamlessM4TTokenizer", "Speech2TextTokenizer", "T5Tokenizer", "UdopTokenizer", "XGLMTokenizer",
        "XLMProphetNetTokenizer", "XLMRobertaTokenizer", "XLNetTokenizer",
    ];

    /// <param name="config">tokenizer_config.json; null for none.</param>
    /// <param name="class">The Python class, see <see cref="TokenizerClass.Of"/>.</param>
    /// <param name="name">Name of the file, for messages.</param>
    /// <exception cref="InputException">The class numbers tokens in its own way, or the pieces cannot be a vocabulary.</exception>
    public static ConvertedTokenizer Convert(SentencePieceFile file, JsonObject? config, string? @class, string name)
    {
        if (Renumbered.Contains(@class))
            throw new InputException($"{name}: {@class} gives the pieces of the file other ids than the file does",
                "the model would read other tokens than it has learned",
                "convert it with transformers: AutoTokenizer.from_pretrained(folder).save_pretrained(folder)");
        return @class switch
        {
            "LlamaTokenizer" or "CodeLlamaTokenizer" => Llama(file, config ?? [], name),
            "GemmaTokenizer" => Gemma(file, name),
            "AlbertTokenizer" => Albert(file, config ?? [], name),
            _ => Plain(file, name),
        };
    }

    /// <summary>Pieces that are merged, with tokens for bytes, from a file of another format.</summary>
    /// <param name="unknown">Id of the piece that stands for unknown text.</param>
    /// <param name="prefix">Whether a space is put before every text.</param>
    /// <param name="added">Tokens that are cut out of texts.</param>
    /// <param name="around">What is put around a text; null for nothing.</param>
    /// <returns>A tokenizer.json.</returns>
    public static byte[] OfPieces(IReadOnlyList<VocabularyPiece> pieces, int unknown, bool prefix, IReadOnlyList<AddedToken> added,
        JsonObject? around, string name) => new TokenizerJson
        {
            AddedTokens = added,
            Normalizer = TokenizerJson.Sequence("normalizers",
            [.. prefix ? [Prepend()] : Array.Empty<JsonObject>(), TokenizerJson.Replace(" ", Space)]),
            PostProcessor = around,
            Decoder = Bytes(prefix),
            Model = Model(SentencePieceFile.OfMerges(pieces, unknown), [.. pieces], name, unknown, byteFallback: true),
        }.Write();

    private static ConvertedTokenizer Llama(SentencePieceFile file, JsonObject config, string name)
    {
        var prefix = Flag(config, "add_prefix_space", true);
        var legacy = Flag(config, "legacy", true);
        JsonObject? normalizer = null, preTokenizer = null;
        if (legacy)
            normalizer = TokenizerJson.Sequence("normalizers",
                [.. prefix ? [Prepend()] : Array.Empty<JsonObject>(), TokenizerJson.Replace(" ", Space)]);
        else
            preTokenizer = TokenizerJson.Metaspace(prefix ? "first" : "never", split: false);
        var pieces = file.Pieces.Select((piece, id) => id < 3 ? piece with { Score = 0 } : piece).ToArray();
        return Finish(file, pieces, name, new()
        {
            AddedTokens = Added(file, []),
            Normalizer = normalizer,
            PreTokenizer = preTokenizer,
            Decoder = Bytes(prefix),
            Model = Model(file, pieces, name, unknown: 0, byteFallback: true),
        }, begins: true);
    }

    private static ConvertedTokenizer Gemma(SentencePieceFile file, string name)
    {
        // Older files lack the tab, which stands in the place of its byte then.
        var tab = Array.FindIndex([.. file.Pieces], piece => piece.Text == "\t") < 0;
        var pieces = file.Pieces
            .Select((piece, id) => id < 3 ? piece with { Score = 0 }
                : tab && piece.Text == "<0x09>" ? piece with { Text = "\t", Score = 0 } : piece).ToArray();
        return Finish(file, pieces, name, new()
        {
            AddedTokens = Added(file, ["<start_of_turn>", "<end_of_turn>"]),
            Normalizer = TokenizerJson.Replace(" ", Space),
            PreTokenizer = new()
            {
                ["type"] = "Split",
                ["pattern"] = new JsonObject { ["String"] = " " },
                ["behavior"] = "MergedWithPrevious",
                ["invert"] = false,
            },
            Decoder = Bytes(prefix: false),
            Model = Model(file, pieces, name, unknown: 3, byteFallback: true),
        }, begins: true);
    }

    private static ConvertedTokenizer Albert(SentencePieceFile file, JsonObject config, string name)
    {
        // A comma behind a digit is a piece that nobody should choose.
        var pieces = file.Pieces.Select(piece => piece.Text.Length >= 2 && piece.Text[^1] == ',' && char.IsDigit(piece.Text[^2])
            ? (piece.Text, piece.Score - 100.0) : (piece.Text, (double)piece.Score)).ToArray();
        int IdOf(string token) => Array.FindIndex(pieces, piece => piece.Text == token) is >= 0 and var id ? id
            : throw new InputException($"{name}: ALBERT's token \"{token}\" is not among its pieces", fix: "is this ALBERT's file?");
        List<JsonObject> steps = [TokenizerJson.Replace("``", "\""), TokenizerJson.Replace("''", "\"")];
        if (!Flag(config, "keep_accents", false))
            steps.AddRange([new() { ["type"] = "NFKD" }, new() { ["type"] = "StripAccents" }]);
        if (Flag(config, "do_lower_case", true))
            steps.Add(new() { ["type"] = "Lowercase" });
        if (file.Replacements.Length > 0)
            steps.Add(Precompiled(file));
        steps.Add(TokenizerJson.ReplaceRegex(" {2,}", " "));
        var json = new TokenizerJson
        {
            // The pieces of the user are left to the model, where their score of 0 is the best.
            AddedTokens = [.. ((string[])["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"])
                .Select(token => new AddedToken(IdOf(token), token, false, token == "[MASK]", false, Normalized: false, Special: true))
                .OrderBy(token => token.Id)],
            Normalizer = TokenizerJson.Sequence("normalizers", [.. steps]),
            PreTokenizer = TokenizerJson.Metaspace("always"),
            PostProcessor = TokenizerJson.Template(["[CLS]", "$A", "[SEP]"],
                [("[CLS]", 0), ("$A", 0), ("[SEP]", 0), ("$B", 1), ("[SEP]", 1)], IdOf),
            Decoder = TokenizerJson.Metaspace("always"),
            Model = TokenizerJson.Unigram(pieces, file.UnknownId, byteFallback: false),
        };
        return new(json.Write(), new()
        {
            ["bos_token"] = "[CLS]",
            ["eos_token"] = "[SEP]",
            ["unk_token"] = "<unk>",
            ["sep_token"] = "[SEP]",
            ["pad_token"] = "<pad>",
            ["cls_token"] = "[CLS]",
        });
    }

    /// <summary>What the file alone says.</summary>
    private static ConvertedTokenizer Plain(SentencePieceFile file, string name)
    {
        var spaces = new List<JsonObject>();
        if (file.Replacements.Length > 0)
            spaces.Add(Precompiled(file));
        if (file.RemovesExtraSpaces)
            spaces.AddRange([new() { ["type"] = "Strip", ["strip_left"] = true, ["strip_right"] = true },
                TokenizerJson.ReplaceRegex(" {2,}", " ")]);
        if (!file.EscapesSpaces && file.AddsPrefix)
            spaces.Add(new() { ["type"] = "Prepend", ["prepend"] = " " });
        VocabularyPiece[] pieces = [.. file.Pieces];
        return Finish(file, pieces, name, new()
        {
            AddedTokens = Added(file, []),
            Normalizer = spaces.Count == 0 ? null : TokenizerJson.Sequence("normalizers", [.. spaces]),
            PreTokenizer = file.EscapesSpaces ? TokenizerJson.Metaspace(file.AddsPrefix ? "first" : "never", split: !file.IsBpe) : null,
            Decoder = Bytes(file.AddsPrefix),
            Model = Model(file, pieces, name, file.UnknownId, file.ByteFallback),
        }, begins: false);
    }

    private static ConvertedTokenizer Finish(SentencePieceFile file, VocabularyPiece[] pieces, string name, TokenizerJson json, bool begins)
    {
        var defaults = new JsonObject();
        foreach (var (role, id) in new[] { ("bos_token", file.Around.Begin), ("eos_token", file.Around.End),
            ("pad_token", file.Around.Padding) })
            if ((uint)id < (uint)pieces.Length && pieces[id].Kind == PieceKind.Control)
                defaults[role] = pieces[id].Text;
        defaults["unk_token"] = pieces[file.UnknownId].Text;
        if (!begins)
            return new(json.Write(), defaults);
        defaults["add_bos_token"] = true;
        defaults["add_eos_token"] = false;
        if (defaults["bos_token"]?.GetValue<string>() is { } begin)
            json = json with
            {
                PostProcessor = TokenizerJson.Template([begin, "$A"], [(begin, 0), ("$A", 0), (begin, 1), ("$B", 1)],
                    _ => file.Around.Begin),
            };
        return new(json.Write(), defaults);
    }

    /// <summary>Control pieces, which are special, and those of the user, which are not.</summary>
    private static AddedToken[] Added(SentencePieceFile file, string[] special) => [.. file.Pieces
        .Select((piece, id) => (Piece: piece, Id: id))
        .Where(entry => entry.Piece.Kind is PieceKind.Control or PieceKind.UserDefined)
        .Select(entry => new AddedToken(entry.Id, entry.Piece.Text, false, false, false, Normalized: false,
            Special: entry.Piece.Kind == PieceKind.Control || special.Contains(entry.Piece.Text)))];

    private static Action<System.Text.Json.Utf8JsonWriter> Model(SentencePieceFile file, VocabularyPiece[] pieces, string name, int unknown,
        bool byteFallback)
    {
        if (unknown >= pieces.Length)
            throw new InputException($"{name} has only {pieces.Length} pieces", "the unknown token is one of the first four",
                "is this the tokenizer of that class?");
        if (!file.IsBpe)
            return TokenizerJson.Unigram(pieces.Select(piece => (piece.Text, (double)piece.Score)), unknown, byteFallback);
        var ids = new Dictionary<string, int>(StringComparer.Ordinal);
        for (var id = 0; id < pieces.Length; id++)
            if (!ids.TryAdd(pieces[id].Text, id))
                throw new InputException($"{name} has the piece \"{pieces[id].Text}\" twice, as {ids[pieces[id].Text]} and as {id}",
                    "a token has one id", "fetch the file again");
        return TokenizerJson.Bpe(TokenizerJson.Vocabulary(pieces.Select(piece => piece.Text)), Merges(pieces, ids),
            new(file.UnknownPiece, FusesUnknown: true, byteFallback));
    }

    /// <summary>Every way to put a piece together from two others, best score first, long parts before short ones.</summary>
    private static IEnumerable<(string, string)> Merges(VocabularyPiece[] pieces, Dictionary<string, int> ids)
    {
        var find = ids.GetAlternateLookup<ReadOnlySpan<char>>();
        var merges = new List<(float Score, int Left, int Right, int LeftLength, int RightLength)>();
        var own = new List<(int Left, int Right, int At, int LeftLength)>();
        foreach (var piece in pieces)
        {
            var text = piece.Text;
            own.Clear();
            var points = 0;                 // code points before the cut
            for (var at = 1; at < text.Length; at++)
            {
                if (char.IsLowSurrogate(text[at]))
                    continue;
                points++;
                if (find.TryGetValue(text.AsSpan(0, at), out var left) && find.TryGetValue(text.AsSpan(at), out var right))
                    own.Add((left, right, at, points));
            }
            own.Sort();
            foreach (var (left, right, _, length) in own)
                merges.Add((piece.Score, left, right, length, points + 1 - length));
        }
        // OrderBy keeps the order of equals, which is that of the pieces.
        return merges.OrderByDescending(merge => merge.Score).ThenByDescending(merge => merge.LeftLength)
            .ThenByDescending(merge => merge.RightLength).Select(merge => (pieces[merge.Left].Text, pieces[merge.Right].Text));
    }

    /// <summary>▁ back to spaces, byte tokens back to text, all in one; the space that was put in front disappears.</summary>
    private static JsonObject Bytes(bool prefix) => TokenizerJson.Sequence("decoders",
    [
        TokenizerJson.Replace(Space, " "), new() { ["type"] = "ByteFallback" }, new() { ["type"] = "Fuse" },
        .. prefix ? [new JsonObject { ["type"] = "Strip", ["content"] = " ", ["start"] = 1, ["stop"] = 0 }] : Array.Empty<JsonObject>(),
    ]);

    private static JsonObject Prepend() => new() { ["type"] = "Prepend", ["prepend"] = Space };

    private static JsonObject Precompiled(SentencePieceFile file) =>
        new() { ["type"] = "Precompiled", ["precompiled_charsmap"] = System.Convert.ToBase64String(file.Replacements) };

    private static bool Flag(JsonObject config, string key, bool otherwise) => TokenizerRules.ClassFlag(config, key, otherwise);
}
