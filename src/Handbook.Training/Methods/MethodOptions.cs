using Handbook.Base.Keys;
using Handbook.Training.Methods.Grpo;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Sampling;

namespace Handbook.Training.Methods;

/// <summary>The method of a run with the options of everything that it steers; a recipe is these and the names of models and data.</summary>
public record MethodOptions
{
    /// <summary>The method that is run.</summary>
    public required TrainingMethod Method { get; init; }

    /// <summary>The method as its command is called.</summary>
    public string MethodName => RecipeNames.Of(Method);

    public TrainingOptions Training { get; init; } = new();

    public SftOptions Sft { get; init; } = new();

    public PreferenceOptions Preference { get; init; } = new();

    public RewardOptions Reward { get; init; } = new();

    public GenerationOptions Sampling { get; init; } = new();

    public GrpoOptions Grpo { get; init; } = new();

    public ScorerOptions Scoring { get; init; } = new();

    public RejectionOptions Rejection { get; init; } = new();
}
