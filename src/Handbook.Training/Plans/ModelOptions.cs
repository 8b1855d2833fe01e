using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Base.Keys;
using Handbook.Models;
using Handbook.Text.Templates;
using Handbook.Training.Methods;

namespace Handbook.Training.Plans;

/// <summary>The keys that say which model and tokenizer to start from; each property is one key, in snake_case.</summary>
public sealed record ModelOptions
{
    /// <summary>The model to start from: a folder, as saved by this tool or by the Python libraries, or a name on the hub.</summary>
    [Key(IsUsual = true)]
    public string? ModelNameOrPath { get; init; }

    /// <summary>The branch, tag or commit of a model of the hub; null for <c>main</c>. It may also stand behind the name, as in
    /// <c>owner/name@revision</c>.</summary>
    public string? ModelRevision { get; init; }

    /// <summary>The branch, tag or commit of the hub's model below an adapter that <c>model_name_or_path</c> names. The adapter's own config
    /// says it too, and another one there stops the run: an adapter fits the weights that it was trained on. null takes what the adapter
    /// says.</summary>
    public string? BaseModelRevision { get; init; }

    /// <summary>The folder (or <c>tokenizer.json</c>) of the tokenizer; null takes the model's own.</summary>
    public string? TokenizerNameOrPath { get; init; }

    /// <summary>Adds <c>&lt;|im_start|&gt;</c> and <c>&lt;|im_end|&gt;</c> where the tokenizer lacks them, makes them begin and end token
    /// (the latter fills rows, too), and takes the ChatML template where the recipe names none.</summary>
    public bool SetupChatFormat { get; init; }

    /// <summary>More special tokens; those that the tokenizer lacks get ids, and rows of the embedding and the head that begin as the
    /// average row. Full training trains them, an adapter with <c>trainable_token_indices</c> or <c>lora_modules_to_save</c>.</summary>
    public IReadOnlyList<string>? NewSpecialTokens { get; init; }

    /// <summary>Makes the number of rows of embedding and head a multiple of this; null adds as many as the tokens need.</summary>
    public int? ResizeToMultipleOf { get; init; }

    /// <summary>The special tokens that are added where they are missing.</summary>
    internal IReadOnlyList<string> TokensToAdd() =>
        [.. SetupChatFormat ? ChatFormat.Tokens : [], .. NewSpecialTokens ?? []];

    /// <summary>Type in which the weights are kept: <c>float32</c>, <c>bfloat16</c>, <c>float16</c>, or <c>auto</c> for the checkpoint's
    /// own; null keeps float32.</summary>
    [Key(Aliases = ["dtype"])]
    public WeightType? TorchDtype { get; init; }

    /// <summary>The tokenizer's folder or file: <c>tokenizer_name_or_path</c>, or else the model's folder.</summary>
    public string TokenizerPath() => TokenizerNameOrPath ?? ModelNameOrPath!;

    /// <summary>The same with the revision behind the name, where the name is not of something on this machine.</summary>
    internal ModelOptions AtRevision() => IsElsewhere() && HubCache.Split(ModelNameOrPath!).Revision is null
        && ModelRevision is not (null or "" or HubCache.Main)
        && HubCache.IsRevision(ModelRevision) ? this with { ModelNameOrPath = $"{ModelNameOrPath}@{ModelRevision}" } : this;

    /// <summary>Whether the model is one of the hub.</summary>
    internal bool IsElsewhere() => ModelNameOrPath is { Length: > 0 } name && HubCache.IsName(name) && !ModelFolder.IsLocal(name);

    internal void Validate(Diagnostics report)
    {
        if (ModelRevision is { Length: > 0 } revision && !HubCache.IsRevision(revision))
            report.Error("model_revision", $"is \"{revision}\", which is no revision", "it is a branch, a tag, a commit, or refs/pr/N",
                "for example model_revision: main");
        else if (ModelRevision is { Length: > 0 } named && ModelNameOrPath is { } at && HubCache.Split(at).Revision is { } behind
            && behind != named)
            report.Error("model_revision", $"is {named}, and model_name_or_path names another one, {behind}", fix: "remove one of the two");
        if (BaseModelRevision is { Length: > 0 } below && !HubCache.IsRevision(below))
            report.Error("base_model_revision", $"is \"{below}\", which is no revision", "it is a branch, a tag, a commit, or refs/pr/N",
                "for example base_model_revision: main");
        if (string.IsNullOrWhiteSpace(ModelNameOrPath))
            report.Error("model_name_or_path", "is missing",
                why: "training starts from a model: a folder with config.json, weights and tokenizer.json",
                fix: "add `model_name_or_path: path/to/model`, or make a new one with `handbook init`");
        if (NewSpecialTokens?.Contains("") == true)
            report.Error("new_special_tokens", "has an empty token", why: "it could not be found in any text",
                fix: "give it a name such as \"<|tool|>\"");
        if (ResizeToMultipleOf < 1)
            report.OutOfRange("resize_to_multiple_of", ResizeToMultipleOf, "must be at least 1", fix: "use 64, or remove the key");
        if (TorchDtype is WeightType.Float16)
            report.Error("torch_dtype", "is float16, which cannot be trained on a CPU",
                why: "its small exponent range underflows gradients, and processors have no fast float16 product",
                fix: "use float32, or bfloat16 for half the memory");
    }
}

/// <summary>Storage type of the weights.</summary>
public enum WeightType
{
    /// <summary>As the file has them.</summary>
    [Spelled("auto")] Auto,
    /// <summary>Four bytes a weight.</summary>
    [Spelled("float32", "fp32", "torch.float32")] Float32,
    /// <summary>Two bytes a weight, with float32's range.</summary>
    [Spelled("bfloat16", "bf16", "torch.bfloat16")] BFloat16,
    /// <summary>Two bytes a weight, with a small range.</summary>
    [Spelled("float16", "fp16", "torch.float16")] Float16,
}
