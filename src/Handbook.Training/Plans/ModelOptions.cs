using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Training.Methods;

namespace Handbook.Training.Plans;

/// <summary>The keys that say which model and tokenizer to start from; each property is one key, in snake_case.</summary>
public sealed record ModelOptions
{
    /// <summary>The folder of the model to start from, as saved by this tool or by the Python libraries.</summary>
    public string? ModelNameOrPath { get; init; }

    /// <summary>The folder (or <c>tokenizer.json</c>) of the tokenizer; null takes the model's own.</summary>
    public string? TokenizerNameOrPath { get; init; }

    /// <summary>Type in which the weights are kept: <c>float32</c>, <c>bfloat16</c>, <c>float16</c>, or <c>auto</c> for the checkpoint's
    /// own; null keeps float32.</summary>
    [Key(Aliases = ["dtype"])]
    public WeightType? TorchDtype { get; init; }

    /// <summary>The tokenizer's folder or file: <c>tokenizer_name_or_path</c>, or else the model's folder.</summary>
    public string TokenizerPath() => TokenizerNameOrPath ?? ModelNameOrPath!;

    internal void Validate(Diagnostics report)
    {
        if (string.IsNullOrWhiteSpace(ModelNameOrPath))
            report.Error("model_name_or_path", "is missing",
                why: "training starts from a model: a folder with config.json, weights and tokenizer.json",
                fix: "add `model_name_or_path: path/to/model`, or make a new one with `handbook init`");
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
