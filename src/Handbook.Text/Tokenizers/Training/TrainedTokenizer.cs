using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers.Patterns;

namespace Handbook.Text.Tokenizers.Training;

/// <summary>Writes what was learned in the published layout.</summary>
internal static class TrainedTokenizer
{
    public static Tokenizer Create(List<string> tokens, List<(int Left, int Right)> merges, BpeTrainerOptions options)
    {
        var special = options.AllSpecialTokens;
        return Tokenizer.Create(new()
        {
            Name = "tokenizer.json",
            Tokenizer = TokenizerJson(tokens, merges, special, options),
            Config = Config(special, options),
            SpecialTokensMap = Roles(options),
            ChatTemplateFile = options.ChatTemplate,
        });
    }

    private static byte[] TokenizerJson(List<string> tokens, List<(int Left, int Right)> merges, string[] special,
        BpeTrainerOptions options)
    {
        var bytes = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(bytes, new() { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            json.WriteString("version", "1.0");
            json.WriteNull("truncation");
            json.WriteNull("padding");
            Write(json, "added_tokens", new JsonArray([.. special.Select((token, id) => AddedToken(token, id))]));
            json.WriteNull("normalizer");
            Write(json, "pre_tokenizer", PreTokenizer(options.Pattern));
            Write(json, "post_processor", PostProcessor(special, options));
            Write(json, "decoder", ByteLevel(addPrefixSpace: true, useRegex: true));
            json.WriteStartObject("model");
            json.WriteString("type", "BPE");
            foreach (var absent in new[] { "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix" })
                json.WriteNull(absent);
            foreach (var off in new[] { "fuse_unk", "byte_fallback", "ignore_merges" })
                json.WriteBoolean(off, false);
            json.WriteStartObject("vocab");
            for (var id = 0; id < tokens.Count; id++)
                json.WriteNumber(tokens[id], id);
            json.WriteEndObject();
            json.WriteStartArray("merges");
            foreach (var (left, right) in merges)
            {
                json.WriteStartArray();
                json.WriteStringValue(tokens[left]);
                json.WriteStringValue(tokens[right]);
                json.WriteEndArray();
            }
            json.WriteEndArray();
            json.WriteEndObject();
            json.WriteEndObject();
        }
        return [.. bytes.WrittenSpan, (byte)'\n'];
    }

    private static void Write(Utf8JsonWriter json, string name, JsonNode? value)
    {
        json.WritePropertyName(name);
        if (value is null)
            json.WriteNullValue();
        else
            value.WriteTo(json);
    }

    private static JsonObject AddedToken(string token, int? id)
    {
        var json = new JsonObject();
        if (id is not null)
            json["id"] = id;
        json["content"] = token;
        foreach (var flag in new[] { "single_word", "lstrip", "rstrip", "normalized" })
            json[flag] = false;
        json["special"] = true;
        return json;
    }

    private static JsonObject PreTokenizer(SplitPattern pattern) => pattern == SplitPattern.Gpt2
        ? ByteLevel(addPrefixSpace: false, useRegex: true) : new()
        {
            ["type"] = "Sequence",
            ["pretokenizers"] = new JsonArray(
            new JsonObject
            {
                ["type"] = "Split",
                ["pattern"] = new JsonObject
                {
                    ["Regex"] = pattern == SplitPattern.Llama3 ? SplitScanner.Llama3Pattern
                    : SplitScanner.Qwen2Pattern
                },
                ["behavior"] = "Isolated",
                ["invert"] = false,
            },
            ByteLevel(addPrefixSpace: false, useRegex: false)),
        };

    private static JsonObject ByteLevel(bool addPrefixSpace, bool useRegex) =>
        new() { ["type"] = "ByteLevel", ["add_prefix_space"] = addPrefixSpace, ["trim_offsets"] = true, ["use_regex"] = useRegex };

    /// <summary>Puts the begin token before each text; null where there is none.</summary>
    private static JsonObject? PostProcessor(string[] special, BpeTrainerOptions options)
    {
        if (options.BosToken is not { } bos)
            return null;
        return new()
        {
            ["type"] = "TemplateProcessing",
            ["single"] = new JsonArray(Special(0), Text("A", 0)),
            ["pair"] = new JsonArray(Special(0), Text("A", 0), Special(1), Text("B", 1)),
            ["special_tokens"] = new JsonObject
            {
                [bos] = new JsonObject
                {
                    ["id"] = bos,
                    ["ids"] = new JsonArray(Array.IndexOf(special, bos)),
                    ["tokens"] = new JsonArray(bos)
                }
            },
        };

        JsonObject Special(int type) => new() { ["SpecialToken"] = new JsonObject { ["id"] = bos, ["type_id"] = type } };
        JsonObject Text(string name, int type) => new() { ["Sequence"] = new JsonObject { ["id"] = name, ["type_id"] = type } };
    }

    private static JsonObject Config(string[] special, BpeTrainerOptions options)
    {
        var decoder = new JsonObject();
        for (var id = 0; id < special.Length; id++)
            decoder[$"{id}"] = AddedToken(special[id], null);
        var config = new JsonObject { ["added_tokens_decoder"] = decoder };
        foreach (var (role, token) in Roles(options))
            config[role] = token!.DeepClone();
        config["clean_up_tokenization_spaces"] = false;
        // The Python class reads this number as "no limit".
        config["model_max_length"] = options.ModelMaxLength is { } length ? length : JsonNode.Parse("1000000000000000019884624838656");
        config["tokenizer_class"] = "PreTrainedTokenizerFast";
        return config;
    }

    private static JsonObject Roles(BpeTrainerOptions options)
    {
        var roles = new JsonObject();
        foreach (var (role, token) in new[] { ("bos_token", options.BosToken), ("eos_token", options.EosToken),
            ("pad_token", options.PadToken) })
            if (token is not null)
                roles[role] = token;
        return roles;
    }
}
