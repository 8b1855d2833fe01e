using Handbook.Base;
using Handbook.Recipes;
using Handbook.Torch;
using Handbook.Training.Checkpoints;

namespace Handbook.Cli;

/// <summary>What a run is told that found no more memory: what takes how much, with which keys it would take less, and where it goes on.</summary>
internal static class MemoryReport
{
    /// <summary>Writes it.</summary>
    /// <param name="file">The recipe's file.</param>
    /// <param name="overrides">What stood behind it.</param>
    public static int Write(OutOfMemory failure, Recipe recipe, FileInfo file, IReadOnlyList<string> overrides, TextWriter output)
    {
        output.WriteLine($"error: {failure.Message}");
        output.WriteLine("  why: a step needs more than is free; the plan of the run says what takes how much:");
        var lighter = PlanLines(failure, file, overrides, recipe, output);
        output.WriteLine("  fix: " + (lighter ? "add keys of one of the lines above" : "no key makes the plan smaller: take a smaller model")
            + (failure.Advice.Length > 0 ? "; " + failure.Advice : ""));
        output.WriteLine(CheckpointFolder.List(recipe.Training.OutputDir).Select(found => found.Path).LastOrDefault() is { } newest
            ? $"{newest} is kept: the same command goes on from there; keys that decide what a step computes have to stay as they are"
            : "no checkpoint was saved before; nothing of the run is left to go on from");
        return ExitCode.DoesNotFit;
    }

    private static bool PlanLines(OutOfMemory failure, FileInfo file, IReadOnlyList<string> overrides, Recipe recipe, TextWriter output)
    {
        using var lines = new StringWriter();
        bool lighter;
        try
        {
            lighter = PlanCommand.Explain(file, overrides, recipe, failure.Total, lines);
        }
        catch (InputException problem)
        {
            output.WriteLine($"    (not known: {problem.Brief})");
            return false;
        }
        foreach (var line in lines.ToString().TrimEnd().Split('\n'))
            output.WriteLine(line.Length == 0 ? "" : $"    {line}");
        return lighter;
    }
}
