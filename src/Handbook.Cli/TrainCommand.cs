using System.CommandLine;
using System.Runtime.InteropServices;
using Handbook.Base;
using Handbook.Cli.Progress;
using Handbook.Launch;
using Handbook.Recipes;
using Handbook.Runs;
using Handbook.Torch;
using Handbook.Training.Distributed;
using Handbook.Training.Methods;
using Handbook.Training.Plans;
using Handbook.Training.Progress;

namespace Handbook.Cli;

/// <summary>What the training commands share: the recipe, its overrides, and where the messages go.</summary>
internal static class TrainCommand
{
    /// <summary>The command of every method, in the order of their table.</summary>
    public static IEnumerable<Command> All => MethodDefinition.All.Select(Create);

    /// <summary>Their names: they may be run as several processes.</summary>
    public static IReadOnlyList<string> Names { get; } = [.. MethodDefinition.All.Select(method => method.Name)];

    /// <summary>What a command of this name trains; null where it trains nothing.</summary>
    public static TrainingMethod? MethodOf(string command) => MethodDefinition.All.FirstOrDefault(method => method.Name == command)?.Method;

    private static Command Create(MethodDefinition method)
    {
        var command = new Command(method.Name, method.Summary) { RecipeWords.Argument };
        command.TreatUnmatchedTokensAsErrors = false;       // --learning_rate=2e-5 and its like: Recipe.Load judges them
        // Every tensor lives on the worker's thread; this one stays free to hear Ctrl-C.
        command.SetAction((args, cancel) => Task.Run(() => Run(RecipeWords.Of(args), method, cancel), CancellationToken.None));
        return command;
    }

    private static int Run((FileInfo File, IReadOnlyList<string> Overrides) words, MethodDefinition method, CancellationToken asked)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(asked);
        using var warning = SignalNumbers.User1 is { } signal
            ? PosixSignalRegistration.Create((PosixSignal)signal, context =>
            {
                context.Cancel = true;
                stop.Cancel();
            }) : null;
        var cancel = stop.Token;
        var place = Rendezvous.FromEnvironment();
        var read = Recipe.Load(words.File, words.Overrides, method.Method);
        if (!read.TryGet(out var recipe, out var diagnostics))
        {
            if (place is { Rank: > 0 })
                return ExitCode.UserCanFix;
            if (read.Draft is { } draft)
                RecipeProbe.Of(draft, diagnostics).Report(diagnostics);
            return ExitCode.BadInput(diagnostics);      // prints every problem, starts nothing
        }
        foreach (var (name, value) in recipe.Training.Env ?? new Dictionary<string, string>())
            Environment.SetEnvironmentVariable(name, value);
        var least = Talk.Least(recipe.Training.LogLevel);
        var live = new LiveLine(terminal: recipe.Training.DisableTqdm == true ? false : null);
        if (place is not { WorldSize: > 1 })
        {
            Console.Error.Write(Talk.Messages(diagnostics, least));       // notes: what has no effect here
            var observer = new ConsoleObserver(live) { Least = least };
            try
            {
                return Code(Run(recipe, observer, Workers.Alone, cancel));
            }
            catch (Exception failure) when (!observer.HasEntered
                && (failure as InputException ?? FileProblem.Explain(failure)) is { } problem)
            {
                return NotBegun(recipe, problem, diagnostics);
            }
            catch (Exception failure) when (OutOfMemory.In(failure) is { } full)
            {
                return MemoryReport.Write(full, recipe, words.File, words.Overrides, Console.Error);
            }
        }
        if (place.Rank == 0)
            Console.Error.Write(Talk.Messages(diagnostics, least));
        try
        {
            Workers.RequireGroups(place.WorldSize, recipe.Training.ContextParallelSize);      // before anyone waits for the others
            TrainingPlan.RequireShards(recipe, place.WorldSize);
        }
        catch (InputException problem)
        {
            return NotBegun(recipe, problem, diagnostics, looks: false);
        }
        using var job = RankWords.Join(place, cancel, TimeSpan.FromSeconds(recipe.Training.DdpTimeout));
        return RunAsRank(job, place, recipe, words, live, diagnostics, cancel);
    }

    /// <summary>Says why a run could not begin, where the keys stand that it comes of, and with what else would stop it.</summary>
    private static int NotBegun(Recipe recipe, InputException problem, Diagnostics diagnostics, bool looks = true)
    {
        RecipeProbe.Explain(recipe, problem, diagnostics, looks);
        Console.Error.Write(diagnostics.Problems());
        return ExitCode.UserCanFix;
    }

    private static RunEnd Run(Recipe recipe, IRunObserver observer, Workers workers, CancellationToken cancel) =>
        recipe.Definition.IsPipeline ? RejectionRun.Run(recipe, observer, Program.CommandLine, workers, cancel).End
            : TrainingRun.Run(recipe, null, observer, Program.CommandLine, cancel, workers).End;

    /// <summary>Runs as one of several processes, which end together, whatever happens to one of them. The first says why a run could not
    /// begin, as one alone does.</summary>
    private static int RunAsRank(ProcessJob job, Rendezvous place, Recipe recipe, (FileInfo File, IReadOnlyList<string> Overrides) words, LiveLine live,
        Diagnostics diagnostics, CancellationToken cancel)
    {
        var console = place.Rank == 0 ? new ConsoleObserver(live) { Least = Talk.Least(recipe.Training.LogLevel) } : null;
        try
        {
            IRunObserver observer = console ?? RunObservers.None;
            observer.Said(RankWords.Described(job));
            return Code(Run(recipe, observer, job.Workers, cancel));
        }
        catch (Exception failure) when (failure is not RankFailedException)
        {
            job.Watch.Report(failure);
            if (console is { HasEntered: false } && (failure as InputException ?? FileProblem.Explain(failure)) is { } problem)
                return NotBegun(recipe, problem, diagnostics);
            if (OutOfMemory.In(failure) is { } full)
                return MemoryReport.Write(full, recipe, words.File, words.Overrides, Console.Error);
            throw;
        }
    }

    private static int Code(RunEnd end) => end == RunEnd.Interrupted ? ExitCode.Interrupted : ExitCode.Ok;
}
