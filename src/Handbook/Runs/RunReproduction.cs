using System.Text.Json;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Hub;
using Handbook.Models;
using Handbook.Recipes;
using Handbook.Training;
using Handbook.Training.Checkpoints;
using Handbook.Training.Metrics;
using Handbook.Training.Plots;
using Handbook.Training.Progress;

namespace Handbook.Runs;

/// <summary>How a run is repeated.</summary>
public sealed record ReproductionOptions
{
    /// <summary>The folder of the repetition; null takes that of the run with <c>-reproduced</c> behind it.</summary>
    public string? OutputDir { get; init; }

    /// <summary>Steps to take, of the same schedule; null takes all of them.</summary>
    public int? Steps { get; init; }

    /// <summary>The largest difference that still agrees, as a share of the largest value of a curve; null: none where the same bits are
    /// expected, else what rounding explains.</summary>
    public double? Tolerance { get; init; }

    /// <summary>Repeat it although what it read has changed.</summary>
    public bool Anyway { get; init; }
}

/// <summary>A run and its repetition, compared.</summary>
public sealed record Reproduction
{
    /// <summary>The folder of the repetition.</summary>
    public required string OutputDir { get; init; }

    /// <summary>The last step that was compared.</summary>
    public required int LastStep { get; init; }

    /// <summary>Every number that the runs logged, <c>loss</c> first; empty where neither logged a step, so that the weights alone are
    /// compared.</summary>
    public required IReadOnlyList<CurveDifference> Curves { get; init; }

    /// <summary>Whether the weights after the last step have the same bits; null where one of the runs has not kept them.</summary>
    public bool? SameWeights { get; init; }

    /// <summary>The picture of both losses; null where no loss was logged.</summary>
    public string? Picture { get; init; }

    /// <summary>Why the same bits cannot be expected; empty where they are.</summary>
    public required IReadOnlyList<string> Doubts { get; init; }

    /// <summary>The largest share that a number may differ by.</summary>
    public required double Tolerance { get; init; }

    /// <summary>Whether every number, and the weights, have the same bits.</summary>
    public bool IsSame => Curves.All(curve => curve.IsSame) && (SameWeights ?? Curves.Count > 0);

    /// <summary>Whether the runs agree: the same bits, or, where these are not asked for, differences within the tolerance; of weights
    /// alone nobody can say how far they are apart.</summary>
    public bool Agrees => Tolerance == 0 || Curves.Count == 0 ? IsSame : Curves.All(curve => curve.LargestShare <= Tolerance);
}

/// <summary>Runs a recorded run again, and compares what both logged.</summary>
public static class RunReproduction
{
    /// <summary>Rounding in float32 grows along a run: sums in another order differ in the seventh digit and training multiplies that.</summary>
    private const double FloatTolerance = 1e-3;

    /// <summary>bfloat16 keeps 8 bits.</summary>
    private const double BFloatTolerance = 2e-2;

    /// <summary>Verifies what the run read, repeats it on this process, and compares.</summary>
    /// <param name="folder">The run folder; names of its recipe are looked up from the working folder of the process, see
    /// <see cref="RunVerification.WorkingFolderOf"/>.</param>
    /// <param name="options">How it is repeated.</param>
    /// <param name="observer">Hears what happens; null for nobody.</param>
    /// <param name="commandLine">What the user typed; null where no command asks for it.</param>
    /// <param name="cancel">Stops the repetition after a checkpoint.</param>
    /// <exception cref="InputException">It is no run folder, or what it read is not there as it was.</exception>
    /// <exception cref="OperationCanceledException">It was stopped; the same call goes on from there.</exception>
    public static Reproduction Run(string folder, ReproductionOptions? options = null, IRunObserver? observer = null, string? commandLine = null,
        CancellationToken cancel = default)
    {
        (options, observer, folder) = (options ?? new(), observer ?? RunObservers.None, Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder)));
        var output = Path.GetFullPath(options.OutputDir ?? folder + "-reproduced");
        if (RealPath.IsWithin(output, folder))
            throw new InputException($"--output_dir {output} lies in the run that is repeated", "its files would be replaced", "name another folder");
        var history = RunHistory.Require(folder);
        var logged = MetricsFile.ReadAll(folder);
        var last = LastStep(folder, history, logged, options.Steps);
        var verified = RunVerification.Of(folder, quick: true, outputs: false, cancel: cancel);
        var doubts = Judge(folder, history, verified, options, observer);
        var recipe = Recipe(folder, history, output);
        Repeat(recipe, last, history.FinishedStep == last, observer, commandLine, cancel);
        var repeated = MetricsFile.ReadAll(output);
        if (!logged.Any(ClosingEntry.IsIn))         // of an earlier version
            repeated = [.. repeated.Select(ClosingEntry.Without)];
        var result = Compare(folder, output, last, logged, repeated, doubts, options.Tolerance
            ?? (doubts.Count == 0 ? 0 : recipe.Training.Bf16 ? BFloatTolerance : FloatTolerance));
        if (logged.Any(entry => entry.Number("loss") is not null && entry.Number("step") <= last))
            result = result with { Picture = Draw(result, folder, logged, repeated) };
        Write(result, folder);
        return result;
    }

    /// <summary>The step to repeat the run to: where it came, or fewer.</summary>
    /// <exception cref="InputException">The run kept nothing of these steps that a repetition can be compared with.</exception>
    private static int LastStep(string folder, RunHistory history, IReadOnlyList<MetricSet> logged, int? asked)
    {
        int[] kept = [.. CheckpointFolder.List(folder).Select(checkpoint => checkpoint.Step), .. history.FinishedStep is { } end ? (int[])[end] : []];
        int[] known = [.. logged.Select(entry => (int)entry.Number("step")!.Value), .. kept];
        if (known.Length == 0)
            throw new InputException($"{folder} has no {MetricsFile.FileName} with a logged step, and no checkpoint",
                "there is nothing to compare a repetition with", "let the run go on to its first checkpoint or its end");
        var last = Math.Min(asked ?? int.MaxValue, history.FinishedStep ?? known.Max());
        return known.Min() <= last && (logged.Any(entry => entry.Number("step") <= last) || kept.Contains(last)) ? last
            : throw new InputException($"--steps is {asked}, but {folder} kept nothing of its first {asked} steps",
                $"the first numbers or weights that it kept are those after step {known.Min()}, and a repetition is compared with them",
                $"repeat at least {known.Min()} steps: --steps {known.Min()}");
    }

    private static List<string> Judge(string folder, RunHistory history, RunVerification verified, ReproductionOptions options,
        IRunObserver observer)
    {
        var inputs = verified.Parts.Where(part => part.IsInput).ToArray();
        if (inputs.Where(part => part.Differs).ToArray() is { Length: > 0 } changed)
        {
            var list = string.Concat(changed.Select(part => $"\n    {part.What} {part.Name}: {part.Detail}"));
            if (!options.Anyway)
                throw new InputException($"{folder} cannot be repeated: what it read is not what it was:{list}",
                    "another run would come out", "put these back as they were; or repeat it all the same with --anyway");
            observer.Warned($"what the run read is not what it was, so that another run may come out:{list}");
        }
        var doubts = new List<string>();
        foreach (var part in inputs.Where(part => part.State != VerifiedState.Same))
        {
            doubts.Add($"{part.What} {part.Name}: {part.Detail}");
            if (!part.Differs)
                observer.Warned(doubts[^1]);
        }
        // A build of the same version is the same program as far as bits are promised; what it computes with is compared.
        foreach (var part in verified.Parts.Where(part => part.State == VerifiedState.Other))
            Doubt($"another {part.What}: {part.Detail}");
        if (history.Processes > 1 && history.Program.GetValueOrDefault("engine.deterministic") != bool.TrueString)
            Doubt($"it ran on {history.Processes} processes, which add up in another order than one does; with deterministic: true there is one order");
        if (history.Starts.Any(start => start.TryGetProperty("recipe_changes", out _)))
            Doubt("its recipe was changed on its way");
        return doubts;

        void Doubt(string text)
        {
            doubts.Add(text);
            observer.Noted(text);
        }
    }

    private static Recipe Recipe(string folder, RunHistory history, string output)
    {
        var recipe = RunVerification.RecipeOf(folder, history, []);
        return recipe with
        {
            Training = recipe.Training with
            {
                OutputDir = output,
                ReportTo = ["none"],
                LoggingDir = null,
                RunName = null,
                ResumeFromCheckpoint = null,
                IgnoreRecipeChanges = false,
                ContextParallelSize = 1,
            },
            Hub = recipe.Hub with { PushToHub = false },
        };
    }

    private static void Repeat(Recipe recipe, int last, bool toTheEnd, IRunObserver observer, string? commandLine, CancellationToken cancel)
    {
        if (CheckpointFolder.List(recipe.Training.OutputDir).Any(checkpoint => checkpoint.Step >= last)
            && RunHistory.Read(recipe.Training.OutputDir) is { FinishedStep: null } && !toTheEnd)
            return;         // it has come this far before
        foreach (var (name, value) in recipe.Training.Env ?? new Dictionary<string, string>())
            Environment.SetEnvironmentVariable(name, value);
        TrainingRun.Run(recipe, null, observer, commandLine, cancel, batchProcesses: recipe.BatchProcesses, lastStep: toTheEnd ? null : last);
        cancel.ThrowIfCancellationRequested();
    }

    private static Reproduction Compare(string folder, string output, int last, IReadOnlyList<MetricSet> then, IReadOnlyList<MetricSet> now,
        IReadOnlyList<string> doubts, double tolerance) => new()
        {
            OutputDir = output,
            LastStep = last,
            Curves = [.. CurveComparison.Of(then, now, last).OrderBy(curve => curve.Metric != "loss")],
            SameWeights = Weights(folder, last) is { Length: > 0 } before && Weights(output, last) is { Length: > 0 } after
                ? before.SequenceEqual(after) : null,
            Doubts = doubts,
            Tolerance = tolerance,
        };

    /// <summary>The hashes of the weights after a step, as they were written down.</summary>
    private static string[] Weights(string folder, int step)
    {
        var files = RunHistory.Read(folder) is { FinishedStep: { } end } history && end == step ? history.Outputs
            : CheckpointManifest.Read(CheckpointFolder.PathOf(folder, step), out _)?.Files ?? [];
        return [.. files.Where(file => ModelFiles.IsWeights(file.Path)).OrderBy(file => file.Path, StringComparer.Ordinal)
            .Select(file => file.Sha256)];
    }

    /// <summary>Draws the curves, <c>reproduction.svg</c>, in the folder of the repetition.</summary>
    private static string Draw(Reproduction result, string folder, IReadOnlyList<MetricSet> then, IReadOnlyList<MetricSet> now)
    {
        var (name, file) = (Path.GetFileName(folder), Path.Combine(result.OutputDir, "reproduction.svg"));
        var figure = new ComparedFigure($"{name}, repeated", "loss", (name, Points(then, result.LastStep)),
            ("repetition", Points(now, result.LastStep)));
        var canvas = new SvgCanvas(PlotFrame.Width, PlotFrame.Height);
        figure.Draw(canvas);
        WholeFile.WriteText(file, canvas.ToSvg($"Loss of {name} and of its repetition"));
        return file;
    }

    /// <summary>Writes <c>reproduction.json</c> into the folder of the repetition.</summary>
    private static void Write(Reproduction result, string folder) =>
        WholeFile.WriteText(Path.Combine(result.OutputDir, "reproduction.json"), PythonJson.Write(new Dictionary<string, object?>
        {
            ["run"] = Path.GetRelativePath(result.OutputDir, folder),
            ["last_step"] = result.LastStep,
            ["agrees"] = result.Agrees,
            ["same_bits"] = result.IsSame,
            ["same_weights"] = result.SameWeights,
            ["tolerance"] = result.Tolerance,
            ["doubts"] = result.Doubts,
            ["curves"] = result.Curves.Select(curve => new Dictionary<string, object?>
            {
                ["metric"] = curve.Metric,
                ["steps"] = curve.Steps,
                ["first_difference"] = curve.FirstStep,
                ["largest_difference"] = curve.LargestStep,
                ["then"] = curve.LargestStep is null ? null : curve.Then,
                ["now"] = curve.LargestStep is null ? null : curve.Now,
                ["share"] = curve.LargestShare,
            }).ToList(),
        }, indent: 2) + "\n");

    private static PlotPoint[] Points(IReadOnlyList<MetricSet> entries, int last) => [.. entries
        .Where(entry => entry.Number("loss") is not null && entry.Number("step") <= last)
        .Select(entry => new PlotPoint(entry.Number("step")!.Value, entry.Number("loss")!.Value))];
}
