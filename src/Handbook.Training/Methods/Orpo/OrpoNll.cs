using Handbook.Base.Keys;

namespace Handbook.Training.Methods.Orpo;

/// <summary>What ORPO's likelihood term covers.</summary>
public enum OrpoNll
{
    /// <summary>Every token of prompt and chosen answer.</summary>
    [Spelled("prompt_and_completion")] PromptAndCompletion,
    /// <summary>The tokens of the chosen answer alone.</summary>
    [Spelled("completion")] Completion,
}
