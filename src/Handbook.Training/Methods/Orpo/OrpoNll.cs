using Handbook.Base.Keys;

namespace Handbook.Training.Methods.Orpo;

/// <summary>What ORPO's likelihood term covers.</summary>
public enum OrpoNll
{
    [Spelled("prompt_and_completion")] PromptAndCompletion,
    [Spelled("completion")] Completion,
}
