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
    /// <summary>Writes <c>recipe.yaml</c>, <c>run.json</c>, and the rows that are left out for what they hold.</summary>
    /// <returns>What hashes the weights meanwhile.</returns>
    public static WeightHashes Begin(RunFolder folder, RunSetup setup)
    {
        var (recipe, start, plan, data) = (setup.Recipe, setup.Start, setup.Plan, setup.Rows.Data);
        var resolved = Repeatable(recipe).ToYaml();
        folder.WriteRecipe(resolved);
        var told = RunReports.Start(recipe, folder.Path, resolved);
        folder.WriteTrainingArgs(told.Config);
        folder.WriteLeftOut(data.Decontamination);
        folder.WriteRunInfo(new RunInfo
        {
            Method = recipe.MethodName,
            CommandLine = setup.CommandLine is { } typed ? Secrets.Hide(typed) : null,
            Seed = recipe.Training.Seed,
            RecipeChanges = [.. start.Changes.Select(change => (change.Key, change.Old, change.New))],
            IgnoresRecipeChanges = recipe.Training.IgnoreRecipeChanges && start.Resume is not null,
            Engine = Engine(setup),
            DataHashes = data.Sources.DistinctBy(source => source.Title).ToDictionary(source => source.Title, source => source.Content),
            DataRows = data.Sources.DistinctBy(source => source.Title).ToDictionary(source => source.Title,
                source => $"{source.Summary.UsedRows} rows, {source.Summary.Tokens} tokens"),
            Decontamination = data.Decontamination,
            TemplateHash = plan.Tokenizer.ChatTemplate is { } template ? Hash(template) : null,
            TokenizerHash = plan.Tokenizer.Fingerprint,
            Lineage = RunOrigin.Of(folder.Path, setup, resolved),
        }, told);
        return WeightHashes.Begin(folder, recipe);
    }

    /// <summary>The choices of the run that decide the last bits of what is computed, beside the machine's.</summary>
    private static Dictionary<string, object?> Engine(RunSetup setup) => new()
    {
        ["processes"] = setup.Workers.Count,
        ["batch_processes"] = setup.Recipe.BatchProcesses,
        ["deterministic"] = setup.Recipe.Training.Deterministic,
    };

    /// <summary>The recipe without <c>fresh</c>: whoever repeats it does not mean to remove the run that it lies in.</summary>
    private static Recipe Repeatable(Recipe recipe) => recipe with
    {
        Training = recipe.Training with { Fresh = false },
        Sources = recipe.Sources.Where(source => source.Key != "fresh").ToDictionary(),
    };

    /// <summary>The card of the trained model.</summary>
    public static ModelCard Card(RunSetup setup, TrainingJob job, TrainingLoop loop, TrainingOutcome outcome)
    {
        var (recipe, t) = (setup.Recipe, setup.Recipe.Training);
        var origin = BaseCard.Of(recipe.Model.ModelNameOrPath!);
        return new ModelCard
        {
            License = origin.License,
            OtherLicense = origin.OtherLicense,
            Chain = [.. origin.Chain.Select(ancestor => ancestor with { Name = Published(ancestor.Name) })],
            Description = Description(setup.Plan),
            Plot = File.Exists(Path.Combine(t.OutputDir, "loss.png")) ? "loss.png" : null,
            Name = recipe.Hub.HubModelId?.Split('/')[^1]
                ?? RealPath.NameOf(t.OutputDir),
            Folder = t.OutputDir,
            LocalPaths = [.. LocalPaths(recipe), .. origin.Chain.Select(ancestor => ancestor.Name).Where(ModelFolder.IsLocal)],
            BaseModel = recipe.Model.ModelNameOrPath is { } named ? Published(named) : null,
            Adapter = Adapter(setup.Plan),
            Method = job.Method.Name,
            Datasets = [.. recipe.Mixture.Datasets.Select(d => d.Id).Distinct()],
            DataDescription = DataDescription(setup),
            Hyperparameters = new CardHyperparameters
            {
                LearningRate = t.LearningRate,
                TrainBatchSize = t.PerDeviceTrainBatchSize,
                EvalBatchSize = t.PerDeviceEvalBatchSize,
                Seed = t.Seed,
                GradientAccumulationSteps = t.GradientAccumulationSteps,
                DeviceCount = recipe.BatchProcesses,
                Optimizer = $"{loop.Optimizer.Description}, {RecipeNames.Of(t.Optimizer())}",
                Scheduler = RecipeNames.Of(t.LrSchedulerType),
                WarmupRatio = t.WarmupSteps is > 0 and < 1 ? t.WarmupSteps : t.WarmupRatio ?? 0,
                WarmupSteps = (int)t.WarmupSteps,
                Epochs = t.MaxSteps > 0 ? null : t.NumTrainEpochs,
                TrainingSteps = t.MaxSteps > 0 ? t.MaxSteps : null,
                MixedPrecision = job.Model.Compute != DType.BFloat16 ? null
                    : $"bf16 compute, {(setup.Plan.Parameters.Adapters.Any(adapter => adapter.IsBFloat16) ? "bf16 adapter" : "f32 master weights")}",
                Others = [.. MethodKeys(recipe)],
            },
            Evaluation = outcome.Evaluation,
            Versions = new Dictionary<string, string> { ["libtorch"] = TorchRuntime.Version },
        };
    }

    /// <summary>A name as the hub has it, or a path of this machine as it is.</summary>
    private static string Published(string name) => HubCache.IsName(name) && !ModelFolder.IsLocal(name) ? HubCache.Split(name).Id : name;

    private static string Description(TrainingPlan plan)
    {
        var config = plan.Config.Decoder;
        var count = plan.Parameters.Rules.Where(rule => rule.Adapter is null).Sum(rule => rule.Spec.Count);
        return $"A {config.ModelType} model of {count:N0} parameters: "
            + $"{config.Layers} layers of width {config.HiddenSize}, {config.VocabularySize:N0} tokens, made for texts of up to "
            + $"{config.MaxPositions:N0} tokens. Its weights are saved in {plan.SaveType.ToString().ToLowerInvariant()}.";
    }

    private static string DataDescription(RunSetup setup)
    {
        var data = setup.Rows.Data;
        var heldOut = data.EvaluationSamples > 0 ? $", {data.EvaluationSamples:N0} held out" : "";
        var text = $"{data.TrainSamples:N0} rows to train on{heldOut}:\n";
        foreach (var source in data.Sources.DistinctBy(source => source.Title))
            text += $"\n- {source.Title}: {source.Summary.UsedRows:N0} rows, {source.Summary.Tokens:N0} tokens";
        foreach (var note in data.HeldOutNotes)
            text += $"\n- {note["note: ".Length..]}";
        return data.Decontamination is { } report ? $"{text}\n\n{report.Line}." : text;
    }

    /// <summary>What the user, or the method, says about itself: keys of its own that are not the training loop's.</summary>
    private static IEnumerable<(string, string)> MethodKeys(Recipe recipe) =>
        from key in RecipeKeys.All
        where key.Property is not null && key.Serves(recipe.Method) && recipe.Definition.Keys.Contains(key.Property!.Name)
            && recipe.Sources.ContainsKey(key.Name) && KeyEffects.Unmet(recipe, key.Name) is null
        let value = key.Property!.GetValue(recipe.Records.First(record => record.GetType() == key.Property.DeclaringType))
        where value is not null && !key.Name.EndsWith("_path", StringComparison.Ordinal)
        select (key.Name, YamlWriter.Flow(value));

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
