using System.CommandLine;
using Handbook.Cli.Progress;
using Handbook.Recipes;
using Handbook.Runs;
using Handbook.Training.Methods;

namespace Handbook.Cli;

/// <summary>What the training commands share: the recipe, its overrides, and where the messages go.</summary>
internal static class TrainCommand
{
    /// <summary>The command of every method, in the order of their table.</summary>
    public static IEnumerable<Command> All => MethodDefinition.All.Select(Create);

    /// <summary>Those that may be run as several processes.</summary>
    public static IReadOnlyList<string> Names { get; } =
        [.. MethodDefinition.All.Where(method => !method.IsPipeline).Select(method => method.Name)];

    private static Command Create(MethodDefinition method)
    {
        var command = new Command(method.Name, method.Summary) { RecipeWords.Argument };
        command.TreatUnmatchedTokensAsErrors = false;       // --learning_rate=2e-5 and its like: Recipe.Load judges them
        // Every tensor lives on the worker's thread; this one stays free to hear Ctrl-C.
        command.SetAction((args, cancel) => Task.Run(() => Run(RecipeWords.Of(args), method, cancel), CancellationToken.None));
        return command;
    }

    private static int Run((FileInfo File, IReadOnlyList<string> Overrides) words, MethodDefinition method, CancellationToken cancel)
    {
        if (!Recipe.Load(words.File, words.Overrides, method.Method).TryGet(out var recipe, out var diagnostics))
            return ExitCode.BadInput(diagnostics);          // prints every problem, starts nothing
        Console.Error.Write(diagnostics.ToString());        // notes: what has no effect here
        foreach (var (name, value) in recipe.Training.Env ?? new Dictionary<string, string>())
            Environment.SetEnvironmentVariable(name, value);
        var observer = new ConsoleObserver(new LiveLine(terminal: recipe.Training.DisableTqdm == true ? false : null));
        var end = method.IsPipeline ? RejectionRun.Run(recipe, observer, Program.CommandLine, cancel).End
            : TrainingRun.Run(recipe, observer, Program.CommandLine, cancel).End;
        return end == RunEnd.Interrupted ? ExitCode.Interrupted : ExitCode.Ok;
    }
}
