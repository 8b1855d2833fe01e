using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Handbook.Text.Tokenizers.Formats;

/// <summary>A tokenizer.json to be written: what other formats hold and what was trained, in the published layout.</summary>
internal sealed record TokenizerJson
{
    /// <summary>Tokens that are cut out of texts, in the order of their ids.</summary>
    public IReadOnlyList<AddedToken> AddedTokens { get; init; } = [];

    public JsonObject? Normalizer { get; init; }

    public JsonObject? PreTokenizer { get; init; }

    public JsonObject? PostProcessor { get; init; }

    public JsonObject? Decoder { get; init; }

    /// <summary>Writes the members of the model's object.</summary>
    public required Action<Utf8JsonWriter> Model { get; init; }

    public byte[] Write()
    {
        var bytes = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(bytes, new() { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            json.WriteString("version", "1.0");
            json.WriteNull("truncation");
            json.WriteNull("padding");
            json.WriteStartArray("added_tokens");
            foreach (var token in AddedTokens)
                Of(token, withId: true).WriteTo(json);
            json.WriteEndArray();
            foreach (var (name, part) in new[] { ("normalizer", Normalizer), ("pre_tokenizer", PreTokenizer),
                ("post_processor", PostProcessor), ("decoder", Decoder) })
            {
                json.WritePropertyName(name);
                if (part is null)
                    json.WriteNullValue();
                else
                    part.WriteTo(json);
            }
            json.WriteStartObject("model");
            Model(json);
            json.WriteEndObject();
            json.WriteEndObject();
        }
        return [.. bytes.WrittenSpan, (byte)'\n'];
    }

    /// <summary>An added token as files list it.</summary>
    public static JsonObject Of(AddedToken token, bool withId)
    {
        var json = new JsonObject();
        if (withId)
            json["id"] = token.Id;
        json["content"] = token.Content;
        json["single_word"] = token.SingleWord;
        json["lstrip"] = token.LeftStrip;
        json["rstrip"] = token.RightStrip;
        json["normalized"] = token.Normalized;
        json["special"] = token.Special;
        return json;
    }

    /// <summary>Writes a BPE model.</summary>
    /// <param name="vocabulary">Writes its <c>vocab</c>.</param>
    public static Action<Utf8JsonWriter> Bpe(Action<Utf8JsonWriter> vocabulary, IEnumerable<(string Left, string Right)> merges,
        BpeSwitches switches = default) => json =>
    {
        json.WriteString("type", "BPE");
        json.WriteNull("dropout");
        json.WriteString("unk_token", switches.UnknownToken);
        json.WriteNull("continuing_subword_prefix");
        json.WriteNull("end_of_word_suffix");
        json.WriteBoolean("fuse_unk", switches.FusesUnknown);
        json.WriteBoolean("byte_fallback", switches.ByteFallback);
        json.WriteBoolean("ignore_merges", switches.IgnoresMerges);
        vocabulary(json);
        json.WriteStartArray("merges");
        foreach (var (left, right) in merges)
        {
            json.WriteStartArray();
            json.WriteStringValue(left);
            json.WriteStringValue(right);
            json.WriteEndArray();
        }
        json.WriteEndArray();
    };

    /// <summary>Writes a unigram model.</summary>
    public static Action<Utf8JsonWriter> Unigram(IEnumerable<(string Token, double Score)> tokens, int? unknown, bool byteFallback) =>
        json =>
    {
        json.WriteString("type", "Unigram");
        if (unknown is { } id)
            json.WriteNumber("unk_id", id);
        else
            json.WriteNull("unk_id");
        json.WriteStartArray("vocab");
        foreach (var (token, score) in tokens)
        {
            json.WriteStartArray();
            json.WriteStringValue(token);
            json.WriteNumberValue(score);
            json.WriteEndArray();
        }
        json.WriteEndArray();
        json.WriteBoolean("byte_fallback", byteFallback);
    };

    /// <summary>Writes a WordPiece model.</summary>
    /// <param name="vocabulary">Writes its <c>vocab</c>.</param>
    public static Action<Utf8JsonWriter> WordPiece(Action<Utf8JsonWriter> vocabulary, string unknown, string prefix) => json =>
    {
        json.WriteString("type", "WordPiece");
        json.WriteString("unk_token", unknown);
        json.WriteString("continuing_subword_prefix", prefix);
        json.WriteNumber("max_input_chars_per_word", 100);
        vocabulary(json);
    };

    public static JsonObject Sequence(string list, params JsonObject[] steps) =>
        new() { ["type"] = "Sequence", [list] = new JsonArray([.. steps]) };

    public static JsonObject ByteLevel(bool addPrefixSpace, bool useRegex, bool trimOffsets = true) => new()
    {
        ["type"] = "ByteLevel",
        ["add_prefix_space"] = addPrefixSpace,
        ["trim_offsets"] = trimOffsets,
        ["use_regex"] = useRegex,
    };

    /// <summary>The matches of a regular expression as pieces of their own.</summary>
    public static JsonObject Split(string regex) => new()
    {
        ["type"] = "Split",
        ["pattern"] = new JsonObject { ["Regex"] = regex },
        ["behavior"] = "Isolated",
        ["invert"] = false,
    };

    public static JsonObject Metaspace(string scheme, bool split = true) =>
        new() { ["type"] = "Metaspace", ["replacement"] = "▁", ["prepend_scheme"] = scheme, ["split"] = split };

    public static JsonObject Replace(string text, string content) =>
        new() { ["type"] = "Replace", ["pattern"] = new JsonObject { ["String"] = text }, ["content"] = content };

    public static JsonObject ReplaceRegex(string regex, string content) =>
        new() { ["type"] = "Replace", ["pattern"] = new JsonObject { ["Regex"] = regex }, ["content"] = content };

    /// <summary>Special tokens around one text and two.</summary>
    /// <param name="single">Special tokens and <c>$A</c>.</param>
    /// <param name="pair">Special tokens, <c>$A</c> and <c>$B</c>; what follows the first <c>$B</c>'s place has its type.</param>
    /// <param name="idOf">The id of a special token.</param>
    public static JsonObject Template(string[] single, (string Item, int Type)[] pair, Func<string, int> idOf)
    {
        var special = new JsonObject();
        foreach (var token in single.Concat(pair.Select(item => item.Item)).Where(item => item is not ("$A" or "$B")).Distinct())
            special[token] = new JsonObject
            {
                ["id"] = token,
                ["ids"] = new JsonArray(idOf(token)),
                ["tokens"] = new JsonArray(token),
            };
        return new()
        {
            ["type"] = "TemplateProcessing",
            ["single"] = new JsonArray([.. single.Select(item => Item(item, 0))]),
            ["pair"] = new JsonArray([.. pair.Select(item => Item(item.Item, item.Type))]),
            ["special_tokens"] = special,
        };

        static JsonObject Item(string item, int type) => item is "$A" or "$B"
            ? new() { ["Sequence"] = new JsonObject { ["id"] = item[1..], ["type_id"] = type } }
            : new() { ["SpecialToken"] = new JsonObject { ["id"] = item, ["type_id"] = type } };
    }

    /// <summary>Writes the <c>vocab</c> of a model.</summary>
    /// <param name="tokens">Tokens in the order of their ids.</param>
    public static Action<Utf8JsonWriter> Vocabulary(IEnumerable<string> tokens) =>
        Vocabulary(tokens.Select((token, id) => (token, id)));

    /// <inheritdoc cref="Vocabulary(IEnumerable{string})"/>
    public static Action<Utf8JsonWriter> Vocabulary(IEnumerable<(string Token, int Id)> tokens) => json =>
    {
        json.WriteStartObject("vocab");
        foreach (var (token, id) in tokens)
            json.WriteNumber(token, id);
        json.WriteEndObject();
    };
}

/// <summary>Switches of a BPE model that is written.</summary>
internal readonly record struct BpeSwitches(string? UnknownToken = null, bool FusesUnknown = false, bool ByteFallback = false,
    bool IgnoresMerges = false);
