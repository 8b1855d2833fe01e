using System.Security.Cryptography;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Base.Keys;
using Handbook.Base.Progress;
using Handbook.Data;
using Handbook.Data.Cache;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Models.Generation;
using Handbook.Plans;
using Handbook.Recipes;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;
using Handbook.Text.Tokenizers.Models;
using Handbook.Torch;
using Handbook.Training;
using Handbook.Training.Checkpoints;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Methods.Rewards;
using Handbook.Training.Metrics;
using Handbook.Training.Optimizers;
using Handbook.Training.Progress;
using Decoder = Handbook.Models.Decoder;

namespace Handbook.Runs;

/// <summary>From a checked recipe to a trained model in its run folder.</summary>
public static class TrainingRun
{
    internal const int DefaultMaxTokens = 4096;

    private const string Weights = "model.safetensors";

    /// <summary>Runs a training method to its end, or to a checkpoint when cancelled.</summary>
    /// <param name="recipe">What to train, as it was loaded and checked.</param>
    /// <param name="observer">Hears what happens; null for nobody.</param>
    /// <param name="commandLine">What the user typed, for <c>run.json</c>; null where the run was not started by a command.</param>
    /// <param name="cancel">Ends the run after a checkpoint.</param>
    /// <exception cref="InputException">Something the user can fix; nothing is half-written.</exception>
    public static RunResult Run(Recipe recipe, IRunObserver? observer = null, string? commandLine = null, CancellationToken cancel = default) =>
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
        var interrupted = new RunResult { End = RunEnd.Interrupted, Folder = options.OutputDir };
        var resume = start.Resume;

        var initial = ModelFolder.Find(recipe.Model.ModelNameOrPath!, "model_name_or_path");
        var source = resume?.Path ?? initial;
        // A checkpoint's config names the tokenizer's tokens, padding too, whose row of the embedding would then learn nothing more.
        var config = WithHead(PublishedConfig.Load(initial), recipe.Method, initial);
        var tokenizer = RecipeData.LoadTokenizer(recipe);
        CheckVocabulary(tokenizer, config, source);
        observer.Said(recipe.GlobalBatch());
        if (ReferenceCheck.Run(recipe, tokenizer) is { } other)
            observer.Warned(other);
        using var data = LoadData(recipe, tokenizer, observer, cancel);
        Report(data, observer);
        if (data.Train.Count == 0)
            throw new InputException("there is no row to train on", fix: "look at the data with `handbook inspect`");
        if (options.Evaluates() && data.Evaluation is not { Count: > 0 })
            throw new InputException("the recipe evaluates, but no rows are held out",
                fix: "add a test split (dataset_test_split, a test split in dataset_splits, or test_split_size in dataset_mixture), or set eval_strategy: no and do_eval: false");

        if (recipe.Data.Packing && data.Train.Count == 1 && RowCounts.OnePackedRow(data.TrainSamples, recipe.Data.MaxLength ?? 0) is { } one)
            observer.Warned(one);
        var survey = RowSurvey.Of(data.Train, new()
        {
            LongestText = config.Decoder.LongestText,
            CountsAnswers = recipe.Method is TrainingMethod.Kto or TrainingMethod.Bco,
            HasMargins = recipe.Method == TrainingMethod.Reward,
        });
        var heldOut = options.Evaluates() ? RowSurvey.Of(data.Evaluation!, new() { LongestText = config.Decoder.LongestText }) : null;
        if (LengthCheck.Found(heldOut is null ? [survey] : [survey, heldOut], config.Decoder) is { } tooLong)
            observer.Warned(tooLong);
        if (recipe.Method is TrainingMethod.Kto or TrainingMethod.Bco)
            Report(survey.Answers, recipe, observer);

        TorchRuntime.Load();       // after all that needs no tensor: a mistake in the data is told at once
        observer.Said(TorchRuntime.Description);
        foreach (var warning in TorchRuntime.Warnings)
            observer.Warned(warning);
        using var model = LoadModel(recipe, source, config, observer, out var saveType);
        using var setup = IsPreference(recipe.Method) ? new PreferenceSetup(recipe, observer, cancel) : null;
        using var grpo = recipe.Method == TrainingMethod.Grpo ? new GrpoSetup(recipe, tokenizer, data, observer) : null;
        ITokenRows train = data.Train;
        var evaluation = options.Evaluates() ? data.Evaluation : null;
        try
        {
            if (setup is not null)
                (train, evaluation) = setup.Attach(model, source, initial, train, evaluation);
        }
        catch (OperationCanceledException)
        {
            observer.Said("interrupted before the first step; the reference scores so far are kept, and the same command goes on from there");
            return interrupted;
        }
        if (config.Decoder.Head == ModelHead.Score && ScorePadding.WithToken(tokenizer, config.Decoder.EosIds) is var padded && padded.PadId != tokenizer.PadId)
            observer.Noted($"the reward model is saved with the padding token {padded.SpecialTokens["pad_token"]}: the Python library reads a score at the last token that is not padding, so this must not be an end token");
        var saved = new SavedModel(model, config, GenerationDefaults.Load(source, config.Decoder), tokenizer, saveType);
        using var samples = recipe.Preference.GenerateDuringEval && evaluation is not null
            ? new EvaluationSamples(evaluation, tokenizer, new PromptEncoder(initial, tokenizer, GenerationDefaults.Load(initial, config.Decoder)).StopIds, recipe.Preference.MaxCompletionLength ?? 256)
            : null;
        var job = new TrainingJob
        {
            Options = recipe.Training,
            Plan = RecipeData.Plan(recipe, train),
            Method = BalancedMethod.Around(setup?.Method ?? grpo?.Method(model, initial) ?? Method(recipe), recipe, config.Decoder),
            Model = model,
            Train = train,
            Evaluation = evaluation,
            TrainSamples = data.TrainSamples,
            EvaluationSamples = data.EvaluationSamples,
            DataKey = survey.Key(Order(recipe, tokenizer, data.Train.Count)),
            SaveModel = saved.Write,
            ModelBytes = saved.Bytes,
            Evaluated = samples is null ? null : step => samples.Write(model, step),
            MaxTokens = recipe.Data.MaxTokens ?? DefaultMaxTokens,
        };

        own?.Hold();        // nothing in the folder is touched before it is this run's alone
        using var folder = RunFolder.Open(options.OutputDir, resume, options.WritesTensorBoard(), options.LoggingDir);
        if (options.Fresh)
            RemoveCheckpoints(folder.Path, observer);
        Describe(folder, recipe, start, data, tokenizer, source, commandLine);
        samples?.Open(folder, resume?.Step ?? 0);
        grpo?.OpenLog(folder, resume?.Step ?? 0);
        using var loop = new TrainingLoop(job, folder, resume, observer);
        var outcome = loop.Run(cancel);
        folder.SaveState();
        if (!outcome.Finished)
            return interrupted with { Train = outcome.Train };

        folder.SaveResults("train", outcome.Train);
        observer.Measured("train", outcome.Train);
        if (outcome.Evaluation is not null)
        {
            folder.SaveResults("eval", outcome.Evaluation);
            observer.Measured("eval", outcome.Evaluation);
        }
        CheckpointFolder.Export(folder.Path, saved.Bytes, writer => saved.Write(writer.Folder));
        folder.WriteCard(Card(recipe, job, loop, outcome, data).ToMarkdown(folder.State));
        folder.Finish();
        observer.Said($"saved the model in {options.OutputDir}, read back and compared; "
            + (recipe.Method == TrainingMethod.Reward ? $"score rows with `handbook score {options.OutputDir} DATA`" : $"talk to it with `handbook chat {options.OutputDir}`"));
        return new() { End = RunEnd.Finished, Folder = options.OutputDir, Train = outcome.Train, Evaluation = outcome.Evaluation };
    }

    private static ITrainingMethod Method(Recipe recipe) => recipe.Method == TrainingMethod.Reward
        ? new RewardMethod(recipe.Reward.CenterRewardsCoefficient, recipe.Preference.TrlCompat is not null)
        : new SupervisedMethod(RecipeNames.Of(recipe.Method), countFirstTokens: recipe.Preference.TrlCompat == TrlRelease.V0_24 && !IsBestFit(recipe),
            recipe.Training.LabelSmoothingFactor, dynamic: recipe.Preference.LossType is ["dft"]);

    /// <summary>The model's config with the head that a method trains.</summary>
    private static PublishedConfig WithHead(PublishedConfig config, TrainingMethod method, string source) =>
        method == TrainingMethod.Reward ? config.WithScoreHead()
        : config.Decoder.Head == ModelHead.Language ? config
        : throw new InputException($"{source} is a reward model, but {RecipeNames.Of(method)} trains what predicts tokens", fix: "set model_name_or_path to a language model");

    /// <summary>The rows that a recipe trains and evaluates on, tokenised; from the cache where nothing has changed.</summary>
    public static TrainingData LoadData(Recipe recipe, Tokenizer tokenizer, IWorkObserver observer, CancellationToken cancel)
    {
        using var shown = new TokenizingProgress(observer);
        return TrainingData.Load(RecipeData.Options(recipe, tokenizer), shown, cancel);
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

    private static bool IsPreference(TrainingMethod method) =>
        method is TrainingMethod.Dpo or TrainingMethod.Orpo or TrainingMethod.Kto or TrainingMethod.Cpo or TrainingMethod.Bco;

    internal static void CheckVocabulary(Tokenizer tokenizer, PublishedConfig config, string source)
    {
        var ids = NewModel.IdCount(tokenizer);
        if (ids > config.Decoder.VocabularySize)
            throw new InputException($"{source}: the embedding has {config.Decoder.VocabularySize} rows, but the tokenizer gives ids up to {ids - 1}",
                why: "an id without a row in the embedding cannot be looked up", fix: "name the model's own tokenizer in tokenizer_name_or_path");
    }

    private static Decoder LoadModel(Recipe recipe, string source, PublishedConfig config, IRunObserver observer, out DType saveType)
    {
        using var weights = ModelWeights.Open(source, config, fused: true, headSeed: recipe.Method == TrainingMethod.Reward ? recipe.Training.Seed : null);
        if (weights.HasNewHead)
            observer.Noted($"{source} is a language model: its head is left out, and a new one that scores is drawn (score.weight, normal with deviation {config.Decoder.InitializerRange:g}, seed {recipe.Training.Seed})");
        foreach (var unused in weights.Unused.Take(5))
            observer.Noted($"{source}: tensor {unused} belongs to no parameter and is left out");
        saveType = recipe.Model.TorchDtype switch
        {
            WeightType.BFloat16 => DType.BFloat16,
            WeightType.Auto when weights.DTypeOf(weights.Parameters[0].Name) == DType.BFloat16 => DType.BFloat16,
            _ => DType.Float32,
        };
        var compute = recipe.Training.Bf16 || saveType == DType.BFloat16 ? DType.BFloat16 : DType.Float32;
        if (compute == DType.BFloat16 && !Processor.MultipliesBFloat16)
            observer.Noted("no bfloat16 instructions are used here; products are widened to float32 and rounded, so bf16 saves memory but no time");
        if (saveType == DType.BFloat16)
            observer.Noted("torch_dtype bfloat16: weights are saved in bfloat16; while training, the masters and the optimiser keep float32, so small updates are not lost");
        if (config.Decoder is { AttentionDropout: > 0 } or { ResidualDropout: > 0 } or { EmbeddingDropout: > 0 })
            observer.Noted("the model's config asks for dropout, which is not applied here: every forward pass is the full model");
        if (BalancedMethod.Note(recipe, config.Decoder) is { } experts)
            observer.Noted(experts);
        return Decoder.Load(weights, ParameterPlan.Trained(weights.Parameters, DType.Float32, compute));
    }

    private static bool IsBestFit(Recipe recipe) => recipe.Data is { Packing: true, PackingStrategy: PackingStrategy.Bfd };

    private static void Report(TrainingData data, IRunObserver observer)
    {
        foreach (var report in data.Sources)
        {
            var s = report.Summary;
            observer.Said($"{report.Title}: {s.UsedRows:N0} rows of {s.Format}, {s.Tokens:N0} tokens, {s.LossTokens:N0} with loss{(s.CutRows > 0 ? $", {s.CutRows:N0} cut to the maximum length" : "")}");
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

    private static void Report(AnswerLabels labels, Recipe recipe, IRunObserver observer)
    {
        if (labels.OneSided() is { } problem)
            observer.Warned(problem);
        else if (recipe.Method == TrainingMethod.Kto && labels.Unbalanced(recipe.Preference.DesirableWeight, recipe.Preference.UndesirableWeight) is { } unusual)
            observer.Noted(unusual);
    }

    // What decides, beside the rows, which tokens a step sees.
    private static string Order(Recipe recipe, Tokenizer tokenizer, int rows)
    {
        var t = recipe.Training;
        return $"{rows} {t.PerDeviceTrainBatchSize} {t.GradientAccumulationSteps} {t.DataSeed ?? t.Seed} {t.DataloaderDropLast} {recipe.Dialect} {tokenizer.Fingerprint}";
    }

    private static void Describe(RunFolder folder, Recipe recipe, RunStart start, TrainingData data, Tokenizer tokenizer, string source, string? commandLine)
    {
        folder.WriteRecipe(recipe.ToYaml());
        folder.WriteRunInfo(new RunInfo
        {
            Method = RecipeNames.Of(recipe.Method),
            CommandLine = commandLine,
            Seed = recipe.Training.Seed,
            RecipeChanges = [.. start.Changes.Select(change => (change.Key, change.Old, change.New))],
            IgnoresRecipeChanges = recipe.Training.IgnoreRecipeChanges && start.Resume is not null,
            Versions = new Dictionary<string, string> { ["libtorch"] = TorchRuntime.Version },
            Engine = new Dictionary<string, string> { ["description"] = TorchRuntime.Description },
            DataHashes = data.Sources.DistinctBy(source => source.Title).ToDictionary(source => source.Title, source => source.Content),
            DataRows = data.Sources.DistinctBy(source => source.Title).ToDictionary(source => source.Title, source => $"{source.Summary.UsedRows} rows, {source.Summary.Tokens} tokens"),
            TemplateHash = tokenizer.ChatTemplate is { } template ? Hash(template) : null,
            TokenizerHash = tokenizer.Fingerprint,
            ModelHash = start.Resume?.Manifest.Files.FirstOrDefault(file => file.Path == Weights)?.Sha256 ?? ModelHash(source),
        });
    }

    private static string Hash(string text) => Convert.ToHexStringLower(SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(text)));

    private static string? ModelHash(string source) => Path.Combine(source, Weights) is var file && File.Exists(file) ? CacheFolder.Default.HashOf(file) : null;

    /// <summary>What the recipe names by a path of this machine, not by a name under which it is published.</summary>
    private static IEnumerable<string> LocalPaths(Recipe recipe)
    {
        if (Path.Exists(UserFolder.Expand(recipe.Model.ModelNameOrPath!)))
            yield return recipe.Model.ModelNameOrPath!;
        foreach (var set in recipe.Mixture.Datasets)
            if (DatasetPath.IsLocal(set, Path.GetDirectoryName(Path.GetFullPath(recipe.Path))))
                yield return set.Id;
    }

    private static ModelCard Card(Recipe recipe, TrainingJob job, TrainingLoop loop, TrainingOutcome outcome, TrainingData data)
    {
        var t = recipe.Training;
        return new ModelCard
        {
            Name = recipe.Training.HubModelId?.Split('/')[^1] ?? Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(t.OutputDir))),
            Folder = t.OutputDir,
            LocalPaths = [.. LocalPaths(recipe)],
            BaseModel = recipe.Model.ModelNameOrPath,
            Method = job.Method.Name,
            Datasets = [.. recipe.Mixture.Datasets.Select(d => d.Id).Distinct()],
            DataDescription = $"{data.TrainSamples:N0} rows, {data.Sources.Where(s => !s.IsTest).Sum(s => s.Summary.Tokens):N0} tokens{(data.EvaluationSamples > 0 ? $"; {data.EvaluationSamples:N0} rows held out" : "")}.",
            Hyperparameters = new CardHyperparameters
            {
                LearningRate = t.LearningRate,
                TrainBatchSize = t.PerDeviceTrainBatchSize,
                EvalBatchSize = t.PerDeviceEvalBatchSize,
                Seed = t.Seed,
                GradientAccumulationSteps = t.GradientAccumulationSteps,
                Optimizer = loop.Optimizer.Description,
                Scheduler = RecipeNames.Of(t.LrSchedulerType),
                WarmupRatio = t.WarmupSteps is > 0 and < 1 ? t.WarmupSteps : t.WarmupRatio ?? 0,
                WarmupSteps = (int)t.WarmupSteps,
                Epochs = t.MaxSteps > 0 ? null : t.NumTrainEpochs,
                TrainingSteps = t.MaxSteps > 0 ? t.MaxSteps : null,
                MixedPrecision = job.Model.Compute == DType.BFloat16 ? "bf16 compute, f32 master weights" : null,
            },
            Evaluation = outcome.Evaluation,
            Versions = new Dictionary<string, string> { ["libtorch"] = TorchRuntime.Version },
        };
    }
}
