using Handbook.Base;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Recipes;
using Handbook.Text.Templates;
using Handbook.Torch;
using Handbook.Training;
using Handbook.Training.Checkpoints;
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
    internal static RunResult Run(Recipe recipe, RunLock? held, IRunObserver observer, string? commandLine, CancellationToken cancel)
    {
        var options = recipe.Training;
        OutputPlace.Require(recipe);
        using var own = held is null ? RunLock.Take(options.OutputDir, commandLine) : null;
        var start = RunStart.Decide(recipe, observer.Said);
        if (start.IsFinished)
            return new() { End = RunEnd.WasFinished, Folder = options.OutputDir };
        var plan = TrainingPlan.Of(recipe, start.Resume?.Path);
        observer.Said(recipe.GlobalBatch());
        if (ReferenceCheck.Run(recipe, plan.Tokenizer) is { } other)
            observer.Warned(other);
        using var rows = RunRows.Load(plan, observer, cancel);

        TorchRuntime.Load();       // after all that needs no tensor
        observer.Said(TorchRuntime.Description);
        foreach (var warning in TorchRuntime.Warnings)
            observer.Warned(warning);
        foreach (var note in plan.Notes)
            observer.Noted(note);
        if (plan.Parameters.SpillFolder is not null)
            own?.Hold();        // masters that lie in a file of the folder come before anything else there
        using var model = plan.LoadModel(observer);
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
                Cancel = cancel,
            });
        }
        catch (OperationCanceledException)
        {
            observer.Said("interrupted before the first step; the reference scores so far are kept, and the same command goes on from there");
            return new() { End = RunEnd.Interrupted, Folder = options.OutputDir };
        }
        using (method)
            return Train(new(recipe, start, plan, rows, commandLine), model, method, own, observer, cancel);
    }

    private static RunResult Train(RunSetup setup, Decoder model, IMethodRun method, RunLock? own, IRunObserver observer,
        CancellationToken cancel)
    {
        var (recipe, plan, data) = (setup.Recipe, setup.Plan, setup.Rows.Data);
        var (options, resume) = (recipe.Training, setup.Start.Resume);
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
        };

        own?.Hold();        // nothing in the folder is touched before it is this run's alone
        using var folder = RunFolder.Open(options.OutputDir, resume, options.WritesTensorBoard(), options.LoggingDir);
        using var loop = new TrainingLoop(job, folder, resume, observer);       // judges whether the run may continue like this
        if (options.Fresh)
            RemoveCheckpoints(folder.Path, observer);
        RunRecord.Begin(folder, setup);
        samples?.Open(folder, resume?.Step ?? 0);
        method.OpenFiles(folder, resume?.Step ?? 0);
        var outcome = loop.Run(cancel);
        folder.SaveState();
        if (!outcome.Finished)
            return new() { End = RunEnd.Interrupted, Folder = options.OutputDir, Train = outcome.Train };

        folder.SaveResults("train", outcome.Train);
        observer.Measured("train", outcome.Train);
        if (outcome.Evaluation is not null)
        {
            folder.SaveResults("eval", outcome.Evaluation);
            observer.Measured("eval", outcome.Evaluation);
        }
        CheckpointFolder.Export(folder.Path, saved.Bytes, writer => saved.Write(writer.Folder));
        folder.WriteCard(RunRecord.Card(setup, job, loop, outcome).ToMarkdown(folder.State));
        folder.Finish();
        observer.Said($"saved the model in {options.OutputDir}, read back and compared; {plan.Method.WhatNext(options.OutputDir)}");
        return new() { End = RunEnd.Finished, Folder = options.OutputDir, Train = outcome.Train, Evaluation = outcome.Evaluation };
    }

    /// <summary>What the model answers at evaluations, where the recipe wants to see it.</summary>
    private static EvaluationSamples? Samples(TrainingPlan plan, IMethodRun method)
    {
        if (!plan.Run.Preference.GenerateDuringEval || method.Evaluation is not { } evaluation)
            return null;
        var encoder = new PromptEncoder(plan.InitialFolder, plan.Tokenizer,
            GenerationDefaults.Load(plan.InitialFolder, plan.Config.Decoder));
        return new EvaluationSamples(evaluation, plan.Tokenizer, encoder.StopIds, plan.Run.Preference.MaxCompletionLength ?? 256);
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
