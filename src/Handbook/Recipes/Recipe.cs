using Handbook.Data;

namespace Handbook.Recipes;

/// <summary>A recipe after reading, merging and checking: what one run does.</summary>
public sealed record Recipe
{
    /// <summary>The method that the recipe is run with.</summary>
    public required TrainingMethod Method { get; init; }

    /// <summary>The recipe's path as the user wrote it.</summary>
    public required string Path { get; init; }

    /// <summary>Which of the two ways to write recipes it follows; some defaults depend on it.</summary>
    public RecipeDialect Dialect { get; init; }

    public ModelOptions Model { get; init; } = new();

    public DataOptions Data { get; init; } = new();

    public TrainingOptions Training { get; init; } = new();

    public SftOptions Sft { get; init; } = new();

    /// <summary>The data sets, however the recipe names them.</summary>
    public MixtureSpec Mixture => Data.Mixture() ?? throw new InvalidOperationException("a checked recipe names its data");
}

/// <summary>The training methods of the handbook.</summary>
public enum TrainingMethod
{
    /// <summary>Supervised fine-tuning.</summary>
    [Spelled("sft")] Sft,
    /// <summary>Continued pretraining.</summary>
    [Spelled("cpt")] Cpt,
    /// <summary>Direct preference optimisation.</summary>
    [Spelled("dpo")] Dpo,
    /// <summary>Odds-ratio preference optimisation.</summary>
    [Spelled("orpo")] Orpo,
}

/// <summary>The two ways in which the Python handbook's recipes were written.</summary>
public enum RecipeDialect
{
    /// <summary><c>dataset_mixture</c> or <c>dataset_name</c>: rows are packed only on request.</summary>
    Mixture,
    /// <summary><c>dataset_mixer</c>, the older way: SFT and pretraining always packed.</summary>
    Mixer,
}
