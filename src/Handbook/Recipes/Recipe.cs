using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Models;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Plans;

namespace Handbook.Recipes;

/// <summary>A recipe after reading, merging and checking: what one run does.</summary>
public sealed record Recipe : MethodOptions
{
    /// <summary>The recipe's path as the user wrote it.</summary>
    public required string Path { get; init; }

    /// <summary>The folder that the recipe lies in.</summary>
    public override string? Folder => System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(Path));

    /// <summary>The records that hold the keys, in the order in which a resolved recipe lists them.</summary>
    internal IReadOnlyList<object> Records => OptionRecords.Of(this);

    /// <summary>The keys that the user wrote and that have no effect here; the resolved recipe keeps them.</summary>
    internal IReadOnlyList<(RecipeKey Key, object? Value)> WithoutEffect { get; init; } = [];

    /// <summary>Reads a recipe, merges the overrides into it and checks it.</summary>
    /// <param name="file">The YAML file.</param>
    /// <param name="overrides">Words such as <c>--learning_rate=2e-5</c>; see <see cref="RecipeArguments"/>.</param>
    /// <param name="method">The method it is to be run with: some keys belong to one method only.</param>
    public static RecipeResult Load(FileInfo file, IReadOnlyList<string> overrides, TrainingMethod method) =>
        new RecipeLoader(file.ToString(), method).Load(overrides);

    /// <summary>Loads a recipe for a program: a good one, or every problem of it as one exception.</summary>
    /// <param name="path">The YAML file.</param>
    /// <param name="method">What it is for; null takes it from the file's path (<c>…/sft/config.yaml</c>) or its keys.</param>
    /// <param name="overrides">Keys to change, as on the command line: <c>--max_steps=10</c>.</param>
    /// <exception cref="InputException">Something in it is wrong; the message has every problem with its line and its cure.</exception>
    public static Recipe Load(string path, TrainingMethod? method = null, IReadOnlyList<string>? overrides = null)
    {
        var file = new FileInfo(path);
        return Load(file, overrides ?? [], method ?? GuessMethod(file, overrides)).TryGet(out var recipe, out var diagnostics) ? recipe
            : throw new InputException(diagnostics.ToString().TrimEnd());
    }

    /// <summary>The method that a recipe is for, from its path (<c>…/sft/config.yaml</c>) or its keys.</summary>
    /// <param name="overrides">Keys that are changed on the command line; they tell as much as those in the file.</param>
    public static TrainingMethod GuessMethod(FileInfo file, IReadOnlyList<string>? overrides = null) =>
        RecipeMethod.Guess(file.ToString(), overrides ?? []);

    /// <summary>The method with this name, such as <c>dpo</c>; null when there is none.</summary>
    public static TrainingMethod? MethodNamed(string name) =>
        RecipeNames.Spellings(typeof(TrainingMethod)).FirstOrDefault(spelling => spelling.Name == name).Value as TrainingMethod?;

    /// <summary>The names of all methods, as commands are called.</summary>
    public static IReadOnlyList<string> MethodNames =>
        [.. RecipeNames.Spellings(typeof(TrainingMethod)).Where(spelling => spelling.IsFirst).Select(spelling => spelling.Name)];

    /// <summary>The rows of an optimiser step with the keys that they come from, in words: published recipes count on several
    /// processes.</summary>
    public string GlobalBatch()
    {
        var (rows, steps, size) = (Training.PerDeviceTrainBatchSize, Training.GradientAccumulationSteps, Training.ContextParallelSize);
        var workers = size > 1 ? $"{BatchProcesses} group{(BatchProcesses == 1 ? "" : "s")} of {size} processes"
            : $"{BatchProcesses} process{(BatchProcesses == 1 ? "" : "es")}";
        return $"global batch: per_device_train_batch_size {rows} x gradient_accumulation_steps {steps} x {workers} = "
            + $"{(long)rows * steps * BatchProcesses} {Definition.RowNoun} a step";
    }

    /// <summary>The recipe with every effective value and where it comes from; loading it again gives an equal recipe.</summary>
    public string ToYaml() => RecipeWriter.Write(this);

    /// <summary>What must hold among keys, within and across groups.</summary>
    internal void Validate(Diagnostics report)
    {
        Model.Validate(report);
        Adapter.Validate(Preference.SyncRefModel, Definition.Head == ModelHead.Score, report);
        Quantisation.Validate(Adapter.UsePeft, report);
        Data.Validate(report);
        Training.Validate(report);
        Hub.Validate(report);
        AnswerLengths.Check(this, report);
        Definition.Check(this, report);
        RequireMeasured(report);
        if (!Training.Evaluates() || Data.Mixture() is not { } mixture)
            return;
        RequireOtherRows(mixture, report);
        if (!HoldsOut(mixture))
            report.Error(Training.EvalStrategy != IntervalStrategy.No ? "eval_strategy" : Training.DoEval ? "do_eval" : "eval_on_start",
                "asks for evaluations, but no rows are held out",
                fix: mixture.Dialect == MixtureDialect.Mixer ? "add a test split to dataset_splits"
                    : "set dataset_mixture.test_split_size, e.g. 0.05");
    }

    // What nothing measures would stop the run at its first evaluation, hours from now.
    private void RequireMeasured(Diagnostics report)
    {
        if (Training.MetricForBestModel is not { } metric || Definition.Measured(this) is var measured && measured.Contains(Training.BestMetric()))
            return;
        report.Error("metric_for_best_model", $"is {metric}, which no evaluation of {MethodName} measures",
            why: "it says which checkpoint is the best",
            fix: (Spelling.Nearest(Training.BestMetric(), measured) is { } near ? $"did you mean {near}? " : "") + $"those that are measured: {string.Join(", ", measured)}");
    }

    // Evaluating on the rows that were trained on measures memory, and nobody would see it from the numbers.
    private void RequireOtherRows(MixtureSpec mixture, Diagnostics report)
    {
        if (mixture.Dialect != MixtureDialect.Single)
            return;
        IReadOnlyList<SplitSlice> train, test;
        try
        {
            (train, test) = (SplitSlice.ParseAll(mixture.TrainSplit), SplitSlice.ParseAll(mixture.TestSplit));
        }
        catch (InputException problem)
        {
            report.Error(problem.What.Contains(mixture.TrainSplit, StringComparison.Ordinal) ? "dataset_train_split"
                : "dataset_test_split", $"is not understood: {problem.What}", fix: problem.Fix);
            return;
        }
        if (train.Any(slice => test.Any(slice.Overlaps)))
            report.Error(Sources.ContainsKey("dataset_train_split") ? "dataset_train_split" : "dataset_test_split",
                $"makes the rows trained on ({mixture.TrainSplit}) those held out ({mixture.TestSplit})",
                why: "an evaluation on rows that were trained on says nothing about others",
                fix: $"hold out a part with dataset_train_split: {train[0].Split}[:90%] and dataset_test_split: {train[0].Split}[90%:], or "
                + "turn evaluation off with eval_strategy: no and do_eval: false");
    }

    private static bool HoldsOut(MixtureSpec mixture) => mixture.Dialect switch
    {
        MixtureDialect.Mixer => mixture.Splits.Any(split => split.Contains("test")),
        MixtureDialect.Mixture => mixture.TestSplitSize is not null,
        _ => true,      // whether the data set has that split is seen when it is read
    };
}
