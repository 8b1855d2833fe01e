using System.Reflection;
using Handbook.Data.Decontamination;
using Handbook.Training.Metrics;

namespace Handbook.Training;

/// <summary>What one must know to repeat a run or to judge its figures: <c>run.json</c>. The machine describes itself.</summary>
internal sealed record RunInfo
{
    /// <summary>Its name in the run folder.</summary>
    public const string FileName = "run.json";

    /// <summary><c>sft</c>, <c>cpt</c>, ….</summary>
    public required string Method { get; init; }

    /// <summary>What the user typed.</summary>
    public string? CommandLine { get; init; }

    public long Seed { get; init; }

    /// <summary>The choices made for this run: how many processes, ….</summary>
    public IReadOnlyDictionary<string, object?> Engine { get; init; } = new Dictionary<string, object?>();

    /// <summary>Data set → hash of what its files hold.</summary>
    public IReadOnlyDictionary<string, string> DataHashes { get; init; } = new Dictionary<string, string>();

    /// <summary>Data set → rows and tokens that were used of it.</summary>
    public IReadOnlyDictionary<string, string> DataRows { get; init; } = new Dictionary<string, string>();

    /// <summary>What comparing rows with reference sets came to; null where none was named.</summary>
    public DecontaminationReport? Decontamination { get; init; }

    /// <summary>SHA-256 of the chat template's source; null where none is used.</summary>
    public string? TemplateHash { get; init; }

    /// <summary>Fingerprint of the tokenizer; null where none is used.</summary>
    public string? TokenizerHash { get; init; }

    /// <summary>Hash of the start weights' files; null for a new model.</summary>
    public string? ModelHash { get; init; }

    /// <summary>What went into the run, by content; null where nobody asks for it.</summary>
    public RunLineage? Lineage { get; init; }

    /// <summary>What names the run in each of its reports, beside the files of its folder.</summary>
    public IReadOnlyDictionary<string, IReadOnlyDictionary<string, string>> Reports { get; init; } =
        new Dictionary<string, IReadOnlyDictionary<string, string>>();

    /// <summary>The keys that have another value than at the start before: name, old value, new value.</summary>
    public IReadOnlyList<(string Key, string Old, string New)> RecipeChanges { get; init; } = [];

    /// <summary>Whether changes that make it another run were allowed by <c>ignore_recipe_changes</c>.</summary>
    public bool IgnoresRecipeChanges { get; init; }

    /// <summary>This start, as one entry of <c>starts</c>.</summary>
    internal Dictionary<string, object?> Start(DateTimeOffset at, int fromStep)
    {
        var start = new Dictionary<string, object?> { ["at"] = at.ToString("O"), ["from_step"] = fromStep };
        if (Engine.TryGetValue("processes", out var processes))
            start["processes"] = processes;
        if (RecipeChanges.Count > 0)
            start["recipe_changes"] = RecipeChanges.Select(change =>
                new Dictionary<string, object?> { ["key"] = change.Key, ["from"] = change.Old, ["to"] = change.New }).ToList();
        if (IgnoresRecipeChanges)
            start["ignore_recipe_changes"] = true;
        return start;
    }

    /// <param name="starts">Every start of the run, this one last.</param>
    internal string ToJson(IReadOnlyList<object> starts) => PythonJson.Write(new Dictionary<string, object?>
    {
        ["method"] = Method,
        ["command_line"] = CommandLine,
        ["seed"] = Seed,
        ["starts"] = starts,
        [RunFacts.Versions] = Facts(RunFacts.Versions),
        [RunFacts.Engine] = Facts(RunFacts.Engine).Concat(Engine).ToDictionary(),
        ["data_hashes"] = DataHashes,
        ["data_rows"] = DataRows,
        ["decontamination"] = Decontamination is not { } report ? null : new Dictionary<string, object?>
        {
            ["against"] = report.Against,
            ["texts"] = report.Texts,
            ["train_rows"] = report.Train,
            ["train_left_out"] = report.TrainLeftOut,
            ["held_out_rows"] = report.HeldOut,
            ["held_out_left_out"] = report.HeldOutLeftOut,
        },
        ["template_hash"] = TemplateHash,
        ["tokenizer_hash"] = TokenizerHash,
        ["model_hash"] = ModelHash,
        [RunLineage.Entry] = Lineage?.ToJson(),
        ["reports"] = Reports.Select(report => KeyValuePair.Create(report.Key, (object?)report.Value)).ToList(),
        [RunFacts.Hardware] = Facts(RunFacts.Hardware),
    }, indent: 2) + "\n";

    private static Dictionary<string, object?> Facts(string group) =>
        RunFacts.Now().Where(fact => fact.Group == group).ToDictionary(fact => fact.Name, fact => fact.Value);

    /// <summary>This project's version.</summary>
    public static string Version { get; } = typeof(RunInfo).Assembly.GetName().Version?.ToString(3) ?? "unknown";

    /// <summary>The commit that this program was built from; null where it was built without a repository.</summary>
    public static string? Commit { get; } = typeof(RunInfo).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()
        ?.InformationalVersion.Split('+') is [_, { Length: > 0 } commit] ? commit : null;
}
