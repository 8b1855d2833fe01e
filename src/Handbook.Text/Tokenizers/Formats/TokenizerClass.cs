using System.Text.Json;
using System.Text.Json.Nodes;

namespace Handbook.Text.Tokenizers.Formats;

/// <summary>The Python class that reads a tokenizer's files and says what these leave open: how texts are cut, what is added.</summary>
internal static class TokenizerClass
{
    /// <summary>The class that reads the tokenizer of a model type.</summary>
    private static readonly Dictionary<string, string> OfModel = new(StringComparer.Ordinal)
    {
        ["llama"] = "LlamaTokenizer",
        ["mistral"] = "LlamaTokenizer",
        ["mixtral"] = "LlamaTokenizer",
        ["phi3"] = "LlamaTokenizer",
        ["gemma"] = "GemmaTokenizer",
        ["gemma2"] = "GemmaTokenizer",
        ["gemma3"] = "GemmaTokenizer",
        ["gemma3_text"] = "GemmaTokenizer",
        ["qwen2"] = "Qwen2Tokenizer",
        ["qwen2_moe"] = "Qwen2Tokenizer",
        ["qwen3"] = "Qwen2Tokenizer",
        ["qwen3_moe"] = "Qwen2Tokenizer",
        ["gpt2"] = "GPT2Tokenizer",
        ["gpt_bigcode"] = "GPT2Tokenizer",
        ["gptj"] = "GPT2Tokenizer",
        ["gpt_neo"] = "GPT2Tokenizer",
        ["opt"] = "GPT2Tokenizer",
        ["starcoder2"] = "GPT2Tokenizer",
        ["granite"] = "GPT2Tokenizer",
        ["granitemoe"] = "GPT2Tokenizer",
        ["granitemoeshared"] = "GPT2Tokenizer",
        ["phi"] = "CodeGenTokenizer",
        ["roberta"] = "RobertaTokenizer",
        ["bert"] = "BertTokenizer",
        ["albert"] = "AlbertTokenizer",
        ["qwen"] = "QWenTokenizer",
    };

    /// <summary>The class without <c>Fast</c>: that of tokenizer_config.json, else of config.json, else of its model type; null where the
    /// files name none.</summary>
    public static string? Of(JsonObject? tokenizer, JsonObject? model)
    {
        var named = Text(tokenizer, "tokenizer_class") ?? Text(model, "tokenizer_class")
            ?? (Text(model, "model_type") is { } type ? OfModel.GetValueOrDefault(type) : null);
        return named switch
        {
            null or "PreTrainedTokenizerFast" or "PreTrainedTokenizer" or "TokenizersBackend" => null,
            _ when named.EndsWith("Fast", StringComparison.Ordinal) => named[..^4],
            _ => named,
        };
    }

    private static string? Text(JsonObject? json, string key) =>
        json?[key] is JsonValue value && value.GetValueKind() == JsonValueKind.String ? value.GetValue<string>() : null;
}

/// <summary>A tokenizer in another format, as tokenizer.json and as what the class adds to tokenizer_config.json.</summary>
/// <param name="Tokenizer">The tokenizer.json.</param>
/// <param name="Defaults">Keys of tokenizer_config.json with the values that the class has where the file leaves them out.</param>
internal sealed record ConvertedTokenizer(byte[] Tokenizer, JsonObject Defaults);
