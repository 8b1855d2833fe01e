using System.Text.Json;
using System.Text.Json.Serialization;
using Handbook.Training.Checkpoints;

namespace Handbook.Training;

/// <summary>Something that a run read: a recipe, a split of a data set, a folder of weights.</summary>
/// <param name="Name">As the recipe named it.</param>
/// <param name="Key">The key of the recipe that names it; null where several do.</param>
/// <param name="Commit">The commit of the hub that it was downloaded from; null where it was not.</param>
/// <param name="Sha256">Says what all its files hold, with their names or without as whoever compares it needs; null where nobody does.</param>
/// <param name="Files">Its files, each named as <c>PlaceNames</c> names them.</param>
internal sealed record LineagePart(string Name, string? Key, string? Commit, string? Sha256, IReadOnlyList<ManifestFile> Files);

/// <summary>The recipe of a run.</summary>
/// <param name="Given">The file that the user named; null where there was none.</param>
/// <param name="ResolvedSha256">SHA-256 of <c>recipe.yaml</c> in the run folder.</param>
internal sealed record LineageRecipe(LineagePart? Given, string ResolvedSha256);

/// <summary>The rows of a run as its steps draw them.</summary>
/// <param name="Train">Rows to train on, after packing.</param>
/// <param name="HeldOut">Rows held out.</param>
/// <param name="Content">Says what the rows are: the lengths of all, the tokens of 64 of them, and what decides the steps.</param>
/// <param name="Order">SHA-256 of the numbers of the rows of all steps, in their order, 4 bytes each, little-endian; as
/// <c>handbook plan</c> prints it.</param>
internal sealed record LineageRows(int Train, int HeldOut, string Content, string Order);

/// <summary>What went into a run, by content: <c>lineage</c> in <c>run.json</c>. Hashes of template and tokenizer, versions and machine stand
/// beside it there.</summary>
internal sealed record RunLineage
{
    /// <summary>Its name in <c>run.json</c>.</summary>
    public const string Entry = "lineage";

    private static readonly JsonSerializerOptions s_json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        RespectNullableAnnotations = true,
    };

    /// <summary>The folder that the command was typed in, as seen from the run folder where that lies below it.</summary>
    public required string WorkingFolder { get; init; }

    public required LineageRecipe Recipe { get; init; }

    /// <summary>Every split of every data set, in the order of the recipe.</summary>
    public IReadOnlyList<LineagePart> Data { get; init; } = [];

    public required LineageRows Rows { get; init; }

    /// <summary>Every folder of weights that the run began from: models, adapters, references, reward models. null while they are being
    /// hashed, beside the first steps.</summary>
    public IReadOnlyList<LineagePart>? Weights { get; init; }

    public JsonElement ToJson() => JsonSerializer.SerializeToElement(this, s_json);

    /// <param name="entry">The entry of <c>run.json</c>.</param>
    /// <exception cref="JsonException">Something in it is of another kind; the path says what.</exception>
    /// <exception cref="FormatException">Something in it is missing.</exception>
    public static RunLineage Read(JsonElement entry)
    {
        var lineage = entry.Deserialize<RunLineage>(s_json)!;
        if (lineage.Recipe.ResolvedSha256 is null || lineage.Rows is not { Content: not null, Order: not null })
            throw new FormatException($"{Entry}.recipe.resolved_sha256, or content or order of {Entry}.rows, is missing");
        foreach (var (list, parts) in ((string, IReadOnlyList<LineagePart>)[])[("recipe.given", lineage.Recipe.Given is { } given ? [given] : []),
            ("data", lineage.Data), ("weights", lineage.Weights ?? [])])
            foreach (var (at, part) in parts.Index())
                if (part is not { Name: not null, Files: not null } || part.Files.Any(file => file is not { Path: not null, Sha256: not null }))
                    throw new FormatException($"{Entry}.{list}{(list == "recipe.given" ? "" : $"[{at}]")} lacks its name, or path and sha256 of a file");
        return lineage;
    }
}
