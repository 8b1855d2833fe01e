using Handbook.Base.Files;
using Handbook.Data.Decontamination;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Recipes;
using Handbook.Training.Plans;

namespace Handbook.Hub;

/// <summary>Something that a recipe or a command names, and that the hub may have where this machine has not.</summary>
/// <param name="Title">What messages call it, e.g. <c>model_name_or_path: owner/name</c>.</param>
/// <param name="Name">The name.</param>
internal abstract record HubNeed(string Title, string Name)
{
    /// <summary>Adapters that lie on one another without an end are reported by whoever opens them.</summary>
    public const int MostAdapters = 8;

    /// <summary>The name that a recipe or a command has: of an adapter on this machine its own, not that of the model below.</summary>
    public string AskedFor { get; init; } = Name;

    /// <summary>The key of the recipe that names it, dotted below maps and lists; null where no recipe does.</summary>
    public string? Key { get; init; }

    /// <summary>Where it is looked for on this machine.</summary>
    public abstract IReadOnlyList<string> Places { get; }

    /// <summary>Everything that a recipe names and that lies nowhere on this machine but, perhaps, in the hub's cache.</summary>
    public static IReadOnlyList<HubNeed> Of(Recipe recipe)
    {
        var needs = new List<HubNeed>();
        foreach (var (key, name) in RecipePaths.Of(recipe).Where(path => KeyEffects.Unmet(recipe, path.Key) is null))
        {
            var parts = key.StartsWith("tokenizer", StringComparison.Ordinal) || key == "chat_template_path" ? ModelParts.Tokenizer
                : ModelParts.Whole;
            if (!(key == "chat_template_path" && RowPlan.HasTemplateBeside(recipe)) && Model(name, key, parts) is { } need)
                needs.Add(need with { Key = key });
        }
        if (recipe.Data.Mixture() is { } mixture && mixture.Datasets.Any(set => IsElsewhere(set, recipe.Folder)))
            needs.AddRange(MixturePart.Of(mixture, recipe.Training.Evaluates() && !recipe.Definition.IsPipeline, recipe.Folder)
                .Where(part => IsElsewhere(part.Spec, recipe.Folder)).GroupBy(part => part.Spec.Id)
                .Select(set => new DatasetNeed(set.Key, [.. set.Select(part => part.Spec)],
                    DatasetPath.Places(set.First().Spec, recipe.Folder))
                { Key = RecipePaths.KeyOf(recipe, set.First().Spec) }));
        needs.AddRange(References(recipe.Data.Decontaminate, recipe.Folder));
        return needs;
    }

    /// <summary>The sets that rows are compared with, where they lie nowhere on this machine but, perhaps, in the hub's cache.</summary>
    public static IEnumerable<HubNeed> References(DecontaminationOptions options, string? recipeFolder) => options.Against.Index()
        .Where(entry => entry.Item.Id != BuiltInReference.HumanEval && !entry.Item.Id.EndsWith(FingerprintFile.Ending,
            StringComparison.Ordinal))
        .Select(entry => Dataset(new()
        {
            Id = entry.Item.Id,
            Config = entry.Item.Config,
            Split = entry.Item.Split ?? Data.Sources.Dataset.EverySplit,
        }, recipeFolder) is { } need ? need with { Key = $"decontaminate.against.{entry.Index}.id" } : null).OfType<HubNeed>();

    /// <summary>A model that lies nowhere on this machine but, perhaps, in the hub's cache; null where it lies elsewhere, or can be no name
    /// of one. Of an adapter that lies here it is the model below.</summary>
    public static HubNeed? Model(string name, string? key, ModelParts parts) =>
        Model(name, key, parts, depth: 0) is { } need ? need with { AskedFor = name } : null;

    private static ModelNeed? Model(string name, string? key, ModelParts parts, int depth)
    {
        if (ModelFolder.IsLocal(name))
            return ModelFolder.TryFind(name) is { } folder ? Below(folder, name, parts, depth) : null;
        return HubCache.IsName(name) && Path.GetExtension(name) is not (".jinja" or ".txt" or ".json")
            ? new ModelNeed(key is null ? name : $"{key}: {name}", name, parts) : null;
    }

    /// <summary>The model that an adapter's folder says it lies on, where the hub may have it; null where it is no adapter's, or that model
    /// lies on this machine.</summary>
    public static ModelNeed? Below(string folder, string name, ModelParts parts, int depth = 0) => depth < MostAdapters
        && ModelFolder.IsAdapter(folder)
        && AdapterConfigFile.Read(folder).BaseModel is { Length: > 0 } below && !Directory.Exists(Path.Combine(folder, below))
            ? Model(below, $"the model below {name}", parts, depth + 1) : null;

    /// <summary>A split of a data set that lies nowhere on this machine but, perhaps, in the hub's cache; null where it lies
    /// elsewhere.</summary>
    public static HubNeed? Dataset(DatasetSpec spec, string? recipeFolder) =>
        IsElsewhere(spec, recipeFolder) ? new DatasetNeed(spec.Id, [spec], DatasetPath.Places(spec, recipeFolder)) : null;

    private static bool IsElsewhere(DatasetSpec spec, string? recipeFolder) => !string.IsNullOrWhiteSpace(spec.Id)
        && DatasetPath.IsPublished(spec)
        && DatasetPath.TryFindOutside(spec, recipeFolder) is null;
}

/// <summary>A model, or a part of one.</summary>
internal sealed record ModelNeed(string Title, string Name, ModelParts Parts) : HubNeed(Title, Name)
{
    public override IReadOnlyList<string> Places => ModelFolder.LookedFor(Name);
}

/// <summary>Splits of a data set.</summary>
/// <param name="Specs">Each with its config and its split.</param>
internal sealed record DatasetNeed(string Name, IReadOnlyList<DatasetSpec> Specs, IReadOnlyList<string> Looked)
    : HubNeed($"data set: {Name}", Name)
{
    public override IReadOnlyList<string> Places => Looked;
}
