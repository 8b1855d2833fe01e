namespace Handbook.Training.Plans;

/// <summary>The two ways in which the Python handbook's recipes were written.</summary>
public enum RecipeDialect
{
    /// <summary><c>dataset_mixture</c> or <c>dataset_name</c>: rows are packed only on request.</summary>
    Mixture,
    /// <summary><c>dataset_mixer</c>, the older way: SFT and pretraining always packed.</summary>
    Mixer,
}
