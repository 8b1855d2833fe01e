using System.Text;
using System.Text.Json.Nodes;

namespace Handbook.Models.Tests;

/// <summary>Small configs and folders for tests.</summary>
internal static class Some
{
    public static PublishedConfig Gpt2(int vocabulary = 13, int hidden = 8, int layers = 2, int heads = 2, int positions = 16,
        params (string Key, JsonNode? Value)[] more) =>
        Config([("model_type", "gpt2"), ("vocab_size", vocabulary), ("n_embd", hidden), ("n_layer", layers), ("n_head", heads),
            ("n_positions", positions), .. more]);

    public static PublishedConfig Llama(params (string Key, JsonNode? Value)[] more) =>
        Config([("model_type", "llama"), ("vocab_size", 19), ("hidden_size", 12), ("intermediate_size", 20), ("num_hidden_layers", 2),
            ("num_attention_heads", 3), ("num_key_value_heads", 1), ("max_position_embeddings", 64), .. more]);

    /// <summary>Four experts, two of them for each token.</summary>
    public static PublishedConfig Mixtral(params (string Key, JsonNode? Value)[] more) =>
        Config([("model_type", "mixtral"), ("vocab_size", 19), ("hidden_size", 12), ("intermediate_size", 20), ("num_hidden_layers", 2),
            ("num_attention_heads", 3),
            ("num_key_value_heads", 1), ("num_local_experts", 4), ("max_position_embeddings", 64), ("sliding_window", 5), .. more]);

    public static PublishedConfig Config(params (string Key, JsonNode? Value)[] keys)
    {
        var json = new JsonObject();
        foreach (var (key, value) in keys)
            json[key] = value?.DeepClone();
        return PublishedConfig.Parse(Encoding.UTF8.GetBytes(json.ToJsonString()), "config.json");
    }
}
