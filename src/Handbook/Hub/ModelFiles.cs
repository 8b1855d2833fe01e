using System.Text.Json;
using System.Text.RegularExpressions;
using Handbook.Models;
using Handbook.Text.Tokenizers.Formats;

namespace Handbook.Hub;

/// <summary>What of a model is needed.</summary>
internal enum ModelParts
{
    /// <summary>Its config, tokenizer and weights.</summary>
    Whole,

    /// <summary>Its tokenizer and its chat template.</summary>
    Tokenizer,

    /// <summary>Its config, from which the shapes of all weights follow.</summary>
    Config,
}

/// <summary>Which files of a repository are a model: published ones hold the same weights in several formats, of which one is
/// wanted.</summary>
internal static partial class ModelFiles
{
    private const string Index = ".index.json";

    /// <summary>The files to download, of all that a repository has.</summary>
    public static IReadOnlyList<HubFile> Choose(IReadOnlyList<HubFile> files, ModelParts parts)
    {
        bool Has(Func<string, bool> kind) => files.Any(file => kind(file.Path));
        Func<string, bool> weights = parts != ModelParts.Whole ? _ => false
            : Has(IsSafetensors) ? IsSafetensors
            : Has(IsPickled) ? IsPickled : _ => false;
        Func<string, bool> adapter = parts != ModelParts.Whole ? _ => false
            : Has(path => path == "adapter_model.safetensors") ? path => path == "adapter_model.safetensors" : path =>
                path == "adapter_model.bin";
        return [.. files.Where(file => weights(file.Path) || adapter(file.Path) || (parts == ModelParts.Config
            ? file.Path is "config.json" or "adapter_config.json"
            : IsConfig(file.Path) || IsTokenizer(file.Path)))];
    }

    /// <summary>Whether a file is a part of a model, and not of the run that made it.</summary>
    public static bool IsPart(string path) => IsConfig(path) || IsTokenizer(path) || IsWeights(path);

    /// <summary>Whether a file holds weights of a model or an adapter, or says which files do.</summary>
    public static bool IsWeights(string path) => IsSafetensors(path) || IsPickled(path)
        || path is "adapter_model.safetensors" or "adapter_model.bin";

    /// <summary>Whether a folder in the cache has what is needed of a model; one that another program has filled may lack some.</summary>
    public static bool IsComplete(string folder, ModelParts parts)
    {
        bool Has(string name) => File.Exists(Path.Combine(folder, name));
        if (parts == ModelParts.Config)
            return Has("config.json") || Has("adapter_config.json");
        if (parts == ModelParts.Tokenizer)
            return TokenizerFiles.Find(folder) is not null;
        if (ModelFolder.IsAdapter(folder))
            return Has("adapter_model.safetensors") || Has("adapter_model.bin");
        return Has("config.json") && TokenizerFiles.Find(folder) is not null && ModelFolder.HasWeights(folder)
            && ((string[])["model.safetensors" + Index, "pytorch_model.bin" + Index]).All(index => !Has(index)
                || Named(Path.Combine(folder, index)).All(Has));
    }

    private static IReadOnlyList<string> Named(string index)
    {
        try
        {
            using var json = JsonDocument.Parse(File.ReadAllBytes(index));
            return [.. json.RootElement.GetProperty("weight_map").EnumerateObject().Select(entry => entry.Value.GetString()
                ?? "").Distinct()];
        }
        catch (Exception damaged) when (damaged is JsonException or InvalidOperationException or KeyNotFoundException)
        {
            return [];      // whoever reads the weights says what is wrong with it
        }
    }

    private static bool IsSafetensors(string path) => Safetensors().IsMatch(path);

    private static bool IsPickled(string path) => Pickled().IsMatch(path);

    private static bool IsConfig(string path) => path is "config.json" or "generation_config.json" or "adapter_config.json" or "README.md";

    private static bool IsTokenizer(string path) => Tokenizer().IsMatch(path);

    [GeneratedRegex(@"\Amodel(?:-\d+-of-\d+)?\.safetensors(?:\.index\.json)?\z")]
    private static partial Regex Safetensors();

    [GeneratedRegex(@"\Apytorch_model(?:-\d+-of-\d+)?\.bin(?:\.index\.json)?\z")]
    private static partial Regex Pickled();

    [GeneratedRegex(@"\A(?:tokenizer\.json(?:\.gz)?|tokenizer\.model(?:\.v\d+)?|tekken\.json|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json|vocab\.json|vocab\.txt"
        + @"|merges\.txt|spiece\.model|[^/]+\.tiktoken|chat_template\.(?:jinja|json)|additional_chat_templates/[^/]+\.jinja)\z")]
    private static partial Regex Tokenizer();
}
