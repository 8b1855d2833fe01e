using System.Text;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Models;

namespace Handbook.Recipes;

/// <summary>The shape of a model that is not on this machine: this program holds those of the recipes' models, and a model that another recipe
/// makes has the shape of the one that it is made from.</summary>
/// <param name="Model">The model, of which nothing but its shape is known, or which is here after all.</param>
/// <param name="Said">Where the shape is from, in a sentence.</param>
internal sealed record KnownShape(ModelSource Model, string Said)
{
    private const string Folder = "Handbook.Shapes.";
    private const string Names = "models.yaml";
    private const string Adapters = "adapters";
    private const int MostStages = 8;

    /// <summary>A model's name → the file of its shape.</summary>
    private static Dictionary<string, string> Files { get; } = Table().Entries.Where(entry => entry.Key.Text != Adapters)
        .SelectMany(entry => ((ListNode)entry.Value).Items.Select(name => KeyValuePair.Create(((ScalarNode)name).Text, entry.Key.Text + ".json")))
        .ToDictionary();

    /// <summary>An adapter's name → the model that it lies on.</summary>
    private static Dictionary<string, string> Bases { get; } = ((MapNode)Table().Entries.Single(entry => entry.Key.Text == Adapters).Value)
        .Entries.ToDictionary(entry => entry.Key.Text, entry => ((ScalarNode)entry.Value).Text);

    /// <summary>The shape of the model that a recipe names; null where nobody knows it.</summary>
    public static KnownShape? Of(Recipe recipe)
    {
        var (name, stages, hasAdapter) = (recipe.Model.ModelNameOrPath!, new List<string>(), false);
        for (var folder = recipe.Folder; stages.Count < MostStages;)
        {
            if (stages.Count > 0 && ModelFolder.TryFind(name) is not null)
                return Made(ModelSource.Find(name), "which is here");
            if (Bases.TryGetValue(Published(name), out var below))
            {
                (name, hasAdapter) = (below, true);
                stages.Add($"is an adapter of {below}");
            }
            else if (Files.TryGetValue(Published(name), out var file))
                return Made(ModelSource.Of(name, PublishedConfig.Parse(Bytes(file), file)), $"as docs/shapes/{file} has it");
            else if (Maker(name, folder) is not { } maker)
                return null;
            else
            {
                (name, folder, hasAdapter) = (maker.Model.ModelNameOrPath!, maker.Folder, hasAdapter || maker.Adapter.UsePeft);
                stages.Add($"is made from {name} by {Path.GetRelativePath(Directory.GetCurrentDirectory(), maker.Path)}");
            }
        }
        return null;

        KnownShape Made(ModelSource model, string where) => new(model, $"{recipe.Model.ModelNameOrPath} is not on this machine"
            + string.Concat(stages.Select((stage, at) => at == 0 ? $", and {stage}" : $", which {stage}"))
            + $"; planned with {(stages.Count == 0 ? "its shape" : $"the shape of {name}")}, {where}"
            + (hasAdapter ? "; the numbers of adapters below are not counted" : ""));
    }

    /// <summary>The recipe beside another one that makes a model; null where there is none.</summary>
    /// <param name="output">The model's folder.</param>
    /// <param name="folder">The folder of the recipe that names it: recipes of other stages lie there, in the folders beside it, or elsewhere
    /// below a folder that is called recipes.</param>
    private static Recipe? Maker(string output, string? folder)
    {
        if (folder is null)
            return null;
        return Beside(folder).Distinct().Where(file => Whole(() => File.ReadLines(file)).Any(line => line.StartsWith("output_dir:",
                StringComparison.Ordinal) && line.Contains(output, StringComparison.Ordinal)))
            .Select(file => Recipe.Load(new FileInfo(file), [], Recipe.GuessMethod(new FileInfo(file))).TryGet(out var recipe, out _) ? recipe : null)
            .FirstOrDefault(recipe => recipe is { Model.ModelNameOrPath: not null } && recipe.Training.OutputDir == output);
    }

    private static IEnumerable<string> Beside(string folder)
    {
        var here = new DirectoryInfo(folder);
        foreach (var each in new[] { here }.Concat(Whole(() => here.Parent?.EnumerateDirectories() ?? []).OrderBy(each => each.Name,
            StringComparer.Ordinal)))
            foreach (var file in In(each, SearchOption.TopDirectoryOnly))
                yield return file;
        for (var (above, levels) = (here, 0); above is not null && levels < 3; (above, levels) = (above.Parent, levels + 1))
            if (above.Name == "recipes")
                foreach (var file in In(above, SearchOption.AllDirectories))
                    yield return file;

        static IEnumerable<string> In(DirectoryInfo folder, SearchOption depth) => Whole(() => folder.EnumerateFiles("*.yaml",
            new EnumerationOptions { RecurseSubdirectories = depth == SearchOption.AllDirectories, IgnoreInaccessible = true }))
            .Select(file => file.FullName).Order(StringComparer.Ordinal);
    }

    /// <summary>All of them; none where they cannot be read, or are gone in the meantime: folders nearby belong to others.</summary>
    private static T[] Whole<T>(Func<IEnumerable<T>> read)
    {
        try
        {
            return [.. read()];
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    private static string Published(string name) => HubCache.IsName(name) ? HubCache.Split(name).Id : name;

    private static MapNode Table() => (MapNode)YamlReader.Read(Encoding.UTF8.GetString(Bytes(Names)), null, new Diagnostics(Names))!;

    private static byte[] Bytes(string name)
    {
        using var stream = typeof(KnownShape).Assembly.GetManifestResourceStream(Folder + name)!;
        using var bytes = new MemoryStream();
        stream.CopyTo(bytes);
        return bytes.ToArray();
    }
}
