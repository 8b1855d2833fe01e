using System.Text;
using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Recipes;
using Handbook.Training.Plans;

namespace Handbook.Cli;

/// <summary>Recipes in words: a list, one of them, or a table of a document.</summary>
internal static class RecipesReport
{
    private const int Widest = 44;

    /// <summary>A line for each, by the folder that it stands in.</summary>
    public static string List(IReadOnlyList<ListedRecipe> recipes)
    {
        var text = new StringBuilder();
        string[] lines = [.. TextTable.Lines([["recipe", "method", "model", "data", "weights", "rows a step"], .. recipes.Select(Cells)])];
        foreach (var group in recipes.Zip(lines.Skip(1)).GroupBy(row => row.First.Name.Split('/')[0]))
        {
            text.Append(text.Length == 0 ? "" : "\n").Append($"{group.Key}\n  {lines[0]}\n");
            foreach (var (recipe, line) in group)
                text.Append($"  {line}\n      {recipe.Purpose}\n");
        }
        text.Append($"\n{recipes.Count} recipes. `handbook recipes NAME` shows one; docs/recipes.md says how each was tried.\n");
        return text.ToString();
    }

    /// <summary>One, with what to type.</summary>
    public static string Of(ListedRecipe listed)
    {
        var (recipe, training, text) = (listed.Recipe, listed.Recipe.Training, new StringBuilder());
        text.Append($"{listed.Path}\n");
        foreach (var line in listed.Says)
            text.Append($"  {line}\n");
        text.Append('\n');
        void Row(string name, string value) => text.Append($"  {name,-9} {value}\n");
        Row("method", recipe.MethodName);
        Row("model", recipe.Model.ModelNameOrPath ?? "");
        Row("data", $"{string.Join(", ", listed.Data)}; splits {Shortened(listed.Splits)}");
        Row("weights", listed.Weights);
        Row("batch", $"{training.PerDeviceTrainBatchSize} x {training.GradientAccumulationSteps} x {listed.Processes} "
            + $"process{(listed.Processes == 1 ? "" : "es")} = {listed.RowsAStep} {recipe.Definition.RowNoun} a step");
        Row("rate", $"{YamlWriter.Flow(training.LearningRate)}, {RecipeNames.Of(training.LrSchedulerType)}, {RecipeNames.Of(training.Optim)}");
        Row("length", training.MaxSteps > 0 ? $"{training.MaxSteps} steps" : $"{YamlWriter.Flow(training.NumTrainEpochs)} epochs");
        Row("output", training.OutputDir);
        var guide = Path.Combine(listed.Path[..^(listed.Name.Length + ".yaml".Length)], listed.Name.Split('/')[0], "README.md");
        if (File.Exists(guide))
            Row("guide", guide);
        text.Append($"\n  handbook validate {listed.Path}\n");
        if (listed.Processes > 1)
            text.Append($"  handbook launch --num_processes {listed.Processes} {recipe.MethodName} {listed.Path}\n");
        else
            text.Append($"  handbook {recipe.MethodName} {listed.Path}\n");
        return text.ToString();
    }

    /// <summary>The table of a document.</summary>
    public static string Markdown(IReadOnlyList<ListedRecipe> recipes)
    {
        var text = new StringBuilder("| recipe | method | model | data | weights | rows a step | what it is |\n|---|---|---|---|---|---:|---|\n");
        foreach (var recipe in recipes)
        {
            string[] cells = [$"`{recipe.Name}`", recipe.Recipe.MethodName, recipe.Recipe.Model.ModelNameOrPath ?? "",
                string.Join(", ", recipe.Data), recipe.Weights, $"{recipe.RowsAStep}", recipe.Purpose.Replace("|", "\\|")];
            text.Append("| ").AppendJoin(" | ", cells).Append(" |\n");
        }
        return text.ToString();
    }

    private static string[] Cells(ListedRecipe recipe) =>
    [
        recipe.Name[(recipe.Name.IndexOf('/') + 1)..], recipe.Recipe.MethodName, recipe.Recipe.Model.ModelNameOrPath ?? "", Cut(Shortened(
            [.. recipe.Data.Select(set => set[(set.LastIndexOf('/') + 1)..])])), recipe.Weights, $"{recipe.RowsAStep}",
    ];

    private static string Shortened(IReadOnlyList<string> names) => names.Count > 4 ? $"{names[0]} and {names.Count - 1} more"
        : string.Join(", ", names);

    private static string Cut(string text) => text.Length > Widest ? text[..Widest] + "…" : text;
}
