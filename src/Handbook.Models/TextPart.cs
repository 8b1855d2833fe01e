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
    /// <summary>Prefixes of the text model's tensors in the whole: of transformers 4, and of 5, where its head stands outside.</summary>
    public static readonly string[] Prefixes = ["language_model.", "model.language_model."];

    // What the whole says for its text model where that does not say it itself.
    private static readonly string[] s_shared = ["tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id", "torch_dtype",
        "dtype", "quantization_config", "transformers_version"];

    private static readonly string[] s_otherParts = ["vision_config", "audio_config", "image_token_id", "video_token_id", "vision_token_id",
        "vision_start_token_id", "vision_end_token_id"];

    // With text alone all three positions of a token are the same, and the rotation by sections is the plain one.
    private static readonly Dictionary<string, string> s_textTypes = new()
    {
        ["qwen2_vl"] = "qwen2",
        ["qwen2_vl_text"] = "qwen2",
        ["qwen2_5_vl"] = "qwen2",
        ["qwen2_5_vl_text"] = "qwen2",
    };

    /// <summary>The text model of a config; null where the config is of a text model alone.</summary>
    public static TextPart? Of(JsonObject json)
    {
        var whole = json["model_type"] is JsonValue type && type.TryGetValue<string>(out var text) ? text : "";
        var inner = json["text_config"] as JsonObject;
        if (inner is null && !s_textTypes.ContainsKey(whole))
            return null;
        var own = (inner ?? json).DeepClone().AsObject();
        if (inner is not null)
            foreach (var key in s_shared.Where(key => json.ContainsKey(key) && !own.ContainsKey(key)))
                own[key] = json[key]?.DeepClone();
        foreach (var key in s_otherParts.Append("architectures"))
            own.Remove(key);
        if (own["model_type"] is JsonValue value && value.TryGetValue<string>(out var name) && s_textTypes.TryGetValue(name, out var plain))
        {
            own["model_type"] = plain;
            foreach (var key in (string[])["rope_scaling", "rope_parameters"])
                if (own[key] is JsonObject rope && rope.Remove("mrope_section"))
                {
                    rope.Remove("type");
                    rope["rope_type"] = "default";
                }
        }
        return new(own, whole);
    }
}
