using Handbook.Base;

namespace Handbook.Training.Plans;

/// <summary>The keys below <c>dataset_mixture</c>.</summary>
public sealed record DatasetMixture
{
    /// <summary>The data sets, in order.</summary>
    public IReadOnlyList<DatasetEntry> Datasets { get; init; } = [];

    /// <summary>Seed of the shuffles: of each set, of the mixed rows, of the test split.</summary>
    public long Seed { get; init; }

    /// <summary>Rows held out for evaluation: a count, or a share below 1. null holds out nothing.</summary>
    public double? TestSplitSize { get; init; }

    internal void Validate(Diagnostics report)
    {
        if (Datasets.Count == 0)
            report.Error("dataset_mixture", "names no data set", fix: "add entries below `datasets:`, each with an `id`");
        for (var i = 0; i < Datasets.Count; i++)
        {
            if (Datasets[i].Id.Length == 0)
                report.Error($"dataset_mixture.datasets.{i}", "has no id", fix: "add `id: path/to/rows.jsonl`");
            if (Datasets[i].Weight < 0)
                report.OutOfRange($"dataset_mixture.datasets.{i}.weight", Datasets[i].Weight, "must be 0 or greater",
                    fix: "use 1.0 for all rows once, 2.0 for all rows twice");
        }
        var columns = Datasets.Where(entry => entry.Columns is not null)
            .Select(entry => string.Join(", ", entry.Columns!.Order(StringComparer.Ordinal))).Distinct().ToArray();
        if (columns.Length > 1)
            report.Error("dataset_mixture",
                $"keeps different columns in different entries: {string.Join(" and ", columns.Select(set => $"[{set}]"))}",
                why: "mixed rows need the same columns", fix: "give every entry the same columns, or none");
        if (TestSplitSize is <= 0 || TestSplitSize > 1 && TestSplitSize != Math.Floor(TestSplitSize.Value))
            report.OutOfRange("dataset_mixture.test_split_size", TestSplitSize, "is a share between 0 and 1 or a number of rows",
                fix: "use 0.05, or 1000");
    }
}

/// <summary>One entry of <c>dataset_mixture.datasets</c>.</summary>
public sealed record DatasetEntry
{
    /// <summary>A file, a folder, a saved data set, or a name below the data root.</summary>
    public string Id { get; init; } = "";

    /// <summary>The configuration (subset); null takes the default.</summary>
    public string? Config { get; init; }

    /// <summary>The split, also a slice such as <c>train[:10%]</c>.</summary>
    public string Split { get; init; } = "train";

    /// <summary>Columns to keep; null keeps all.</summary>
    public IReadOnlyList<string>? Columns { get; init; }

    /// <summary>Share of the rows to take: 0.5 is half of them, 2.5 all of them twice and half of them once more.</summary>
    public double Weight { get; init; } = 1.0;

    /// <summary>Columns of this set with other names, as a map from our name to theirs.</summary>
    public IReadOnlyDictionary<string, string>? ColumnMapping { get; init; }
}
