using System.CommandLine;
using Handbook.Recipes;
using Handbook.Training.Methods;

namespace Handbook.Cli;

/// <summary>What the training commands share: the recipe, its overrides, and where the messages go.</summary>
internal static class TrainCommand
{
    /// <param name="train">Runs a checked recipe to its end, or to a checkpoint when cancelled; returns the exit code.</param>
    public static Command Create(TrainingMethod method, string name, string description, Func<Recipe, CancellationToken, int> train)
    {
        var command = new Command(name, description) { RecipeWords.Argument };
        command.TreatUnmatchedTokensAsErrors = false;       // --learning_rate=2e-5 and its like: Recipe.Load judges them
        // Every tensor lives on the worker's thread; this one stays free to hear Ctrl-C.
        command.SetAction((args, cancel) => Task.Run(() => Run(RecipeWords.Of(args), method, train, cancel), CancellationToken.None));
        return command;
    }

    private static int Run((FileInfo File, IReadOnlyList<string> Overrides) words, TrainingMethod method, Func<Recipe, CancellationToken, int> train, CancellationToken cancel)
    {
        if (!Recipe.Load(words.File, words.Overrides, method).TryGet(out var recipe, out var diagnostics))
            return ExitCode.BadInput(diagnostics);          // prints every problem, starts nothing
        Console.Error.Write(diagnostics.ToString());        // notes: what has no effect here
        foreach (var (name, value) in recipe.Training.Env ?? new Dictionary<string, string>())
            Environment.SetEnvironmentVariable(name, value);
        return train(recipe, cancel);
    }
}
