using Handbook.Base;
using Handbook.Hub;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Recipes;
using Handbook.Text.Templates;
using Handbook.Torch;
using Handbook.Torch.Kernels;
using Handbook.Training;
using Handbook.Training.Checkpoints;
using Handbook.Training.Distributed;
using Handbook.Training.Methods;
using Handbook.Training.Plans;
using Handbook.Training.Progress;

namespace Handbook.Runs;

/// <summary>From a checked recipe to a trained model in its run folder.</summary>
public static class TrainingRun
{
    /// <summary>Runs a training method to its end, or to a checkpoint when cancelled.</summary>
    /// <param name="recipe">What to train, as it was loaded and checked.</param>
    /// <param name="observer">Hears what happens; null for nobody.</param>
    /// <param name="commandLine">What the user typed, for <c>run.json</c>; null where the run was not started by a command.</param>
    /// <param name="cancel">Ends the run after a checkpoint.</param>
    /// <exception cref="InputException">Something the user can fix; nothing is half-written.</exception>
    public static RunResult Run(Recipe recipe, IRunObserver? observer = null, string? commandLine = null,
        CancellationToken cancel = default) =>
        Run(recipe, held: null, observer ?? RunObservers.None, commandLine, cancel);

    /// <param name="held">The lock of the run folder, where the caller holds it.</param>
    /// <param name="workers">Who trains the model together; null for this process alone. The first of them writes and speaks.</param>
    /// <param name="batchProcesses">Processes that the batch of a new run's steps counts; null for as many as there are.</param>
    /// <param name="lastStep">The step after which the run stops with a checkpoint; null for its end.</param>
    internal static RunResult Run(Recipe recipe, RunLock? held, IRunObserver observer, string? commandLine, CancellationToken cancel,
        Workers? workers = null, int? batchProcesses = null, int? lastStep = null)
    {
        var (options, all) = (recipe.Training, workers ?? Workers.Alone);
        if (!all.IsFirst)
            observer = RunObservers.None;
        else
        {
            OutputPlace.Require(recipe);
            RunReports.Require(recipe);
        }
        using var own = held is null && all.IsFirst ? RunLock.Take(options.OutputDir, commandLine) : null;
        all.Agree("the recipe", recipe.ToYaml());
        var start = all.FirstOnHost(() => RunStart.Decide(recipe, observer.Said, verifyHashes: all.IsFirst));
        all.Agree("the checkpoint to go on from", start.Resume?.Path ?? "none");
        all = all.InGroupsOf(options.ContextParallelSize).Ordered(options.Deterministic);
        if (start.IsFinished)
            return new() { End = RunEnd.WasFinished, Folder = options.OutputDir };
        recipe = WithBatch(recipe, start, all, batchProcesses ?? all.Groups, observer);
        all.FirstOnHost(() => HubFetch.For(recipe, observer, cancel));
        using var publisher = all.IsFirst ? HubPublisher.Begin(recipe, observer) : null;
        var plan = TrainingPlan.Of(recipe, start.Resume?.Path, all.Rank, all.Count);
        observer.Said(recipe.GlobalBatch());
        if (ReferenceCheck.Run(recipe, plan.Tokenizer) is { } other)
            observer.Warned(other);
        using var rows = all.FirstOnHost(() => RunRows.Load(plan, observer, cancel));
        all.Agree("the rows", rows.Key);

        TorchRuntime.Load();       // after all that needs no tensor
        observer.Said(TorchRuntime.Description);
        var device = DevicePlan.Of(plan, all.LocalRank, all.Count);
        plan = plan.On(device);
        observer.Said(device.Said(plan.Parameters));
        using var products = BlockedProductKernel.ForAll(options.Deterministic);
        foreach (var warning in TorchRuntime.Warnings)
            observer.Warned(warning);
        foreach (var note in plan.Notes)
            observer.Noted(note);
        if (plan.Parameters.SpillFolder is not null)
        {
            own?.Hold();        // masters that lie in a file of the folder come before anything else there
            all.Meet();
        }
        using var model = all.FirstOnHost(() => plan.LoadModel(observer));
        using var joined = all.Join(model.Parameters);
        IMethodRun method;
        try
        {
            method = plan.Method.Begin(new()
            {
                Run = recipe,
                Model = model,
                ModelFolder = plan.ModelFolder,
                Source = plan.Source,
                Tokenizer = plan.Tokenizer,
                Data = rows.Data,
                Evaluation = rows.Evaluation,
                Survey = rows.Survey,
                HeldOutSurvey = rows.HeldOutSurvey,
                Observer = observer,
                Workers = all,
                Cancel = cancel,
            });
        }
        catch (OperationCanceledException)
        {
            observer.Said("interrupted before the first step; the reference scores so far are kept, and the same command goes on from there");
            return new() { End = RunEnd.Interrupted, Folder = options.OutputDir };
        }
        using (method)
            return Train(new(recipe, start, plan, rows, commandLine) { Workers = all, Publisher = publisher, LastStep = lastStep }, model, method, own,
                observer, cancel);
    }

    /// <summary>The recipe with the processes that its batch counts: a run keeps the rows of its steps, whoever goes on with it.</summary>
    private static Recipe WithBatch(Recipe recipe, RunStart start, Workers workers, int begins, IRunObserver observer)
    {
        var processes = start.Resume is { } resume && LoopState.Exists(resume.Path) ? LoopState.Load(resume.Path).BatchProcesses
            : begins;
        if (start.Resume is not null && processes != workers.Groups)
            observer.Noted(workers.Context is { Size: var size }
                ? $"the run's steps keep their rows, those of {processes} process{(processes == 1 ? "" : "es")}, and are shared out among "
                    + $"{workers.Groups} group{(workers.Groups == 1 ? "" : "s")} of {size}"
                : $"the run began on {processes} process{(processes == 1 ? "" : "es")} and goes on on {workers.Groups}: its steps keep their rows");
        return recipe with { BatchProcesses = processes };
    }

    private static RunResult Train(RunSetup setup, Decoder model, IMethodRun method, RunLock? own, IRunObserver observer,
        CancellationToken cancel)
    {
        var (recipe, plan, data) = (setup.Recipe, setup.Plan, setup.Rows.Data);
        var (options, resume, workers) = (recipe.Training, setup.Start.Resume, setup.Workers);
        var saved = new SavedModel(model, plan.Config, GenerationDefaults.Load(plan.ModelFolder, plan.Config.Decoder), plan.Tokenizer,
            plan.SaveType)
        {
            TrainedOn = plan.TrainedOn,
        };
        using var samples = Samples(plan, method);
        var job = new TrainingJob
        {
            Options = options,
            Plan = RowPlan.Steps(recipe, method.Train),
            Method = BalancedMethod.Around(method.Method, recipe, plan.Config.Decoder),
            Model = model,
            Train = method.Train,
            Evaluation = method.Evaluation,
            TrainSamples = data.TrainSamples,
            EvaluationSamples = data.EvaluationSamples,
            DataKey = setup.Rows.Key,
            SaveModel = saved.Write,
            ModelBytes = saved.Bytes,
            Evaluated = samples is null ? null : step => samples.Write(model, step),
            MaxTokens = recipe.Data.TokensAtOnce(),
            Dropout = plan.Dropout,
            Workers = workers,
            BatchProcesses = recipe.BatchProcesses,
            LastStep = setup.LastStep,
        };

        own?.Hold();        // nothing in the folder is touched before it is this run's alone
        using var folder = workers.IsFirst
            ? RunFolder.Open(options.OutputDir, resume, options.WritesTensorBoard(), options.LoggingDir, RunReports.Of(recipe, observer))
            : RunFolder.Watch(options.OutputDir, resume);
        if (plan.Parameters.Shard.Cuts)
            OneFolder.Require(workers, folder.Path, "with zero_stage each process writes its own part of a checkpoint there",
                ", or set zero_stage: 0, where the first process writes all");
        using var loop = new TrainingLoop(job, folder, resume, setup.Publisher is { } publisher ? new RunObservers(observer, publisher)
            : observer);       // judges whether the run may continue like this
        WeightHashes? hashes = null;
        observer.Entered(folder.Path);
        if (folder.Writes)
        {
            if (options.Fresh)
                RemoveCheckpoints(folder.Path, observer);
            hashes = RunRecord.Begin(folder, setup);
        }
        samples?.Open(folder, resume?.Step ?? 0);
        method.OpenFiles(folder, resume?.Step ?? 0);
        var outcome = loop.Run(cancel);
        if (folder.Writes)
            folder.SaveState();
        if (!outcome.Finished)
            return new() { End = RunEnd.Interrupted, Folder = options.OutputDir, Train = outcome.Train };
        if (folder.Writes)
        {
            hashes?.Wait();
            Finish(setup, job, loop, outcome, folder, saved, observer);
        }
        workers.Meet();
        setup.Publisher?.End(cancel);       // nobody waits for it
        return new() { End = RunEnd.Finished, Folder = options.OutputDir, Train = outcome.Train, Evaluation = outcome.Evaluation };
    }

    /// <summary>Writes results, model and card.</summary>
    private static void Finish(RunSetup setup, TrainingJob job, TrainingLoop loop, TrainingOutcome outcome, RunFolder folder,
        SavedModel saved, IRunObserver observer)
    {
        folder.SaveResults("train", outcome.Train);
        observer.Measured("train", outcome.Train);
        if (outcome.Evaluation is not null)
        {
            folder.SaveResults("eval", outcome.Evaluation);
            observer.Measured("eval", outcome.Evaluation);
        }
        var files = CheckpointFolder.Export(folder.Path, saved.Bytes, writer => saved.Write(writer.Folder));
        folder.WriteCard(RunRecord.Card(setup, job, loop, outcome).ToMarkdown(folder.State));
        folder.Finish(files);
        var output = setup.Recipe.Training.OutputDir;
        observer.Said($"saved the model in {output}, read back and compared; {setup.Plan.Method.WhatNext(output)}");
    }

    /// <summary>What the model answers at evaluations, where the recipe wants to see it.</summary>
    private static EvaluationSamples? Samples(TrainingPlan plan, IMethodRun method)
    {
        if (!plan.Run.Training.GenerateDuringEval || method.Evaluation is not { } evaluation)
            return null;
        var encoder = new PromptEncoder(plan.InitialFolder, plan.Tokenizer,
            GenerationDefaults.Load(plan.InitialFolder, plan.Config.Decoder));
        return new EvaluationSamples(evaluation, encoder, plan.Run.Preference.MaxCompletionLength ?? 256);
    }

    // Only now, when the new run is about to begin: an older checkpoint of a higher step would be taken for its latest.
    private static void RemoveCheckpoints(string outputDir, IRunObserver observer)
    {
        foreach (var (step, path) in CheckpointFolder.List(outputDir))
        {
            Directory.Delete(path, recursive: true);
            observer.Said($"fresh: removed checkpoint-{step} of the run before");
        }
    }
}
