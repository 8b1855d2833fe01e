namespace Handbook.Training.Progress;

/// <summary>What one optimiser step did.</summary>
/// <param name="Step">Steps done, this one included.</param>
/// <param name="Epoch">Epochs done, with fraction.</param>
/// <param name="Loss">Null where it was not measured.</param>
/// <param name="LearningRate">The rate of this step.</param>
/// <param name="GradNorm">Before clipping; null where it was not measured.</param>
/// <param name="Tokens">Tokens that went through the model.</param>
/// <param name="PaddingTokens">Those of them that were padding: 0 in a flat token stream.</param>
/// <param name="MemoryBytes">Memory in use; null asks the system for the process's.</param>
public readonly record struct StepReport(
    int Step, double Epoch, double? Loss, double LearningRate, double? GradNorm, long Tokens, long PaddingTokens = 0,
        long? MemoryBytes = null);
