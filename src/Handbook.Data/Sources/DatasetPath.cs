using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Data.Mixing;

namespace Handbook.Data.Sources;

/// <summary>Finds where a data set lies: at its path, below the data root, or where the Python library left it.</summary>
internal static class DatasetPath
{
    /// <summary>Full path of the file or folder.</summary>
    /// <exception cref="InputException">It is nowhere.</exception>
    public static string Find(DatasetSpec spec, string? recipeFolder)
    {
        if (string.IsNullOrWhiteSpace(spec.Id))
            throw new InputException("a data set has an empty name", fix: "give a file, a folder, or owner/name");
        return TryFind(spec, recipeFolder)
            ?? throw InputException.Absent($"data set \"{spec.Id}\" was not found", Places(spec, recipeFolder), fix: HubCache.NameIn(spec.Id) is { } meant
                ? $"write the name alone: {meant}" : IsPublishedName(spec.Id)
                ? $"download it where there is a network (handbook download {spec.Id} --repo-type dataset --local-dir DIR/{spec.Id}) and set "
                    + "HANDBOOK_DATA=DIR, or give a path"
                : "check the path; names are relative to the working folder or to the recipe's");
    }

    /// <inheritdoc cref="Find"/>
    /// <returns>Null where it is nowhere.</returns>
    public static string? TryFind(DatasetSpec spec, string? recipeFolder) =>
        TryFindOutside(spec, recipeFolder) ?? (IsPublished(spec) ? Cached(spec.Id) : null);

    /// <summary>Where it lies on this machine, the hub's cache left aside; null where it is nowhere.</summary>
    public static string? TryFindOutside(DatasetSpec spec, string? recipeFolder) => Places(spec, recipeFolder).FirstOrDefault(Path.Exists);

    /// <summary>Whether a data set may be one of the hub.</summary>
    public static bool IsPublished(DatasetSpec spec) => IsPublishedName(spec.Id);

    /// <summary>The branch on which the hub keeps as Parquet what a program of the data set makes.</summary>
    public const string ConvertedRevision = "refs/convert/parquet";

    // A data set that is a program has its rows, converted, on a branch of their own.
    private static string? Cached(string id) => HubCache.Find("datasets", id) is { } found && (HubCache.Split(id).Revision is not null
        || Directory.EnumerateFiles(found, "*", SearchOption.AllDirectories).Any(DataFile.IsData)) ? found
        : HubCache.Find("datasets", $"{HubCache.Split(id).Id}@{ConvertedRevision}") ?? HubCache.Find("datasets", id);

    /// <summary>Where a data set is looked for, first to last.</summary>
    public static IReadOnlyList<string> Places(DatasetSpec spec, string? recipeFolder) =>
        [.. Candidates(spec.Id, recipeFolder).Select(Path.GetFullPath).Distinct()];

    /// <summary>Whether a data set is found at its own path, not by a name below a data root or in the hub's cache.</summary>
    public static bool IsLocal(DatasetSpec spec, string? recipeFolder) =>
        Path.Exists(UserFolder.Expand(spec.Id)) || recipeFolder is not null && Path.Exists(Path.Combine(recipeFolder, spec.Id))
            || DataFile.FormatOf(spec.Id) is not null;

    private static IEnumerable<string> Candidates(string id, string? recipeFolder)
    {
        yield return UserFolder.Expand(id);
        if (Path.IsPathRooted(id) || id[0] == '~')
            yield break;
        if (recipeFolder is not null)
            yield return Path.Combine(recipeFolder, id);
        string[] below = IsPublishedName(id) ? [id, id.Split('/')[^1]] : [id];
        foreach (var root in Roots(recipeFolder))
            foreach (var name in below)
                yield return Path.Combine(root, name);
    }

    private static IEnumerable<string> Roots(string? recipeFolder)
    {
        if (Environment.GetEnvironmentVariable("HANDBOOK_DATA") is { Length: > 0 } named)
            yield return named;
        if (recipeFolder is not null)
            yield return Path.Combine(recipeFolder, "data");
        yield return "data";
    }

    private static bool IsPublishedName(string id) => HubCache.IsName(id) && DataFile.FormatOf(id) is null;
}
