using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;

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
        object[] from = [recipe.Model, recipe.Data, recipe.Training, recipe.Sft, recipe.Preference];
        var (models, data, training, sft, preference) = (new ModelOptions(), new DataOptions(), new TrainingOptions(), new SftOptions(),
            new PreferenceOptions());
        object[] to = [models, data, training, sft, preference];
        foreach (var key in RecipeKeys.All.Where(key => sources.ContainsKey(key.Name)))
            if (Array.FindIndex(from, record => record.GetType() == key.Property?.DeclaringType) is >= 0 and var at && key.Serves(method))
                key.Property!.SetValue(to[at], key.Property.GetValue(from[at]));
        foreach (var (name, value, source) in MethodDefaults.Of(method, RecipeDialect.Mixture, preference).ToArray())
            if (sources.TryAdd(name, source))
                RecipeKeys.Find(name)!.Property!.SetValue(to.First(record =>
                    record.GetType() == RecipeKeys.Find(name)!.Property!.DeclaringType), value);
        return recipe with
        {
            Method = method,
            Dialect = RecipeDialect.Mixture,
            // A new model keeps the tokenizer that the first one was given.
            Model = models with { ModelNameOrPath = model, TokenizerNameOrPath = recipe.Model.TokenizerPath() },
            Data = data with
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
            Training = training with { OutputDir = outputDir, Fresh = fresh, ResumeFromCheckpoint = null },
            Sft = sft,
            Preference = preference,
            Sources = sources,
        };
    }
}
