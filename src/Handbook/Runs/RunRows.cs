using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Data;
using Handbook.Data.Mixing;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Plans;
using Handbook.Training.Progress;

namespace Handbook.Runs;

/// <summary>The rows of a run, read, judged and reported before anything needs a tensor: a mistake in the data shows at once.</summary>
internal sealed class RunRows : IDisposable
{
    private readonly TrainingPlan _plan;

    private RunRows(TrainingPlan plan, TrainingData data, IRunObserver observer)
    {
        (_plan, Data) = (plan, data);
        Tell(data, observer);
        var config = plan.Config.Decoder;
        Require(plan.Run, data);
        if (plan.Run.Data.Packing && data.Train.Count == 1
            && RowCounts.OnePackedRow(data.TrainSamples, plan.Run.Data.MaxLength ?? 0) is { } one)
            observer.Warned(one);
        var wanted = plan.Method.Survey(plan.Run) with { LongestText = config.LongestText };
        Survey = RowSurvey.Of(data.Train, wanted);
        HeldOutSurvey = Evaluation is null ? null
            : RowSurvey.Of(Evaluation, new() { LongestText = wanted.LongestText, Digests = wanted.Digests });
        if (LengthCheck.Found(HeldOutSurvey is null ? [Survey] : [Survey, HeldOutSurvey], config) is { } tooLong)
            observer.Warned(tooLong);
        plan.Method.Tell(Survey, plan.Run, observer);
    }

    /// <summary>What is known of the training rows, from one reading.</summary>
    public RowSurvey Survey { get; }

    /// <summary>What is known of the rows that are held out; null without evaluations.</summary>
    public RowSurvey? HeldOutSurvey { get; }

    /// <summary>The rows, and what is known of their sources.</summary>
    public TrainingData Data { get; }

    /// <summary>The rows that are held out; null without evaluations.</summary>
    public ITokenRows? Evaluation => _plan.Run.Training.Evaluates() ? Data.Evaluation : null;

    /// <summary>What the order of rows depends on.</summary>
    public string Key
    {
        get
        {
            var t = _plan.Run.Training;
            return Survey.Key($"{Data.Train.Count} {t.PerDeviceTrainBatchSize} {(long)t.GradientAccumulationSteps * _plan.Run.BatchProcesses} {t.DataSeed ?? t.Seed} {t.DataloaderDropLast} "
                + $"{_plan.Run.Dialect} {_plan.Tokenizer.Fingerprint}");
        }
    }

    /// <summary>Reads and tokenises the rows; from the cache where nothing has changed.</summary>
    /// <exception cref="InputException">They cannot be trained on.</exception>
    public static RunRows Load(TrainingPlan plan, IRunObserver observer, CancellationToken cancel)
    {
        using var shown = new TokenizingProgress(observer);
        var data = TrainingData.Load(plan.Rows, shown, cancel);
        try
        {
            return new(plan, data, observer);
        }
        catch
        {
            data.Dispose();
            throw;
        }
    }

    /// <summary>Requires that a run can begin on the rows.</summary>
    /// <exception cref="InputException">There are none to train on, or none to evaluate on.</exception>
    public static void Require(MethodOptions run, TrainingData data)
    {
        if (data.Train.Count == 0)
            throw new InputException("there is no row to train on", fix: "look at the data with `handbook inspect`");
        if (run.Training.Evaluates() && data.Evaluation is not { Count: > 0 })
            throw data.HeldOutDrawn > 0 ? NoneHeldOutLeft(run, data) : new InputException("the recipe evaluates, but no rows are held out",
                fix: "add a test split (dataset_test_split, a test split in dataset_splits, or test_split_size in dataset_mixture), or "
                    + "set eval_strategy: no and do_eval: false");
    }

    /// <summary>Why none of the rows that were drawn to be held out can be evaluated on.</summary>
    private static InputException NoneHeldOutLeft(MethodOptions run, TrainingData data)
    {
        var dialect = run.Data.Mixture()?.Dialect;
        var sources = data.Sources.Where(source => source.IsTest == (dialect != MixtureDialect.Mixture)).ToArray();
        var bad = sources.SelectMany(source => source.Summary.Bad).ToArray();
        var reasons = string.Concat(bad.Take(5).Select(rows => $"\n    {rows.Count} × {rows.Reason}, e.g. {rows.Example}"))
            + (data.Decontamination is { } report ? $"\n    {report.Line}" : "");
        var fixes = string.Join("; ", bad.Select(rows => rows.Fix).OfType<string>().Distinct());
        return new($"{string.Join(", ", sources.Select(source => source.Name).Distinct())}: not one of the {data.HeldOutDrawn:N0} rows to hold out "
            + $"is left to evaluate on{(reasons.Length > 0 ? $"; rows are left out for:{reasons}" : "")}",
            "the recipe evaluates, and nothing would be measured",
            $"{(fixes.Length > 0 ? $"{fixes}, so that rows are left" : "hold out other rows")}; or hold out more of them, or set "
                + "eval_strategy: no and do_eval: false")
        {
            Key = dialect switch
            {
                MixtureDialect.Mixture => "test_split_size",
                MixtureDialect.Mixer => "split",
                _ => "dataset_test_split",
            },
        };
    }

    private static void Tell(TrainingData data, IRunObserver observer)
    {
        foreach (var report in data.Sources)
        {
            var s = report.Summary;
            observer.Said($"{report.Title}: {s.UsedRows:N0} rows of {s.Format}, {s.Tokens:N0} tokens"
                + $"{(s.HasTargets ? $", {s.LossTokens:N0} with loss" : "")}{(s.CutRows > 0 ? $", {s.CutRows:N0} cut to the maximum length" : "")}");
            if (s.JoinedNote() is { } joined)
                observer.Noted(joined);
            foreach (var bad in s.Bad)
                observer.Said($"  left out {bad.Count:N0}: {bad.Reason}, e.g. {bad.Example}");
            foreach (var noted in s.Noted)
                observer.Said($"  note: {noted.Line}");
        }
        foreach (var remark in data.Remarks)
            observer.Said(remark);
    }

    public void Dispose() => Data.Dispose();
}
