using System.Globalization;
using System.Text.RegularExpressions;
using Handbook.Base;
using Handbook.Data.Mixing;
using Handbook.Training.Plans;

namespace Handbook.Recipes;

/// <summary>A recipe of a folder of recipes, with what its own file tells of it.</summary>
internal sealed partial record ListedRecipe
{
    /// <summary>Its path below the folder without the ending, such as <c>zephyr-7b-beta/sft/config_full</c>.</summary>
    public required string Name { get; init; }

    /// <summary>Its path.</summary>
    public required string Path { get; init; }

    /// <summary>What the comments at its beginning say, whole sentences, without the command that runs it.</summary>
    public required IReadOnlyList<string> Says { get; init; }

    /// <summary>Its keys.</summary>
    public required Recipe Recipe { get; init; }

    /// <summary>How many processes it was published with; 1 where its comments name no other number.</summary>
    public int Processes => Says.Select(line => PublishedWith().Match(line)).FirstOrDefault(match => match.Success) is { } match
        ? int.Parse(match.Groups[1].ValueSpan, CultureInfo.InvariantCulture) : 1;

    /// <summary>Rows of a step on that many processes.</summary>
    public long RowsAStep =>
        (long)Recipe.Training.PerDeviceTrainBatchSize * Recipe.Training.GradientAccumulationSteps * Processes;

    /// <summary>What it reproduces: the first of its comments.</summary>
    public string Purpose => Says.Count > 0 ? Says[0] : "";

    /// <summary>The data sets, each once.</summary>
    public IReadOnlyList<string> Data => [.. Recipe.Mixture.Datasets.Select(set => set.Id).Distinct()];

    /// <summary>The splits that are read, each once.</summary>
    public IReadOnlyList<string> Splits => [.. (Recipe.Mixture.Dialect switch
    {
        MixtureDialect.Mixer => Recipe.Mixture.Splits,
        MixtureDialect.Mixture => Recipe.Mixture.Datasets.Select(set => set.Split),
        _ => Recipe.Training.Evaluates() ? [Recipe.Mixture.TrainSplit, Recipe.Mixture.TestSplit] : [Recipe.Mixture.TrainSplit],
    }).Distinct()];

    /// <summary>What is trained: all weights, or an adapter over weights of so many bits.</summary>
    public string Weights
    {
        get
        {
            if (Recipe.AdapterKind() is not var (kind, bits))
                return "all";
            return $"{kind}{(bits > 0 ? $", {bits} bits" : "")}, rank {Recipe.Adapter.LoraR}";
        }
    }

    /// <summary>The recipes below a folder, by name.</summary>
    /// <param name="folder">The folder, such as <c>recipes</c>.</param>
    /// <exception cref="InputException">There is no such folder, or a recipe in it is wrong.</exception>
    public static IReadOnlyList<ListedRecipe> In(string folder)
    {
        if (!Directory.Exists(folder))
            throw new InputException($"{folder} is no folder", fix: "name a folder of recipes with --folder");
        return [.. Directory.EnumerateFiles(folder, "*.yaml", SearchOption.AllDirectories).Where(IsRecipe)
            .Order(StringComparer.Ordinal).Select(file => Read(folder, file))];
    }

    // a folder may also hold configurations of other kinds
    private static bool IsRecipe(string file) =>
        File.ReadLines(file).Any(line => line.StartsWith("model_name_or_path:", StringComparison.Ordinal));

    private static ListedRecipe Read(string folder, string file) => new()
    {
        Name = System.IO.Path.GetRelativePath(folder, file)[..^".yaml".Length].Replace('\\', '/'),
        Path = file,
        Says = Sentences(File.ReadLines(file).TakeWhile(line => line.StartsWith('#')).Select(line => line[1..].Trim())
            .Where(line => line.Length > 0 && !line.StartsWith("yaml-language-server:", StringComparison.Ordinal)
                && !line.StartsWith("./handbook ", StringComparison.Ordinal))),
        Recipe = Recipe.Load(file),
    };

    // a sentence that is longer than a line goes on in the next
    private static List<string> Sentences(IEnumerable<string> lines)
    {
        List<string> sentences = [];
        foreach (var line in lines)
            if (sentences.Count > 0 && sentences[^1][^1] is not ('.' or ':' or '!' or '?'))
                sentences[^1] += " " + line;
            else
                sentences.Add(line);
        return sentences;
    }

    [GeneratedRegex(@"\bwith (\d+) processes")]
    private static partial Regex PublishedWith();
}
