using Handbook.Recipes;
using Handbook.Training;
using Handbook.Training.Optimizers;
using Handbook.Training.Scale;

namespace Handbook.Runs;

/// <summary>Keys that would make a run fit into memory, with what they cost.</summary>
/// <param name="Overrides">As they are typed.</param>
/// <param name="Memory">Bytes of one process with them.</param>
/// <param name="Time">By what the time of a step is multiplied, as far as operations tell.</param>
/// <param name="Changes">What is trained differently; empty where the numbers stay the same but for rounding.</param>
internal sealed record FitAdvice(IReadOnlyList<string> Overrides, long Memory, double Time, string Changes)
{
    private const string AllLinear = "--lora_target_modules=all-linear";

    /// <summary>What may be changed: how much it changes what is learned, what it says of that, and its keys; of several ways the first
    /// that the model allows.</summary>
    private static readonly (int Rank, string Changes, Func<Recipe, string[][]> Keys)[] s_trained =
    [
        (0, "", _ => [[]]),
        (1, "states of the optimiser in 8 bits", recipe => recipe.Adapter.UsePeft || recipe.Training.Optimizer() != OptimizerKind.AdamW ? [] : [["--optim=adamw_8bit"]]),
        (2, "an adapter is trained in place of all weights", recipe => recipe.Adapter.UsePeft ? [] : Adapted(recipe)),
        (3, "an adapter is trained over weights of 4 bits", recipe => IsQuantised(recipe) ? [] : Adapted(recipe, "--load_in_4bit=true")),
        (4, "an adapter is trained over weights of 4 bits, whose scales are codes as well", recipe => recipe.Quantisation switch
        {
            { LoadIn4Bit: true, UseBnbNestedQuant: true } or { LoadIn8Bit: true } => [],
            { LoadIn4Bit: true } => [["--use_bnb_nested_quant=true"]],
            _ => Adapted(recipe, "--load_in_4bit=true", "--use_bnb_nested_quant=true"),
        }),
    ];

    private static bool IsQuantised(Recipe recipe) => recipe.Quantisation is { LoadIn4Bit: true } or { LoadIn8Bit: true };

    /// <summary>An adapter with more keys: where families usually have one, or everywhere.</summary>
    private static string[][] Adapted(Recipe recipe, params string[] keys) => recipe.Adapter.UsePeft ? [keys]
        : [["--use_peft=true", .. keys], ["--use_peft=true", AllLinear, .. keys]];

    /// <summary>The least changes that fit, cheapest first; those that change what is learned come last.</summary>
    /// <param name="recipe">As it is.</param>
    /// <param name="limit">Bytes of one process.</param>
    /// <param name="plan">Plans the recipe with more keys; null where these do not go together. Its least memory, and operations for a
    /// token.</param>
    public static IReadOnlyList<FitAdvice> Of(Recipe recipe, long limit, Func<IReadOnlyList<string>, (long Memory, double Flops)?> plan)
    {
        if (plan([]) is not { } today)
            return [];
        List<(int Rank, FitAdvice Advice)> found = [];
        foreach (var (rank, changes, keys) in s_trained)
        {
            // a family without usual targets wants them named
            if (keys(recipe).FirstOrDefault(way => way.Length == 0 || plan(way) is not null) is not { } trained)
                continue;
            foreach (string[] smaller in (string[][])[[], [$"--max_tokens={Shorter(recipe)}"]])
                foreach (string[] again in (string[][])[[], ["--gradient_checkpointing=true"]])
                {
                    string[] all = [.. trained, .. smaller, .. again];
                    if (all.Length == 0 || (smaller.Length > 0 && Shorter(recipe) >= recipe.Data.TokensAtOnce())
                        || (again.Length > 0 && recipe.Training.GradientCheckpointing)
                        || found.Any(other => other.Rank <= rank && other.Advice.Overrides.All(all.Contains))
                        || plan(all) is not { } then || then.Memory > limit)
                        continue;
                    // Shorter passes use the machine less well: an estimate.
                    found.Add((rank, new(all, then.Memory, then.Flops / today.Flops * (smaller.Length > 0 ? 1.05 : 1), changes)));
                }
        }
        return [.. found.OrderBy(one => one.Rank).ThenBy(one => one.Advice.Time).Select(one => one.Advice)];
    }

    /// <summary>The fewest tokens at once that a recipe's longest row allows.</summary>
    private static int Shorter(Recipe recipe) => ScalePlan.LongestRow(recipe) ?? 1024;
}
