using Handbook.Data.Sources;

namespace Handbook.Data.Mixing;

/// <summary>Which of the handbook's ways of mixing data sets is meant; they order and split rows differently.</summary>
public enum MixtureDialect
{
    /// <summary><c>dataset_mixer</c> with <c>dataset_splits</c>: fractions of train splits, whole test splits,
    /// shuffled with seed 42.</summary>
    Mixer,
    /// <summary><c>dataset_mixture</c>: weights, one seed, an own test split cut from the mixed rows.</summary>
    Mixture,
    /// <summary><c>dataset_name</c>: one data set with its published splits.</summary>
    Single,
}

/// <summary>One data set of a mixture.</summary>
public sealed record DatasetSpec
{
    /// <summary>A file, a folder, a saved data set, or a published name that is looked up below the data root.</summary>
    public required string Id { get; init; }

    /// <summary>The configuration, i.e. the subset, where a data set has several; null takes the default one.</summary>
    public string? Config { get; init; }

    /// <summary>The split to read, perhaps with a slice: <c>train[:10%]</c>.</summary>
    public string Split { get; init; } = "train";

    /// <summary>Columns to keep; null keeps all that the method reads.</summary>
    public IReadOnlyList<string>? Columns { get; init; }

    /// <summary>Share of the rows to take; 1 takes all, 2.5 all of them twice and half of them once more.</summary>
    public double Weight { get; init; } = 1.0;

    /// <summary>Our column name → the file's column name (e.g. <c>prompt: question</c>); null maps nothing.</summary>
    public IReadOnlyDictionary<string, string>? ColumnMapping { get; init; }

    /// <summary>Encoding of text files (JSON, JSONL, CSV, TSV, plain text) by its IANA name; null means UTF-8.</summary>
    public string? Encoding { get; init; }

    /// <summary>What makes a row of a plain text file.</summary>
    public TextUnit TextUnit { get; init; } = TextUnit.Line;
}

/// <summary>The data of a recipe: which sets, how much of each, in which order, and what is held out.</summary>
public sealed record MixtureSpec
{
    /// <summary>Whose rules order and split the rows.</summary>
    public required MixtureDialect Dialect { get; init; }

    /// <summary>The sets in the order of the recipe, which counts: rows are concatenated in it before they are shuffled.</summary>
    public required IReadOnlyList<DatasetSpec> Datasets { get; init; }

    /// <summary>Splits to load in the mixer dialect, e.g. <c>train_sft</c>, <c>test_sft</c>.</summary>
    public IReadOnlyList<string> Splits { get; init; } = ["train", "test"];

    /// <summary>Seed of the shuffle: 42 in the mixer dialect, the mixture's own <c>seed</c> (0) otherwise.</summary>
    public long Seed { get; init; }

    /// <summary>Held-out rows (1 or more) or share (below 1) in the mixture dialect; null holds out nothing.</summary>
    public double? TestSplitSize { get; init; }

    /// <summary>The split that is trained on, where there is one data set.</summary>
    public string TrainSplit { get; init; } = "train";

    /// <summary>The split that is held out, where there is one data set.</summary>
    public string TestSplit { get; init; } = "test";
}
