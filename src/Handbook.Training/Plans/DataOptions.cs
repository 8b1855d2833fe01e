using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Data;
using Handbook.Data.Decontamination;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Training.Methods;

namespace Handbook.Training.Plans;

/// <summary>The keys that say which rows are read and how they become tokens; each property is one key, in snake_case.</summary>
public sealed record DataOptions
{
    /// <summary>Data sets and the share of each to use, as a map from name or path to fraction (the older way; see
    /// <c>dataset_mixture</c>): 0.5 is the first half of the rows, 2.5 all of them twice and the first half once more.</summary>
    [Key(Aliases = ["datasets_mixer"])]
    public IReadOnlyDictionary<string, double>? DatasetMixer { get; init; }

    /// <summary>With <c>dataset_mixer</c>: the splits to load of every data set; a name with <c>train</c> is trained on, one with
    /// <c>test</c> is held out.</summary>
    public IReadOnlyList<string> DatasetSplits { get; init; } = ["train", "test"];

    /// <summary>With <c>dataset_mixer</c>: one configuration name per data set; null takes the default of each.</summary>
    public IReadOnlyList<string>? DatasetConfigs { get; init; }

    /// <summary>Data sets with split, columns and weight each, one shuffle seed and an own test split: <c>datasets</c>, <c>seed</c>,
    /// <c>test_split_size</c>.</summary>
    public DatasetMixture? DatasetMixture { get; init; }

    /// <summary>One data set: a file, a folder, a saved data set, or a name below the data root.</summary>
    [Key(IsUsual = true)]
    public string? DatasetName { get; init; }

    /// <summary>With <c>dataset_name</c>: the configuration (subset) to read; null takes the default.</summary>
    public string? DatasetConfig { get; init; }

    /// <summary>The split that is trained on.</summary>
    public string DatasetTrainSplit { get; init; } = "train";

    /// <summary>The split that evaluation reads.</summary>
    public string DatasetTestSplit { get; init; } = "test";

    /// <summary>Column with plain text, for pretraining and for SFT rows that are not conversations.</summary>
    [Key(Aliases = ["dataset_text_field"])]
    public string TextColumn { get; init; } = "text";

    /// <summary>Columns with other names in the files, as a map from our name to theirs, e.g. <c>{prompt: question, completion:
    /// answer}</c>.</summary>
    public IReadOnlyDictionary<string, string>? ColumnMapping { get; init; }

    /// <summary>Encoding of data files with text that is not UTF-8, by its IANA name, e.g. <c>iso-8859-1</c>; null means UTF-8, and
    /// anything else is refused.</summary>
    public string? DatasetEncoding { get; init; }

    /// <summary>What a row of a plain text file is: <c>line</c>, <c>paragraph</c> (up to the next blank line) or <c>document</c> (the
    /// whole file).</summary>
    public TextUnit SampleBy { get; init; } = TextUnit.Line;

    /// <summary>Longest row in tokens; longer ones are cut (or split over blocks when packing is <c>wrapped</c>). null cuts
    /// nothing.</summary>
    [Key(IsUsual = true, Aliases = ["max_seq_length"])]
    public int? MaxLength { get; init; } = 1024;

    /// <summary>Fill blocks of <c>max_length</c> tokens with several rows. On by default with <c>dataset_mixer</c>, as in the handbook of
    /// that time; off otherwise.</summary>
    [Key(IsUsual = true, Elsewhere = "rows are computed in bins of max_tokens without padding anyway")]
    public bool Packing { get; init; }

    /// <summary><c>bfd</c> keeps rows whole and apart (best fit, decreasing); <c>wrapped</c> joins them into one stream and cuts it.
    /// <c>wrapped</c> is the default with <c>dataset_mixer</c>.</summary>
    [Key(Elsewhere = "rows are computed in bins of max_tokens without padding anyway")]
    public PackingStrategy PackingStrategy { get; init; } = PackingStrategy.Bfd;

    /// <summary>Pack the evaluation rows as well; null does as <c>packing</c> says.</summary>
    [Key(Elsewhere = "rows are computed in bins of max_tokens without padding anyway")]
    public bool? EvalPacking { get; init; }

    /// <summary>Most tokens computed at once; more rows than fit are taken in several passes with the same result. null lets the engine
    /// choose.</summary>
    public int? MaxTokens { get; init; }

    /// <summary>The share of rows that may be unusable (broken, empty, without an answer) before the run stops; between 0 and 1.</summary>
    public double MaxBadRows { get; init; } = 0.05;

    /// <summary>Switches of row preparation: <c>add_special_tokens</c>, <c>append_concat_token</c> (both for packing as <c>wrapped</c>),
    /// <c>skip_prepare_dataset</c> (rows already hold <c>input_ids</c>).</summary>
    [Key(Elsewhere = "its switches belong to packed texts")]
    public DatasetSwitches? DatasetKwargs { get; init; }

    /// <summary>The chat template in Jinja, or the name of one of the tokenizer's; it replaces the tokenizer's and is saved with it. null
    /// takes the tokenizer's, or the built-in Zephyr one where it has none.</summary>
    public string? ChatTemplate { get; init; }

    /// <summary>A <c>.jinja</c> file, or a model folder whose chat template to take.</summary>
    public string? ChatTemplatePath { get; init; }

    /// <summary>The token that ends an answer; it must be in the vocabulary. null keeps the tokenizer's.</summary>
    public string? EosToken { get; init; }

    /// <summary>The padding token written to the saved tokenizer; it must be in the vocabulary. null keeps the tokenizer's, or takes the
    /// end token.</summary>
    public string? PadToken { get; init; }

    /// <summary>The side on which too long rows are cut: <c>right</c> or <c>left</c>; null cuts on the right.</summary>
    [Key(Elsewhere = "truncation_mode says which end is kept")]
    public TruncationSide? TruncationSide { get; init; }

    /// <summary>Leaves out rows that hold texts of a test set, in training and evaluation alike: <c>{against: [{id: human-eval}]}</c>;
    /// <c>{against: []}</c> compares nothing.</summary>
    public DecontaminationOptions Decontaminate { get; init; } = new();

    /// <summary>Threads that read and tokenise rows; null or more than the machine's cores uses every core.</summary>
    [Key(Aliases = ["preprocessing_num_workers"])]
    public int? DatasetNumProc { get; init; }

    /// <summary>The most tokens computed at once where nobody says.</summary>
    private const int UsualTokensAtOnce = 4096;

    /// <summary>Most tokens that go through the network at once.</summary>
    public int TokensAtOnce() => MaxTokens ?? UsualTokensAtOnce;

    /// <summary>Whether rows share a block whole and apart.</summary>
    public bool PacksBestFit() => Packing && PackingStrategy == PackingStrategy.Bfd;

    /// <summary>Whether evaluation rows are packed.</summary>
    public bool PacksEvaluation() => EvalPacking ?? Packing;

    /// <summary>The mixture that the data keys describe, whichever of the three ways the recipe uses; null when it names no data.</summary>
    public MixtureSpec? Mixture()
    {
        if (DatasetMixer is not null)
            return new MixtureSpec
            {
                Dialect = MixtureDialect.Mixer,
                Datasets = [.. DatasetMixer.Select((entry, i) => new DatasetSpec
                {
                    Id = entry.Key,
                    Config = DatasetConfigs?.ElementAtOrDefault(i) is { Length: > 0 } config ? config : null,
                    Weight = entry.Value,
                    ColumnMapping = ColumnMapping,
                    Encoding = DatasetEncoding,
                    TextUnit = SampleBy,
                })],
                Splits = DatasetSplits,
                Seed = 42,      // hard-wired in the handbook of that time
            };
        if (DatasetMixture is not null)
            return new MixtureSpec
            {
                Dialect = MixtureDialect.Mixture,
                Datasets = [.. DatasetMixture.Datasets.Select(entry => new DatasetSpec
                {
                    Id = entry.Id,
                    Config = entry.Config,
                    Split = entry.Split,
                    Columns = entry.Columns,
                    Weight = entry.Weight,
                    ColumnMapping = entry.ColumnMapping ?? ColumnMapping,
                    Encoding = DatasetEncoding,
                    TextUnit = SampleBy,
                })],
                Seed = DatasetMixture.Seed,
                TestSplitSize = DatasetMixture.TestSplitSize,
                TrainSplit = DatasetTrainSplit,
                TestSplit = DatasetTestSplit,
            };
        return DatasetName is null ? null : new MixtureSpec
        {
            Dialect = MixtureDialect.Single,
            Datasets = [new DatasetSpec { Id = DatasetName, Config = DatasetConfig, Split = DatasetTrainSplit,
            ColumnMapping = ColumnMapping, Encoding = DatasetEncoding, TextUnit = SampleBy }],
            TrainSplit = DatasetTrainSplit,
            TestSplit = DatasetTestSplit,
        };
    }

    internal void Validate(Diagnostics report)
    {
        ValidateSources(report);
        if (MaxLength is <= 1)
            report.OutOfRange("max_length", MaxLength, "must be at least 2",
                why: "the loss compares each token with the one before it",
                fix: "use 1024, or null to cut nothing");
        if (Packing && MaxLength is null)
            report.Error("max_length", "is null, but packing needs a block length",
                fix: "set max_length to the block length, e.g. 2048, or packing: false");
        if (MaxTokens is <= 0)
            report.OutOfRange("max_tokens", MaxTokens, "must be greater than 0", fix: "remove the key to let the engine choose");
        if (MaxBadRows is < 0 or > 1)
            report.OutOfRange("max_bad_rows", MaxBadRows, "is a share between 0 and 1", fix: "use 0.05 to allow one row in twenty");
        if (DatasetNumProc is <= 0)
            report.OutOfRange("dataset_num_proc", DatasetNumProc, "must be at least 1", fix: "remove the key to use every core");
        if (ChatTemplate is not null && ChatTemplatePath is not null)
            report.Error("chat_template_path", "is given together with chat_template",
                why: "only one template can be used", fix: "remove one of the two");
    }

    private void ValidateSources(Diagnostics report)
    {
        string[] given = [.. new[] { ("dataset_mixer", DatasetMixer is not null), ("dataset_mixture", DatasetMixture is not null),
            ("dataset_name", DatasetName is not null) }
            .Where(source => source.Item2).Select(source => source.Item1)];
        if (given.Length == 0)
            report.Error("dataset_name", "is missing, and so are dataset_mixture and dataset_mixer",
                why: "there is nothing to train on",
                fix: "add `dataset_name: path/to/rows.jsonl` (a file or a folder)");
        if (given.Length > 1)
            report.Error(given[^1], $"is given together with {string.Join(" and ", given[..^1])}",
                why: "they are different ways to name the data, with different orders and splits",
                fix: $"keep one of {string.Join(", ", given)}");

        foreach (var (id, fraction) in DatasetMixer ?? new Dictionary<string, double>())
            if (fraction < 0)
                report.OutOfRange($"dataset_mixer.{id}", fraction, "must be 0 or greater",
                    why: "dataset fractions cannot be negative", fix: "use 1.0 for all rows once, 2.0 for all rows twice");
        if (DatasetMixer is { Count: 0 })
            report.Error("dataset_mixer", "names no data set", fix: "add an entry such as `data/rows.jsonl: 1.0`");
        if (DatasetMixer is not null && DatasetConfigs is not null && DatasetConfigs.Count != DatasetMixer.Count)
            report.Error("dataset_configs",
                $"has {DatasetConfigs.Count} name{(DatasetConfigs.Count == 1 ? "" : "s")} for {DatasetMixer.Count} data "
                + $"set{(DatasetMixer.Count == 1 ? "" : "s")}",
                why: "each entry of dataset_mixer takes the configuration at its place",
                fix: "give one name per data set, or remove the key");
        if (DatasetMixer is null && DatasetConfigs is not null)
            report.Error("dataset_configs", "is given without dataset_mixer",
                fix: "remove the key: dataset_name takes dataset_config, and an entry of dataset_mixture takes `config`");
        if (DatasetMixer is not null)
            foreach (var split in DatasetSplits.Where(split => !split.Contains("train") && !split.Contains("test")))
                report.Error("dataset_splits", $"has the split {split}, which is neither a train nor a test split",
                    why: "the name decides: one with `train` is trained on, one with `test` is held out",
                    fix: "name splits such as train_sft and test_sft");
        if (DatasetMixer is not null && !DatasetSplits.Any(split => split.Contains("train")))
            if (DatasetSplits.All(split => split.Contains("test")))      // otherwise one that is not understood may be meant for it
                report.Error("dataset_splits", "has no train split", fix: "add one, e.g. train_sft");
        if (DatasetConfig is not null && DatasetName is null)
            report.Error("dataset_config", "is given without dataset_name",
                fix: "write `config` in the dataset_mixture entry, or dataset_configs with dataset_mixer");
        DatasetMixture?.Validate(report);
        Decontaminate.Validate(report);
    }
}

/// <summary>How rows share a block.</summary>
public enum PackingStrategy
{
    /// <summary>Best fit, decreasing: rows stay whole and do not see each other.</summary>
    [Spelled("bfd", "ffd")] Bfd,
    /// <summary>One stream of tokens cut into blocks.</summary>
    [Spelled("wrapped")] Wrapped,
}

/// <summary>The side on which a too long row is cut.</summary>
public enum TruncationSide
{
    /// <summary>The end of the row is cut off.</summary>
    [Spelled("right")] Right,
    /// <summary>The beginning of the row is cut off.</summary>
    [Spelled("left")] Left,
}

/// <summary>The keys below <c>dataset_kwargs</c>.</summary>
public sealed record DatasetSwitches
{
    /// <summary>Let the tokenizer add its own tokens, such as a begin token, to every packed text.</summary>
    public bool AddSpecialTokens { get; init; } = true;

    /// <summary>Put the end token behind every packed text.</summary>
    public bool AppendConcatToken { get; init; } = true;

    /// <summary>Rows are tokens already; a row with <c>input_ids</c> (and <c>labels</c>) is taken as it is, with or without this
    /// switch.</summary>
    public bool SkipPrepareDataset { get; init; }
}
