using Handbook.Base;
using Handbook.Base.Keys;

namespace Handbook.Data.Decontamination;

/// <summary>The keys below <c>decontaminate</c>: which texts must not be trained on, and when a row holds one.</summary>
public sealed record DecontaminationOptions
{
    /// <summary>The sets whose texts must not be trained on; none compares nothing.</summary>
    public IReadOnlyList<ReferenceEntry> Against { get; init; } = [];

    /// <summary>How many words in a row a training row must share with a reference text; 0 looks for whole texts alone.</summary>
    public int Ngrams { get; init; } = 13;

    /// <summary>The share of a reference text's runs of words that a row must hold to be left out; at 0 one is enough.</summary>
    public double Overlap { get; init; }

    /// <summary>Reference texts of fewer characters are not looked for: "yes" stands in many rows that nobody copied.</summary>
    public int MinLength { get; init; } = 32;

    /// <summary>Stands before a command's options of its sets; null where keys of a recipe say it all.</summary>
    internal string? OptionPrefix { get; init; }

    /// <summary>A key as the user writes it: in a recipe, or as an option of a command.</summary>
    /// <param name="ofSet">Whether it is one of a set.</param>
    internal string Written(string key, bool ofSet = false) =>
        OptionPrefix is not { } prefix ? key : $"--{(ofSet ? prefix : "")}{key.Replace('_', '-')}";

    /// <summary>What the handbook's first revision compared rows with.</summary>
    internal static DecontaminationOptions FirstRevision { get; } = new() { Against = new ReferenceEntry[] { new() { Id = BuiltInReference.HumanEval } }, Ngrams = 0 };

    /// <summary>Reports what must not be.</summary>
    internal void Validate(Diagnostics report)
    {
        for (var i = 0; i < Against.Count; i++)
            if (string.IsNullOrWhiteSpace(Against[i].Id))
                report.Error($"decontaminate.against.{i}", "has no id",
                    fix: $"add `id: {BuiltInReference.HumanEval}`, a data file, a folder, or a file of fingerprints");
        if (Ngrams is < 0 or > 0 and < 5 or > 100)
            report.OutOfRange("decontaminate.ngrams", Ngrams, "must be 0, or from 5 to 100",
                why: "fewer words than 5 in a row are shared by texts that have nothing to do with one another",
                fix: "use 13 (the usual number), or 0 to look for whole texts alone");
        if (Overlap is not (>= 0 and <= 1))
            report.OutOfRange("decontaminate.overlap", Overlap, "is a share between 0 and 1",
                fix: "use 0 to leave out rows that share one run of words, or 0.5 for half of a text's");
        if (MinLength < 1)
            report.OutOfRange("decontaminate.min_length", MinLength, "must be at least 1", fix: "use 32");
    }
}

/// <summary>One entry of <c>decontaminate.against</c>.</summary>
public sealed record ReferenceEntry
{
    /// <summary><c>human-eval</c>, which is built in; a file, a folder, a saved data set, a name below the data root; or a file of
    /// fingerprints.</summary>
    public string Id { get; init; } = "";

    /// <summary>The configuration (subset); null takes the default.</summary>
    public string? Config { get; init; }

    /// <summary>The split, also a slice; null takes all that there are.</summary>
    public string? Split { get; init; }

    /// <summary>The columns whose texts count; null takes every text of a row.</summary>
    public IReadOnlyList<string>? Columns { get; init; }

    /// <summary>What of a row is a reference text.</summary>
    public ReferenceForm Form { get; init; }

    /// <summary>The set in words.</summary>
    internal string Name => $"{Id}{(Config is null ? "" : $" ({Config})")}{(Split is null ? "" : $" [{Split}]")}";
}

/// <summary>What of a row is a reference text.</summary>
public enum ReferenceForm
{
    /// <summary>Every text of it.</summary>
    [Spelled("text")] Text,
    /// <summary>The description in <c>prompt</c>, a function with its documentation, and <c>canonical_solution</c>.</summary>
    [Spelled("human_eval")] HumanEval,
}
