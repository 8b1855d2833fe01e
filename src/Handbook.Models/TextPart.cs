using System.Text.Json.Nodes;

namespace Handbook.Models;

/// <summary>The text model of a model that also sees or hears: its own config, as if it were published alone.</summary>
/// <remarks>
/// Such a <c>config.json</c> holds the text model's as <c>text_config</c>; Qwen 2 VL's first files have its keys beside those of the other
/// parts. Only the text model is read, trained and saved.
/// </remarks>
/// <param name="Json">The text model's config.</param>
/// <param name="Whole">The <c>model_type</c> of the whole.</param>
internal sealed record TextPart(JsonObject Json, string Whole)
{
    /// <summary>The names that a tensor of the text model may have in the whole: in transformers 4 with its whole name behind a prefix, in
    /// 5 and in Idefics 3 and SmolVLM without that of the network, while its head stands outside.</summary>
    /// <param name="published">Its name in a model of text alone.</param>
    /// <param name="bare">The same without the network's prefix.</param>
    public static string[] Names(string published, string bare) =>
        ["language_model." + published, "model.language_model." + bare, "model.text_model." + bare, "language_model." + bare, published,
            bare];

    // What the whole says for its text model where that does not say it itself.
    private static readonly string[] s_shared = ["tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id", "torch_dtype",
        "dtype", "quantization_config", "transformers_version"];

    private static readonly string[] s_otherParts = ["vision_config", "audio_config", "image_token_id", "video_token_id", "vision_token_id",
        "vision_start_token_id", "vision_end_token_id"];

    // With text alone all three positions of a token are the same, and the rotation by sections is the plain one. What a file leaves out is
    // what the class of the text part says, where the family's says something else.
    private static readonly Dictionary<string, (string Plain, string Defaults)> s_textTypes = new()
    {
        ["qwen2_vl"] = ("qwen2", Qwen2),
        ["qwen2_vl_text"] = ("qwen2", Qwen2),
        ["qwen2_5_vl"] = ("qwen2", Qwen2),
        ["qwen2_5_vl_text"] = ("qwen2", Qwen2),
        ["qwen3_vl_text"] = ("qwen3", """{ "max_position_embeddings": 128000, "rope_theta": 500000.0 }"""),
    };

    private const string Qwen2 = """
        { "vocab_size": 152064, "hidden_size": 8192, "intermediate_size": 29568, "num_hidden_layers": 80, "num_attention_heads": 64,
        "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 1000000.0, "max_window_layers": 80 }
        """;

    /// <summary>The text model of a config; null where the config is of a text model alone.</summary>
    public static TextPart? Of(JsonObject json)
    {
        var whole = TypeOf(json) ?? "";
        var inner = json["text_config"] as JsonObject;
        if (inner is null && !s_textTypes.ContainsKey(whole))
            return null;
        var own = (inner ?? json).DeepClone().AsObject();
        if (inner is not null)
            foreach (var key in s_shared.Where(key => json.ContainsKey(key) && !own.ContainsKey(key)))
                own[key] = json[key]?.DeepClone();
        foreach (var key in s_otherParts.Append("architectures"))
            own.Remove(key);
        if (TypeOf(own) is { } type && s_textTypes.TryGetValue(type, out var text))
        {
            own["model_type"] = text.Plain;
            foreach (var (key, value) in JsonNode.Parse(text.Defaults)!.AsObject())
                if (!own.ContainsKey(key))
                    own[key] = value!.DeepClone();
            foreach (var key in (string[])["rope_scaling", "rope_parameters"])
                if (own[key] is JsonObject rope)
                    WithoutSections(rope);
        }
        return new(own, whole);
    }

    private static string? TypeOf(JsonObject json) => TextOf(json, "model_type");

    private static string? TextOf(JsonObject json, string key) =>
        json[key] is JsonValue value && value.TryGetValue<string>(out var text) ? text : null;

    /// <summary>Leaves of a rotation by sections what it says besides: how positions are stretched.</summary>
    private static void WithoutSections(JsonObject rope)
    {
        rope.Remove("mrope_section");
        rope.Remove("mrope_interleaved");
        foreach (var key in (string[])["rope_type", "type"])
            if (TextOf(rope, key) == "mrope")
                rope[key] = "default";
    }
}
