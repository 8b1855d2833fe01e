using System.Globalization;
using Handbook.Base;
using Handbook.Recipes;

namespace Handbook.Launch;

/// <summary>What a launcher was told about a key of the recipe: both have to say the same.</summary>
/// <param name="Where">The launcher's file and key, or its option.</param>
/// <param name="Key">The recipe's key.</param>
/// <param name="Value">What the launcher says of it.</param>
internal sealed record ExpectedValue(string Where, string Key, string Value)
{
    /// <summary>Compares with a recipe. In Python a launcher and a trainer that count otherwise do not start either; mixed precision is
    /// the recipe's to choose.</summary>
    /// <returns>A note for the user; null where both agree.</returns>
    /// <exception cref="InputException">They contradict each other.</exception>
    public string? Compare(Recipe recipe)
    {
        var training = recipe.Training;
        var there = Key switch
        {
            "gradient_accumulation_steps" => training.GradientAccumulationSteps,
            "context_parallel_size" => training.ContextParallelSize,
            "per_device_train_batch_size" => training.PerDeviceTrainBatchSize,
            "max_grad_norm" => training.MaxGradNorm ?? 0,
            "bf16" => training.Bf16 ? 1.0 : 0,
            "use_cpu" => training.UseCpu ? 1.0 : 0,
            "gradient_checkpointing" => training.GradientCheckpointing ? 1.0 : 0,
            _ => throw new InvalidOperationException($"{Key} is not compared"),
        };
        if (bool.TryParse(Value, out var flag))
            return flag == (there != 0) ? null : $"{Where} has no effect: the recipe's {Key} decides, and it is not set; add --{Key}=true";
        if (!double.TryParse(Value, NumberStyles.Float, CultureInfo.InvariantCulture, out var here))
            throw new InputException($"{Where} is {Value}, but must be a number", fix: "write a number, or auto");
        if (here == there)
            return null;
        var shown = there.ToString(CultureInfo.InvariantCulture);
        throw new InputException($"{Where} is {Value}, but {Key} of the recipe is {shown}",
            why: Key is "gradient_accumulation_steps" or "context_parallel_size" ? "the launcher and the recipe name two different batches"
                : "only one of them could count",
            fix: $"say --{Key}={Value} behind the recipe, or {shown} to the launcher");
    }
}
