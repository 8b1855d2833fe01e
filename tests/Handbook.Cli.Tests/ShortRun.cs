using Handbook.Training.Methods;

namespace Handbook.Cli.Tests;

/// <summary>Keys that make a run of any recipe short: few steps, few prompts, few tokens.</summary>
internal static class ShortRun
{
    /// <param name="method">What is run.</param>
    /// <param name="steps">Optimiser steps to take.</param>
    /// <param name="hasThreshold">Whether answers are selected by a score that a model which has learnt nothing seldom reaches.</param>
    public static IEnumerable<string> Keys(MethodDefinition method, int steps, bool hasThreshold = true)
    {
        yield return $"--max_steps={steps}";
        if (method.IsPipeline)
            yield return "--max_prompts=8";
        if (method.ScoresAnswers)
            yield return "--max_completion_length=8";
        if (method.IsPipeline && hasThreshold)
            yield return "--select_threshold=0";
    }
}
