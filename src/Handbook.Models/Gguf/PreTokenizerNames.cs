using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Text.Tokenizers.Formats;

namespace Handbook.Models.Gguf;

/// <summary>The ways to cut texts that llama.cpp knows by name (<c>tokenizer.ggml.pre</c>), as the steps of a tokenizer.json.</summary>
/// <remarks>llama.cpp's conversion looks names up by a hash over what a published tokenizer makes of a test text. Here the steps
/// themselves are compared, so that a tokenizer trained with the same steps is known as well.</remarks>
internal static class PreTokenizerNames
{
    /// <summary>GPT-2's pattern, which the step ByteLevel has built in.</summary>
    public const string Gpt2Pattern = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    private const string Contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
    private const string Rest = @" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    private const string Cl100k = Contractions + @"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|" + Rest;
    private const string Qwen2 = Contractions + @"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|" + Rest;
    private const string Tekken = @"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
        + @"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}|"
        + @" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    /// <summary>Names with their steps; of several with equal steps the first that goes with the model's merges.</summary>
    private static readonly (string Name, bool IgnoresMerges, string[] Steps)[] _table =
    [
        ("gpt-2", false, ["gpt2"]),
        ("smollm", false, ["digits", "gpt2"]),
        ("llama-bpe", true, [Cl100k]),
        ("dbrx", false, [Cl100k]),
        ("qwen2", false, [Qwen2]),
        ("tekken", true, [Tekken]),
        ("falcon", false, ["punctuation", "gpt2", "numbers", "[0-9][0-9][0-9]"]),
    ];

    /// <summary>Other names that llama.cpp has for the same steps, of files that it wrote.</summary>
    private static readonly Dictionary<string, string> _same = new()
    {
        ["mpt"] = "gpt-2",
        ["olmo"] = "gpt-2",
        ["jais"] = "gpt-2",
        ["phi-2"] = "gpt-2",
        ["gpt2"] = "gpt-2",
        ["exaone4"] = "gpt-2",
        ["trillion"] = "gpt-2",
        ["starcoder"] = "smollm",
        ["refact"] = "smollm",
        ["command-r"] = "smollm",
        ["codeshell"] = "smollm",
        ["exaone"] = "smollm",
        ["minerva-7b"] = "smollm",
        ["llama3"] = "llama-bpe",
        ["llama-v3"] = "llama-bpe",
        ["falcon3"] = "llama-bpe",
        ["smaug-bpe"] = "dbrx",
        ["stablelm2"] = "qwen2",
        ["deepseek-r1-qwen"] = "qwen2",
        ["megrez"] = "qwen2",
    };

    /// <summary>The names that are read back.</summary>
    public static IEnumerable<string> Read => Known.Concat(_same.Keys);

    /// <summary>The names that are known.</summary>
    public static IEnumerable<string> Known => _table.Select(row => row.Name);

    /// <summary>The name of a way to cut texts; null where llama.cpp knows none.</summary>
    /// <param name="preTokenizer">The component of the tokenizer.json.</param>
    /// <param name="ignoresMerges">Whether a whole piece that is a token stays one.</param>
    public static string? NameOf(JsonElement preTokenizer, bool ignoresMerges)
    {
        var steps = Steps(preTokenizer).ToArray();
        return _table.FirstOrDefault(row => row.IgnoresMerges == ignoresMerges && row.Steps.SequenceEqual(steps)).Name;
    }

    /// <summary>The steps of a name, and whether whole pieces stay; null where the name is not known.</summary>
    public static (string[] Steps, bool IgnoresMerges)? StepsOf(string name) =>
        _table.FirstOrDefault(row => row.Name == _same.GetValueOrDefault(name, name)) is { Name: not null } row
            ? (row.Steps, row.IgnoresMerges) : null;

    /// <summary>The component of a tokenizer.json with these steps.</summary>
    public static JsonObject Component(string[] steps)
    {
        var parts = steps.Select(step => step switch
        {
            "gpt2" => TokenizerJson.ByteLevel(addPrefixSpace: false, useRegex: true),
            "digits" or "numbers" => new JsonObject { ["type"] = "Digits", ["individual_digits"] = step == "digits" },
            "punctuation" => new JsonObject { ["type"] = "Punctuation", ["behavior"] = "Contiguous" },
            _ => TokenizerJson.Split(step),
        }).ToList();
        // bytes are made of what was cut, once
        if (!steps.Contains("gpt2"))
            parts.Add(TokenizerJson.ByteLevel(addPrefixSpace: false, useRegex: false));
        return parts is [var only] ? only : TokenizerJson.Sequence("pretokenizers", [.. parts]);
    }

    private static IEnumerable<string> Steps(JsonElement step)
    {
        if (step.ValueKind != JsonValueKind.Object)
            return [];
        string[] one = step.GetProperty("type").GetString() switch
        {
            "Sequence" => [.. step.GetProperty("pretokenizers").EnumerateArray().SelectMany(Steps)],
            "ByteLevel" => !step.TryGetProperty("use_regex", out var regex) || regex.GetBoolean() ? ["gpt2"] : [],
            "Digits" => step.GetProperty("individual_digits").GetBoolean() ? ["digits"] : ["numbers"],
            "Punctuation" when step.TryGetProperty("behavior", out var behavior) && behavior.GetString() == "Contiguous" => ["punctuation"],
            "Split" when step.GetProperty("behavior").GetString() == "Isolated" && !step.GetProperty("invert").GetBoolean()
                && step.GetProperty("pattern").TryGetProperty("Regex", out var pattern) =>
                [pattern.GetString() is Gpt2Pattern ? "gpt2" : pattern.GetString()!],
            var other => [$"? {other}"],
        };
        return one;
    }
}
