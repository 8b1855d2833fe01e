using System.Diagnostics;
using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Torch;
using Handbook.Training.Checkpoints;
using Handbook.Training.Distributed;
using Handbook.Training.Methods;
using Handbook.Training.Metrics;
using Handbook.Training.Optimizers;
using Handbook.Training.Progress;
using Handbook.Training.Schedules;

namespace Handbook.Training;

/// <summary>How a run of the loop ended.</summary>
/// <param name="Finished">False where it was interrupted, after a checkpoint.</param>
/// <param name="Train">Loss, runtime and speed, as <c>train_results.json</c> has them.</param>
/// <param name="Evaluation">The evaluation after the last step; null where there was none.</param>
/// <param name="Waited">Time that the training thread waited for rows.</param>
internal sealed record TrainingOutcome(bool Finished, MetricSet Train, MetricSet? Evaluation, TimeSpan Waited);

/// <summary>The one loop: accumulate, clip, step, log, evaluate, save, go on.</summary>
internal sealed class TrainingLoop : IDisposable
{
    private readonly TrainingJob _job;
    private readonly TrainingOptions _options;
    private readonly RunFolder _folder;
    private readonly IRunObserver _observer;
    private readonly Optimizer _optimizer;
    private readonly StepPlan _plan;
    private readonly LearningRateSchedule _schedule;
    private readonly LoopState _state;
    private readonly Intervals _intervals;
    private readonly EmbeddingNoise? _noise;
    private readonly AdapterDropout? _dropout;
    private readonly Evaluator? _evaluator;
    private readonly double _flopsPerToken;
    private (int Step, MetricSet Metrics)? _lastEvaluation;
    private int _bestStep = -1;
    private int _savedStep = -1;
    private int _emptySteps;
    private double _lastNorm;
    private double _lastRate;

    /// <param name="job">What to train, on what.</param>
    /// <param name="folder">The run folder, open.</param>
    /// <param name="resume">The checkpoint to go on from; null begins anew.</param>
    /// <param name="observer">Hears what happens; the folder writes its logs in any case.</param>
    public TrainingLoop(TrainingJob job, RunFolder folder, Checkpoint? resume, IRunObserver? observer = null)
    {
        (_job, _options, _folder) = (job, job.Options, folder);
        _plan = job.Plan;
        _schedule = LearningRateSchedule.Create(_options.LrSchedulerType, _options.LrSchedulerKwargs, _options.Warmup(_plan.TotalSteps),
            _plan.TotalSteps, _options.LearningRate);
        _optimizer = Optimizer.Create(_options, job.Model.Parameters, _options.Warmup(_plan.TotalSteps));
        _state = resume is null ? new LoopState { DataKey = job.DataKey, BatchProcesses = job.BatchProcesses } : Resume(resume);
        _intervals = new Intervals(_options, _plan);
        _noise = _options.NeftuneNoiseAlpha is > 0 ? new EmbeddingNoise(_options.NeftuneNoiseAlpha.Value, _options.Seed) : null;
        _dropout = job.Dropout is > 0 ? new AdapterDropout(_options.Seed) : null;
        _evaluator = job.Evaluation is null ? null
            : new Evaluator(job.Evaluation, job.Method, _options.PerDeviceEvalBatchSize, job.MaxTokens, job.Workers);
        _flopsPerToken = 6.0 * job.Model.Parameters.Specs.Where(s => s.Kind != ParameterKind.Embedding).Sum(s => s.Count);
        _observer = observer is null ? folder : new RunObservers(folder, observer);
        Describe(folder.State);
    }

    /// <summary>Steps of the whole run.</summary>
    public int TotalSteps => _plan.TotalSteps;

    public Optimizer Optimizer => _optimizer;

    /// <summary>Runs to the end, or until it is cancelled: then a checkpoint is written first.</summary>
    public TrainingOutcome Run(CancellationToken cancel)
    {
        using var at = _job.Workers.At("the steps");
        _observer.Started(Outline());
        var clock = Stopwatch.StartNew();
        var before = _state.Seconds;
        var finished = true;
        TimeSpan waited;
        if (_options.EvalOnStart && _state.Step == 0)
            Evaluate(0);
        using (var loader = new BatchLoader(_job.Train, _plan, _job.Method, _job.MaxTokens, _state.Step, _plan.TotalSteps, _job.Workers))
        {
            var work = _state.Step < _plan.TotalSteps ? loader.Next() : null;
            var ahead = StepAhead.Of(work, cancel).Joined(_job.Workers);
            while (work is not null)
            {
                if (_state.Step == _job.LastStep || ahead.Stops || _job.Workers.Count == 1 && cancel.IsCancellationRequested)
                {
                    finished = false;
                    break;
                }
                var next = _state.Step + 1 < _plan.TotalSteps ? loader.Next() : null;
                ahead = Step(work, ahead.Totals, StepAhead.Of(next, cancel), cancel);
                _state.Seconds = before + clock.Elapsed.TotalSeconds;
                After(work.Rows.EpochAfter);
                work = next;
            }
            waited = loader.Waited;
        }
        if (!finished)
        {
            if (_savedStep != _state.Step)
                Save();
            _observer.Said(_state.Step == _job.LastStep ? $"stopped after step {_state.Step}, as asked, with checkpoint-{_state.Step} on disk"
                : $"interrupted after step {_state.Step}, with checkpoint-{_state.Step} on disk; the same command goes on from there");
        }
        _state.Seconds = before + clock.Elapsed.TotalSeconds;
        return Finish(finished, waited);
    }

    /// <summary>One optimiser step.</summary>
    /// <param name="totals">Counts of everyone's rows.</param>
    /// <param name="next">What this worker knows of the next one.</param>
    /// <returns>What all know of the next one.</returns>
    private StepAhead Step(StepWork work, IReadOnlyList<GroupTotals> totals, StepAhead next, CancellationToken cancel)
    {
        using var scope = TensorScope.Enter();
        using var at = _job.Workers.At($"step {_state.Step + 1}");
        var parameters = _job.Model.Parameters;
        parameters.ClearGradients();
        var pass = new LossPass
        {
            Training = true,
            Metrics = _state.SinceLog,
            Options = batch =>
                new ForwardOptions
                {
                    Recompute = _options.GradientCheckpointing,
                    EmbeddingNoise = _noise?.For(batch, _state.Step),
                    AdapterNoise = _dropout?.For(batch, _state.Step),
                },
            Workers = _job.Workers,
            Traffic = parameters.Traffic,
            IsUntrained = IsUntrained(),
        };
        var groups = _job.Method.Make(_job.Model, _state.Step, work.Groups, pass);
        var (loss, learned, tokens, ahead) = Compute(work, groups, pass, ReferenceEquals(groups, work.Groups) ? totals : null, next, cancel);
        if (!learned && _emptySteps++ == 0)
            _observer.Said($"step {_state.Step + 1} has no token to predict and changes nothing; further ones are counted in the summary");
        _state.Step++;
        _job.Method.AfterStep(_job.Model, _state.Step);
        _state.TokensSeen += tokens;
        _state.TotalLoss += loss;
        _state.LossSinceLog += loss;
        _state.StepsSinceLog++;
        _observer.Stepped(new StepReport(_state.Step, work.Rows.EpochAfter, loss, _lastRate, learned ? _lastNorm : null, tokens));
        return ahead;
    }

    // Gradients and the update: nothing here waits for anything but the other workers.
    private StepSums Compute(StepWork work, IReadOnlyList<LossGroup> groups, LossPass pass, IReadOnlyList<GroupTotals>? totals, StepAhead next,
        CancellationToken cancel)
    {
        using var at = _job.Workers.At($"step {_state.Step + 1}", computes: true);
        var sums = StepSums.Run(_job.Model, _job.Method, groups, pass, totals, next, cancel);
        RequireFinite(sums.Loss, "loss", work);
        (_lastRate, _lastNorm) = (_schedule.At(_state.Step), 0);
        if (!sums.Learned)
            return sums;
        _job.Model.Parameters.SettleGradients();
        _lastNorm = GradientNorm.Of(_job.Model.Parameters, _job.Workers);
        RequireFinite(_lastNorm, "gradient norm", work);
        _optimizer.Step(_lastRate, GradientNorm.ClipFactor(_lastNorm, _options.MaxGradNorm));
        return sums;
    }

    /// <summary>Whether every weight is still as the run found it: the first steps of a warm-up may have the rate 0, and change
    /// nothing.</summary>
    private bool IsUntrained()
    {
        if (_schedule.State is not null)        // its rates depend on what was evaluated, not on the step alone
            return _state.Step == 0;
        for (var step = 0; step < _state.Step; step++)
            if (_schedule.At(step) != 0)
                return false;
        return true;
    }

    // A loss that is not a number would spoil every weight with the next update: nothing is updated, and the last checkpoint stays as it
    // is.
    private void RequireFinite(double value, string what, StepWork work)
    {
        if (double.IsFinite(value))
            return;
        var rows = work.Rows.MicroBatches.SelectMany(m => m).Take(8);
        throw new InputException($"step {_state.Step + 1}: the {what} is {value}; learning rate {_schedule.At(_state.Step):g4}, "
            + $"rows {string.Join(", ", rows)}{(work.Rows.MicroBatches.Sum(m => m.Length) > 8 ? ", …" : "")} of the training set",
            why: "an update with it would make every weight not a number; nothing was updated, and checkpoints already written stand",
            fix: "lower learning_rate or max_grad_norm, add warmup_ratio: 0.1, or look at the rows with `handbook inspect`");
    }

    /// <summary>What is due after a step, in the reference's order: log, evaluate, save.</summary>
    private void After(double epoch)
    {
        var step = _state.Step;
        var state = _folder.State;
        (state.GlobalStep, state.Epoch, state.NumInputTokensSeen, state.TotalFlos) = (step, epoch, _state.TokensSeen, Flops());
        if (_intervals.Logs(step))
            Log(epoch);
        var better = false;
        if (_evaluator is not null && _intervals.Evaluates(step, epoch))
            better = Evaluate(epoch);
        if (_intervals.Saves(step) || (better && _options.SaveStrategy == SaveStrategy.Best))
            Save();
    }

    private void Log(double epoch)
    {
        var metrics = new MetricSet
        {
            ["loss"] = _state.LossSinceLog / _state.StepsSinceLog,
            ["grad_norm"] = _lastNorm,
            ["learning_rate"] = _lastRate,
        };
        foreach (var (name, mean) in _job.Workers.Sum(_state.SinceLog).Means)
            metrics[name] = mean;
        metrics["num_tokens"] = _state.TokensSeen;
        _observer.Logged(_state.Step, epoch, metrics);
        _state.LossSinceLog = 0;
        _state.StepsSinceLog = 0;
        _state.SinceLog.Clear();
    }

    /// <summary>Evaluates and says whether it was the best so far.</summary>
    private bool Evaluate(double epoch)
    {
        using var at = _job.Workers.At($"the evaluation after step {_state.Step}");
        MetricSet metrics;
        using (var count = _observer.Began("evaluating", _job.Evaluation!.Count, "rows"))
            metrics = RunEvaluator(count);
        _lastEvaluation = (_state.Step, metrics);
        _observer.Evaluated(_state.Step, epoch, metrics);
        _schedule.Report(metrics.Number("eval_loss")!.Value);

        if (metrics.Number(_options.BestMetric()) is not { } metric)
            throw new InputException($"metric_for_best_model: {_options.BestMetric()} is not measured; there "
                + $"are {string.Join(", ", metrics.Select(m => m.Key))}",
                fix: "name one of these, or remove the key");
        var state = _folder.State;
        if (state.BestMetric is { } best && (_options.BestIsGreatest() ? metric <= best : metric >= best))
            return false;
        (state.BestMetric, state.BestGlobalStep) = (metric, _state.Step);
        _bestStep = _state.Step;
        return true;
    }

    private MetricSet RunEvaluator(IWorkCount count)
    {
        using var weights = _optimizer.Evaluation();
        var metrics = _evaluator!.Run(_job.Model, count, IsUntrained());
        if (_job.Workers.IsFirst)
            _job.Evaluated?.Invoke(_state.Step);
        return metrics;
    }

    private void Save()
    {
        using var at = _job.Workers.At($"the checkpoint of step {_state.Step}");
        _folder.Flush();
        _state.Plateau = _schedule.State;
        if (_bestStep == _state.Step)
            _folder.State.BestModelCheckpoint = Path.Combine(_folder.Path, $"checkpoint-{_state.Step}");
        string path;
        using (_observer.Began("saving", null, ""))
            path = TrainingCheckpoint.Save(_job, _folder.Path, _optimizer, _state, _folder.State);
        _optimizer.ReleasePages();
        _job.Model.Parameters.ReleasePages();
        _savedStep = _state.Step;
        if (!_job.Workers.IsFirst)
            return;
        _folder.SaveState();
        foreach (var removed in CheckpointFolder.Prune(_folder.Path, _options.SaveTotalLimit, _folder.State.BestModelCheckpoint))
            _observer.Said($"removed {Path.GetFileName(removed)} (save_total_limit {_options.SaveTotalLimit})");
        _observer.Saved(path);
    }

    private TrainingOutcome Finish(bool finished, TimeSpan waited)
    {
        using var at = _job.Workers.At("the end of the run");
        var epoch = _folder.State.Epoch;
        if (finished)
            _ = _optimizer.Evaluation();        // to stay: what is saved now is the model
        var tookBest = false;
        if (finished && _options.LoadBestModelAtEnd && _folder.State.BestModelCheckpoint is { } best
            && best != Path.Combine(_folder.Path, $"checkpoint-{_state.Step}"))
        {
            LoadBest(best);
            _lastEvaluation = null;
            tookBest = true;
        }
        MetricSet? evaluation = null;
        if (finished && _evaluator is not null)
        {
            if (_lastEvaluation is not { } last || last.Step != _state.Step)
            {
                using (var count = _observer.Began("evaluating", _job.Evaluation!.Count, "rows"))
                    last = (_state.Step, RunEvaluator(count));
                if (!tookBest)      // those of the best step are in the log already
                    _folder.Evaluated(_state.Step, epoch, last.Metrics);
            }
            evaluation = new MetricSet(last.Metrics) { ["epoch"] = epoch, ["eval_samples"] = _job.EvaluationSamples };
        }
        var train = new MetricSet
        {
            ["epoch"] = epoch,
            ["total_flos"] = Flops(),
            ["train_loss"] = _state.Step == 0 ? 0 : _state.TotalLoss / _state.Step,
            ["train_runtime"] = _state.Seconds,
            ["train_samples"] = _job.TrainSamples,
            ["train_samples_per_second"] = _job.Train.Count * epoch / Math.Max(_state.Seconds, 1e-9),
            ["train_steps_per_second"] = _state.Step / Math.Max(_state.Seconds, 1e-9),
            ["train_tokens_per_second"] = _state.TokensSeen / Math.Max(_state.Seconds, 1e-9),
        };
        if (finished)
            _folder.Logged(_state.Step, epoch, ClosingEntry.Of(train));
        _observer.Ended(new TrainingSummary
        {
            Finished = finished,
            StoppedAsAsked = !finished && _state.Step == _job.LastStep,
            Waited = waited,
            EvalLoss = evaluation?.Number("eval_loss"),
            PeakMemoryBytes = ProcessMemory.Peak(),
            PeakTensorBytes = TorchRuntime.Memory.Peak,
            Notes = _emptySteps > 0 ? [$"{_emptySteps} steps had no token to predict and changed nothing"] : [],
        });
        return new(finished, train, evaluation, waited);
    }

    private void LoadBest(string best)
    {
        var parameters = _job.Model.Parameters;
        if (parameters.Adapters.FirstOrDefault(adapter => adapter.IsTrained) is { } trained)
        {
            new AdapterFolder(best).Fill(trained, parameters);
            parameters.TakeOwn(adapters: true);
        }
        else
        {
            using var weights = ModelWeights.Open(best, PublishedConfig.Load(best), fused: true);
            parameters.Load(weights);
        }
        _observer.Said($"took the weights of {Path.GetFileName(best)}, the best by {_options.BestMetric()} ({_folder.State.BestMetric:g6})");
    }

    private LoopState Resume(Checkpoint resume)
    {
        var state = TrainingCheckpoint.Restore(resume.Path, _job, _optimizer);
        if (state.DataKey != _job.DataKey && _options is { IgnoreDataSkip: false, IgnoreRecipeChanges: false })
            throw new InputException($"{resume.Path} was trained on other rows, in another order, or with other batches than this "
                + "recipe names",
                why: "going on would repeat some rows and skip others",
                fix: "go on with the recipe that made it; to start anew use --fresh=true or another output_dir; to go on with the new "
                    + "rows all the same use --ignore_data_skip=true");
        if (!_options.IgnoreDataSkip)
            LengthChange.Require(_options, _folder.State.MaxSteps, _plan.TotalSteps, state.Step, resume.Path);
        state.DataKey = _job.DataKey;
        if (state.Plateau is not null)
            _schedule.State = state.Plateau;
        return state;
    }

    /// <summary>Floating point operations so far: six per weight and token, as the reference counts them.</summary>
    private double Flops() => _flopsPerToken * _state.TokensSeen;

    private TrainingOutline Outline() => new()
    {
        Title = $"{_job.Method.Name} {_options.RunName ?? _options.OutputDir}",
        Examples = _job.Train.Count,
        Epochs = _options.MaxSteps > 0 ? (double)_plan.TotalSteps / _plan.StepsPerEpoch : _options.NumTrainEpochs,
        BatchPerDevice = _options.PerDeviceTrainBatchSize,
        AccumulationSteps = _options.GradientAccumulationSteps,
        DeviceCount = _job.BatchProcesses,
        Steps = _plan.TotalSteps,
        TrainableParameters = _job.Model.Parameters.Plan.TrainedCount,
        LossWindow = Math.Max(10, _intervals.Logging),
        ResumedStep = _state.Step,
        ResumedEpoch = _state.Step == 0 ? 0 : _plan[_state.Step - 1].EpochAfter,
        SkippedBatches = _state.Step == 0 ? 0 : (long)Math.Round((_plan[_state.Step - 1].EpochAfter % 1) * _plan.MicroBatchesPerEpoch),
    };

    private void Describe(TrainerState state)
    {
        state.MaxSteps = _plan.TotalSteps;
        state.NumTrainEpochs = Math.Ceiling((double)_plan.TotalSteps / _plan.StepsPerEpoch);
        state.TrainBatchSize = _options.PerDeviceTrainBatchSize;
        state.LoggingSteps = _intervals.Logging;
        state.EvalSteps = _intervals.Evaluation;
        state.SaveSteps = _intervals.Saving;
    }

    public void Dispose() => _optimizer.Dispose();
}
