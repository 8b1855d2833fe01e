using System.CommandLine;
using Handbook.Cli.Progress;
using Handbook.Recipes;
using Handbook.Runs;
using Handbook.Training.Methods;

namespace Handbook.Cli;

/// <summary>What the training commands share: the recipe, its overrides, and where the messages go.</summary>
internal static class TrainCommand
{
    /// <param name="train">Runs a checked recipe to its end, or to a checkpoint when cancelled; says how it ended.</param>
    public static Command Create(TrainingMethod method, string name, string description, Func<Recipe, ConsoleObserver, string, CancellationToken, RunEnd> train)
    {
        var command = new Command(name, description) { RecipeWords.Argument };
        command.TreatUnmatchedTokensAsErrors = false;       // --learning_rate=2e-5 and its like: Recipe.Load judges them
        // Every tensor lives on the worker's thread; this one stays free to hear Ctrl-C.
        command.SetAction((args, cancel) => Task.Run(() => Run(RecipeWords.Of(args), method, train, cancel), CancellationToken.None));
        return command;
    }

    /// <summary>A method that trains rows.</summary>
    public static Command Create(TrainingMethod method, string name, string description) =>
        Create(method, name, description, (recipe, observer, commandLine, cancel) => TrainingRun.Run(recipe, observer, commandLine, cancel).End);

    private static int Run((FileInfo File, IReadOnlyList<string> Overrides) words, TrainingMethod method, Func<Recipe, ConsoleObserver, string, CancellationToken, RunEnd> train, CancellationToken cancel)
    {
        if (!Recipe.Load(words.File, words.Overrides, method).TryGet(out var recipe, out var diagnostics))
            return ExitCode.BadInput(diagnostics);          // prints every problem, starts nothing
        Console.Error.Write(diagnostics.ToString());        // notes: what has no effect here
        foreach (var (name, value) in recipe.Training.Env ?? new Dictionary<string, string>())
            Environment.SetEnvironmentVariable(name, value);
        var observer = new ConsoleObserver(new LiveLine(terminal: recipe.Training.DisableTqdm == true ? false : null));
        return train(recipe, observer, Program.CommandLine, cancel) == RunEnd.Interrupted ? ExitCode.Interrupted : ExitCode.Ok;
    }
}
