using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Base.Keys;
using Handbook.Data.Sources;
using Handbook.Models;
using Handbook.Recipes;
using Handbook.Torch;
using Handbook.Training;
using Handbook.Training.Plans;

namespace Handbook.Runs;

/// <summary>What a run writes about itself: where it came from at its start, and the model's card at its end.</summary>
internal static class RunRecord
{
    private static readonly string[] s_parts = ["Handbook", "Handbook.Base", "Handbook.Data", "Handbook.Models", "Handbook.Text", "Handbook.Torch",
        "Handbook.Training"];

    /// <summary>Writes <c>recipe.yaml</c>, <c>run.json</c>, and the rows that are left out for what they hold.</summary>
    /// <returns>What hashes the weights meanwhile.</returns>
    public static WeightHashes Begin(RunFolder folder, RunSetup setup)
    {
        var (recipe, start, plan, data) = (setup.Recipe, setup.Start, setup.Plan, setup.Rows.Data);
        var resolved = Repeatable(recipe).ToYaml();
        folder.WriteRecipe(resolved);
        folder.WriteLeftOut(data.Decontamination);
        folder.WriteRunInfo(new RunInfo
        {
            Method = recipe.MethodName,
            CommandLine = setup.CommandLine is { } typed ? Secrets.Hide(typed) : null,
            Seed = recipe.Training.Seed,
            RecipeChanges = [.. start.Changes.Select(change => (change.Key, change.Old, change.New))],
            IgnoresRecipeChanges = recipe.Training.IgnoreRecipeChanges && start.Resume is not null,
            Versions = new Dictionary<string, string> { ["libtorch"] = TorchRuntime.Version, ["build"] = Build },
            Engine = Engine(setup),
            DataHashes = data.Sources.DistinctBy(source => source.Title).ToDictionary(source => source.Title, source => source.Content),
            DataRows = data.Sources.DistinctBy(source => source.Title).ToDictionary(source => source.Title,
                source => $"{source.Summary.UsedRows} rows, {source.Summary.Tokens} tokens"),
            Decontamination = data.Decontamination,
            TemplateHash = plan.Tokenizer.ChatTemplate is { } template ? Hash(template) : null,
            TokenizerHash = plan.Tokenizer.Fingerprint,
            Lineage = RunOrigin.Of(folder.Path, setup, resolved),
        }, RunReports.Start(recipe, folder.Path, resolved));
        return WeightHashes.Begin(folder, recipe);
    }

    /// <summary>The choices that decide the last bits of what is computed.</summary>
    public static Dictionary<string, object?> Engine(RunSetup setup) => new()
    {
        ["description"] = TorchRuntime.Description,
        ["path"] = Processor.Path.ToString(),
        ["threads"] = TorchRuntime.Threads,
        ["processes"] = setup.Workers.Count,
        ["batch_processes"] = setup.Recipe.BatchProcesses,
        ["deterministic"] = setup.Recipe.Training.Deterministic,
    };

    /// <summary>Tells builds of the program apart that have one version: a hash over what the compiler names each of its parts by, which is
    /// made of their sources.</summary>
    public static string Build { get; } = FileHashes.OfBytes([.. AppDomain.CurrentDomain.GetAssemblies()
        .Where(part => part.GetName().Name is { } name && s_parts.Contains(name)).OrderBy(part => part.GetName().Name, StringComparer.Ordinal)
        .SelectMany(part => part.ManifestModule.ModuleVersionId.ToByteArray())])[..16];

    /// <summary>The recipe without <c>fresh</c>: whoever repeats it does not mean to remove the run that it lies in.</summary>
    private static Recipe Repeatable(Recipe recipe) => recipe with
    {
        Training = recipe.Training with { Fresh = false },
        Sources = recipe.Sources.Where(source => source.Key != "fresh").ToDictionary(),
    };

    /// <summary>The card of the trained model.</summary>
    public static ModelCard Card(RunSetup setup, TrainingJob job, TrainingLoop loop, TrainingOutcome outcome)
    {
        var (recipe, data) = (setup.Recipe, setup.Rows.Data);
        var t = recipe.Training;
        return new ModelCard
        {
            Name = recipe.Hub.HubModelId?.Split('/')[^1]
                ?? Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(t.OutputDir))),
            Folder = t.OutputDir,
            LocalPaths = [.. LocalPaths(recipe)],
            BaseModel = recipe.Model.ModelNameOrPath is { } named && HubCache.IsName(named) && !ModelFolder.IsLocal(named)
                ? HubCache.Split(named).Id : recipe.Model.ModelNameOrPath,
            Adapter = Adapter(setup.Plan),
            Method = job.Method.Name,
            Datasets = [.. recipe.Mixture.Datasets.Select(d => d.Id).Distinct()],
            DataDescription = $"{data.TrainSamples:N0} rows, {data.Sources.Where(s => !s.IsTest).Sum(s => s.Summary.Tokens):N0} "
                + $"tokens{(data.EvaluationSamples > 0 ? $"; {data.EvaluationSamples:N0} rows held out" : "")}.",
            Hyperparameters = new CardHyperparameters
            {
                LearningRate = t.LearningRate,
                TrainBatchSize = t.PerDeviceTrainBatchSize,
                EvalBatchSize = t.PerDeviceEvalBatchSize,
                Seed = t.Seed,
                GradientAccumulationSteps = t.GradientAccumulationSteps,
                DeviceCount = recipe.BatchProcesses,
                Optimizer = loop.Optimizer.Description,
                Scheduler = RecipeNames.Of(t.LrSchedulerType),
                WarmupRatio = t.WarmupSteps is > 0 and < 1 ? t.WarmupSteps : t.WarmupRatio ?? 0,
                WarmupSteps = (int)t.WarmupSteps,
                Epochs = t.MaxSteps > 0 ? null : t.NumTrainEpochs,
                TrainingSteps = t.MaxSteps > 0 ? t.MaxSteps : null,
                MixedPrecision = job.Model.Compute != DType.BFloat16 ? null
                    : $"bf16 compute, {(setup.Plan.Parameters.Adapters.Any(adapter => adapter.IsBFloat16) ? "bf16 adapter" : "f32 master weights")}",
            },
            Evaluation = outcome.Evaluation,
            Versions = new Dictionary<string, string> { ["libtorch"] = TorchRuntime.Version },
        };
    }

    private static CardAdapter? Adapter(TrainingPlan plan) => plan.TrainedOn is not { } chain ? null : new()
    {
        Description = plan.AdapterNote(),
        Config = plan.Parameters.Adapters[^1].Config,
        Targets = [.. plan.Parameters.Adapters[^1].Layers.SelectMany(layer => layer.Targets).Select(target => target.Module.Split('.')[^1])
            .Distinct()],
        TrainedOn = chain,
    };

    /// <summary>What the recipe names by a path of this machine, not by a name under which it is published.</summary>
    private static IEnumerable<string> LocalPaths(Recipe recipe)
    {
        if (Path.Exists(UserFolder.Expand(recipe.Model.ModelNameOrPath!)))
            yield return recipe.Model.ModelNameOrPath!;
        foreach (var set in recipe.Mixture.Datasets)
            if (DatasetPath.IsLocal(set, recipe.Folder))
                yield return set.Id;
    }

    /// <summary>SHA-256 of a text.</summary>
    public static string Hash(string text) => FileHashes.OfBytes(System.Text.Encoding.UTF8.GetBytes(text));
}
