using Handbook.Base.Files;
using Handbook.Data;
using Handbook.Data.Cache;
using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Recipes;
using Handbook.Training;
using Handbook.Training.Checkpoints;
using Handbook.Training.Plans;

namespace Handbook.Runs;

/// <summary>Where a run comes from, by content.</summary>
/// <remarks>
/// What is hashed, and when: files of data before they are tokenised, since the kept tokens are named by these hashes; the recipe and the order
/// of the rows at the start; weights beside the first steps (<see cref="WeightHashes"/>). A file's hash is kept in the cache folder and computed
/// again only where its path, size or time has changed, so that the weights that many runs begin with are read once.
/// </remarks>
internal static class RunOrigin
{
    /// <summary>Keys that name what is read of a model beside its weights, which hashes of their own say.</summary>
    private static readonly string[] s_noWeights = ["tokenizer_name_or_path", "chat_template_path"];

    /// <summary>All but the weights.</summary>
    /// <param name="folder">The run folder.</param>
    /// <param name="resolved">The text of its <c>recipe.yaml</c>.</param>
    public static RunLineage Of(string folder, RunSetup setup, string resolved)
    {
        var (recipe, data, working) = (setup.Recipe, setup.Rows.Data, Path.GetFullPath("."));
        var places = new PlaceNames(working);
        return new()
        {
            WorkingFolder = RelativeTo(folder, working),
            Recipe = new(File.Exists(recipe.Path) ? Given(recipe.Path, places) : null, FileHashes.OfBytes(System.Text.Encoding.UTF8.GetBytes(resolved))),
            Data = [.. data.Sources.DistinctBy(source => source.Title).Select(source => new LineagePart(source.Title, null,
                source.Files.Count > 0 ? PlaceNames.CommitOf(source.Files[0]) : null, source.Content, Files(source.Files, places)))],
            Rows = Rows(setup.Rows, recipe),
        };
    }

    /// <summary>What says which rows the steps of a run draw.</summary>
    public static LineageRows Rows(RunRows rows, Recipe recipe) => new(rows.Data.Train.Count, rows.Evaluation?.Count ?? 0, rows.Key,
        RowOrderHash.Of(RowPlan.Steps(recipe, rows.Data.Train)));

    /// <summary>Every folder of weights that a recipe names, those below adapters included.</summary>
    public static IReadOnlyList<LineagePart> Weights(Recipe recipe)
    {
        var places = new PlaceNames(".");
        var parts = new List<LineagePart>();
        foreach (var (key, name) in RecipePaths.Of(recipe))
        {
            if (s_noWeights.Contains(key) || KeyEffects.Unmet(recipe, key) is not null || ModelFolder.TryFind(name) is not { } folder
                || !ModelFolder.HasWeights(folder))
                continue;
            // An adapter by itself lies on the model that another key names; a model may be an adapter, with what lies below it.
            string[] folders = [folder];
            if (key != "adapter_name_or_path" && ModelFolder.IsAdapter(folder))
            {
                var source = ModelSource.Find(name, key);
                folders = [source.Folder, .. source.Adapters];
            }
            parts.AddRange(folders.Select(each => new LineagePart(each == folder ? name : places.Of(each), key, PlaceNames.CommitOf(each),
                AdapterChain.Link(each, name).Sha256, Files(ModelFolder.Files(each), places))));
        }
        return parts;
    }

    private static LineagePart Given(string path, PlaceNames places) => new(path, null, null, null, Files([path], places));

    private static List<ManifestFile> Files(IEnumerable<string> files, PlaceNames places) => [.. files.Select(file => new ManifestFile(
        places.Of(file), new FileInfo(Base.RealPath.Of(file)).Length, CacheFolder.Default.HashOf(file)))];

    private static string RelativeTo(string folder, string working)
    {
        var path = Path.GetRelativePath(folder, working);
        return path.Split(Path.DirectorySeparatorChar).All(part => part is ".." or ".") ? path.Replace('\\', '/') : working;
    }
}
