using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Plans;
using Handbook.Training.Sampling;

namespace Handbook.Recipes;

/// <summary>From the recipe of a pipeline to the recipe of its training stage.</summary>
internal static class DerivedRecipe
{
    /// <summary>The same written keys for another method, with that method's defaults for the others.</summary>
    /// <param name="recipe">A checked recipe.</param>
    /// <param name="method">The method of the stage.</param>
    /// <param name="model">The model to start from.</param>
    /// <param name="dataset">The file to train on.</param>
    /// <param name="outputDir">Where the stage's model goes.</param>
    /// <param name="fresh">Whether the stage begins now: an earlier run's checkpoints there are not gone on from.</param>
    public static Recipe For(Recipe recipe, TrainingMethod method, string model, string dataset, string outputDir, bool fresh)
    {
        // Sampling has kept max_completion_length; the end token behind the longest answers would not fit in again.
        var sources = recipe.Sources.Where(source => source.Value is KeySource.File or KeySource.CommandLine
            && source.Key != "max_completion_length").ToDictionary();
        var (from, to) = (recipe.Records, OptionRecords.New());
        foreach (var key in RecipeKeys.All.Where(key => key.Property is not null && sources.ContainsKey(key.Name) && key.Serves(method)))
            key.Property!.SetValue(OptionRecords.Holding(to, key), key.Property.GetValue(OptionRecords.Holding(from, key)));
        foreach (var (name, value, source) in MethodDefinition.Of(method).Defaults(RecipeDialect.Mixture,
            to.OfType<PreferenceOptions>().Single()).ToArray())
            if (sources.TryAdd(name, source) && RecipeKeys.Find(name) is { } key)
                key.Property!.SetValue(OptionRecords.Holding(to, key), value);
        var stage = OptionRecords.With(recipe, to);
        return stage with
        {
            Method = method,
            Dialect = RecipeDialect.Mixture,
            // A new model keeps the tokenizer that the first one was given.
            Model = stage.Model with { ModelNameOrPath = model, ModelRevision = null, TokenizerNameOrPath = recipe.Model.TokenizerPath() },
            Data = stage.Data with
            {
                DatasetName = dataset,
                DatasetMixer = null,
                DatasetMixture = null,
                DatasetConfig = null,
                DatasetConfigs = null,
                DatasetEncoding = null,
                ColumnMapping = null,
                DatasetTrainSplit = "train",
            },
            Hub = stage.Hub with { PushToHub = false },     // the pipeline publishes what comes of it
            Training = stage.Training with { OutputDir = outputDir, Fresh = fresh, ResumeFromCheckpoint = null },
            Sources = sources,
            Annotations = Selection.Annotations,
        };
    }
}
