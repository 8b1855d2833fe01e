namespace Handbook.Training.Methods;

/// <summary>Answers that a step writes with the weights that it then trains.</summary>
/// <param name="PerPrompt">Answers to each prompt.</param>
/// <param name="AtOnce">Answers that are worked on together.</param>
/// <param name="PromptLength">Most tokens of a prompt; null where no key limits them.</param>
/// <param name="Length">Most tokens of an answer.</param>
public readonly record struct WrittenAnswers(int PerPrompt, int AtOnce, int? PromptLength, int Length);
