using Handbook.Base;
using Handbook.Data.Cache;
using Handbook.Data.Decontamination;
using Handbook.Data.Formats;
using Handbook.Data.Sources;
using Handbook.Data.Tokenizing;
using Handbook.Text.Tokenizers;

namespace Handbook.Data.Mixing;

/// <summary>How rows become longer ones.</summary>
public enum PackingKind
{
    /// <summary>Each row stays as it is.</summary>
    None,
    /// <summary><c>bfd</c>.</summary>
    BestFit,
    /// <summary><c>wrapped</c>.</summary>
    Wrapped,
    /// <summary>The packing of the handbook's first revision.</summary>
    ConstantLength,
}

/// <summary>Everything that decides which token rows a run sees.</summary>
public sealed record TrainingDataOptions
{
    /// <summary>The data sets and how they are mixed.</summary>
    public required MixtureSpec Mixture { get; init; }

    /// <summary>The model's tokenizer.</summary>
    public required Tokenizer Tokenizer { get; init; }

    /// <summary>Renders conversations; may be null where rows hold none.</summary>
    internal ChatRowEncoder? Chats { get; init; }

    /// <summary>What the rows are for, which decides the columns they must have.</summary>
    public RowUse Use { get; init; }

    /// <summary>The column of plain texts.</summary>
    public string TextColumn { get; init; } = "text";

    /// <summary>How texts and conversations become tokens.</summary>
    public RowTokenizerOptions Rows { get; init; } = new();

    /// <summary>How rows with answers become tokens; null where rows have none.</summary>
    public PreferenceTokenizerOptions? Answers { get; init; }

    /// <summary>Rows that exchange their answers, for <see cref="MismatchedRows"/>: in training and evaluation alike. null lets
    /// each keep its own alone.</summary>
    public int? MismatchedBlock { get; init; }

    /// <summary>How training rows become longer ones.</summary>
    public PackingKind Packing { get; init; }

    /// <summary>How held-out rows become longer ones.</summary>
    public PackingKind EvaluationPacking { get; init; }

    /// <summary>Length of a packed row.</summary>
    public int BlockSize { get; init; } = 1024;

    /// <summary>Most tokens of a row that is not packed, where rows are tokenised uncut for the others; null cuts nothing.</summary>
    public int? UnpackedMaxLength { get; init; }

    /// <summary>Seed of the one packing that shuffles.</summary>
    public long Seed { get; init; } = 42;

    /// <summary>Whether held-out rows are wanted.</summary>
    public bool Evaluates { get; init; }

    /// <summary>The share of unusable rows, from 0 to 1, beyond which the run stops.</summary>
    public double MaxBadRows { get; init; } = 0.05;

    /// <summary>Threads that tokenise; null uses every core.</summary>
    public int? Threads { get; init; }

    /// <summary>The folder beside which data sets are looked up.</summary>
    public string? RecipeFolder { get; init; }

    /// <summary>Texts that must be neither trained nor evaluated on.</summary>
    public DecontaminationOptions Decontamination { get; init; } = new();

    /// <summary>Columns that are known to have no effect.</summary>
    internal IReadOnlyList<string> Annotations { get; init; } = [];

    /// <summary>Where tokenised rows are kept for the next run.</summary>
    public CacheFolder Cache { get; init; } = CacheFolder.Default;
}

/// <summary>One source of a mixture with what became of it.</summary>
/// <param name="Name">The data set and its split.</param>
/// <param name="IsTest">Whether its rows are held out.</param>
/// <param name="Content">A hash of its files' contents.</param>
internal sealed record SourceReport(string Name, bool IsTest, TokenSummary Summary, string Content)
{
    /// <summary>Its files, in the order in which they are read.</summary>
    public IReadOnlyList<string> Files { get; init; } = [];

    /// <summary>The name, with a word where its rows are held out.</summary>
    public string Title => TitleOf(Name, IsTest);

    internal static string TitleOf(string name, bool isTest) => isTest ? $"{name} (held out)" : name;
}

/// <summary>The rows of a run: mixed, tokenised, packed.</summary>
public sealed class TrainingData : IDisposable
{
    private readonly List<TokenStore> _stores = [];
    private readonly List<(IRowSource Rows, RowReader Reader)> _sources = [];

    private TrainingData() { }

    /// <summary>Rows to train on, in the order of the mixture; which of them a step takes is not decided here.</summary>
    public ITokenRows Train { get; private set; } = new TokenRowList([]);

    /// <summary>Held-out rows; null where the recipe holds out none or none were asked for.</summary>
    public ITokenRows? Evaluation { get; private set; }

    /// <summary>Training rows before packing.</summary>
    public int TrainSamples { get; private set; }

    /// <summary>Held-out rows before packing.</summary>
    public int EvaluationSamples { get; private set; }

    /// <summary>Rows drawn to be held out, those that cannot be used counted.</summary>
    internal int HeldOutDrawn { get; private set; }

    /// <summary>What holding rows out left out of either side, as whole lines.</summary>
    internal IReadOnlyList<string> HeldOutNotes { get; private set; } = [];

    /// <summary>What became of each data set, for the log.</summary>
    internal IReadOnlyList<SourceReport> Sources { get; private set; } = [];

    /// <summary>What comparing rows with reference sets came to; null where there are none.</summary>
    internal DecontaminationReport? Decontamination { get; private set; }

    /// <summary>Lines for the log about how rows are read.</summary>
    public IReadOnlyList<string> Remarks { get; private set; } = [];

    /// <summary>Reads, mixes, tokenises and packs; what was tokenised before is taken from the cache.</summary>
    internal static TrainingData Load(TrainingDataOptions options, IProgress<TokenizeProgress>? progress = null,
        CancellationToken cancel = default)
    {
        var data = new TrainingData();
        try
        {
            data.Fill(options, progress, cancel);
            return data;
        }
        catch
        {
            data.Dispose();
            throw;
        }
    }

    /// <summary>What prompts say.</summary>
    /// <param name="rows"><see cref="Train"/> or <see cref="Evaluation"/>, of a method that reads prompts.</param>
    /// <param name="referenceColumn">The column with the right answers; null takes one of the usual ones.</param>
    /// <param name="comparer">The scorer that compares with them; null where none does.</param>
    internal PromptTexts Texts(ITokenRows rows, string? referenceColumn, string? comparer) =>
        new((OrderedRows)rows, [.. _sources.Select(source => source.Reader)], referenceColumn, comparer);

    /// <summary>Closes the files of tokenised rows: no row can be read any more.</summary>
    public void Dispose()
    {
        foreach (var store in _stores)
            store.Dispose();
        _stores.Clear();
    }

    private void Fill(TrainingDataOptions options, IProgress<TokenizeProgress>? progress, CancellationToken cancel)
    {
        var parts = MixturePart.Of(options.Mixture, options.Evaluates, options.RecipeFolder);
        var reports = new List<SourceReport>();
        var remarks = new List<string>();
        var cache = new TokenCache(options.Cache) { Threads = options.Threads };
        foreach (var part in parts)
        {
            var (source, reader, tokenizer) = Open(part, options);
            _sources.Add((source, reader));
            remarks.AddRange(RowRemarks.Of(source, reader, options));
            _stores.Add(cache.Open(source, tokenizer, part.Select(options.Mixture, () => options.Cache.CountOf(source)), progress, cancel));
            reports.Add(new(part.Name, part.IsTest, _stores[^1].Summary, options.Cache.ContentOf(source))
            { Files = [.. source.Files] });
        }
        Sources = reports;
        foreach (var report in reports)
            RequireUsable(report, options.MaxBadRows);

        int[] counts = [.. _stores.Select(store => checked((int)store.Summary.SourceRows))];
        var (train, test) = MixturePart.Order(options.Mixture, parts, counts);
        HeldOutDrawn = test?.Length ?? 0;
        var said = new List<string>();
        if (test is not null && HeldOutRows.Repeats(options.Mixture, parts, counts, test) is { } repeats)
            said.Add(repeats);
        if (options.Decontamination.Against.Count > 0)
            (train, test) = Decontaminate((train, test), parts, options, remarks, progress, cancel);
        if (test is not null)
        {
            (train, var remark) = HeldOutRows.Apart(options.Mixture, (train, test), _stores,
                [.. _sources.Select((source, i) => (source.Rows, parts[i].IsTest))], options.Cache.HashOf);
            if (remark is not null)
                said.Add(remark);
        }
        (HeldOutNotes, remarks) = (said, [.. remarks, .. said]);
        Remarks = [.. remarks.Distinct()];
        var trainRows = new OrderedRows(_stores, train);
        TrainSamples = trainRows.Count;
        Train = Laid(trainRows, options.Packing, options);
        if (options.Evaluates && test is not null)
        {
            var testRows = new OrderedRows(_stores, test);
            EvaluationSamples = testRows.Count;
            Evaluation = Laid(testRows, options.EvaluationPacking, options);
        }
    }

    /// <summary>The order without rows that hold a reference text.</summary>
    private (RowRef[] Train, RowRef[]? Test) Decontaminate((RowRef[] Train, RowRef[]? Test) order, List<MixturePart> parts,
        TrainingDataOptions options, List<string> remarks, IProgress<TokenizeProgress>? progress, CancellationToken cancel)
    {
        var check = new ContaminationCheck(options.Decontamination, ReferenceSet.Load(options.Decontamination, options.RecipeFolder));
        remarks.AddRange(check.Notes);
        var found = parts.Select((part, i) => check.In(_sources[i].Rows, _sources[i].Reader, options.Tokenizer,
            part.Select(options.Mixture, () => options.Cache.CountOf(_sources[i].Rows)), options.Cache, options.Threads, progress, cancel)).ToArray();
        var (train, test) = (Clean(order.Train), order.Test is null ? null : Clean(order.Test));
        Decontamination = new(check.Against, check.Texts, order.Train.Length, order.Train.Length - train.Length,
            order.Test?.Length ?? 0, (order.Test?.Length ?? 0) - (test?.Length ?? 0),
            [.. LeftOut(order.Train, isHeldOut: false), .. LeftOut(order.Test ?? [], isHeldOut: true)]);
        remarks.Add(Decontamination.Line);
        return train.Length > 0 || order.Train.Length == 0 ? (train, test)
            : throw new InputException($"every row to train on holds a text of {check.Against}", "a test set that was trained on tests nothing",
                "name other data, or remove the set from decontaminate.against")
            { Key = "decontaminate" };

        RowRef[] Clean(RowRef[] rows) => [.. rows.Where(row => !found[row.Source].ContainsKey(row.Row))];

        IEnumerable<LeftOutRow> LeftOut(RowRef[] rows, bool isHeldOut) => rows.Distinct().Where(row => found[row.Source].ContainsKey(row.Row))
            .Select(row => new LeftOutRow(parts[row.Source].Name, isHeldOut, found[row.Source][row.Row]));
    }

    /// <summary>The rows of a part, and what reads and tokenises them; whatever is wrong with all of them is told here.</summary>
    internal static (IRowSource Source, RowReader Reader, IRowTokenizer Tokenizer) Open(MixturePart part, TrainingDataOptions options)
    {
        var source = Dataset.Open(part.Spec, options.RecipeFolder);
        var reader = RowReader.For(source, part.Spec, options.Use, options.TextColumn, options.Chats?.RendersToolCalls ?? true,
            options.Answers?.RendersParts ?? false);
        return (source, reader, options.Answers is { } answers
            ? new PreferenceTokenizer(reader, options.Tokenizer, options.Chats, answers)
            : new RowTokenizer(reader, options.Tokenizer, options.Chats, options.Rows));
    }

    private static ITokenRows Laid(ITokenRows rows, PackingKind kind, TrainingDataOptions options) => options.MismatchedBlock is { } block
        ? new MismatchedRows(rows, block,
            new AnswerRules(options.Answers!, options.Tokenizer.BosId, options.Tokenizer.EosId, options.Tokenizer))
        : Pack(rows, kind, options);

    private static ITokenRows Pack(ITokenRows rows, PackingKind kind, TrainingDataOptions options) => kind switch
    {
        PackingKind.BestFit => Packing.BestFit(rows, options.BlockSize),
        PackingKind.Wrapped => Packing.Wrapped(rows, options.BlockSize),
        PackingKind.ConstantLength => Packing.ConstantLength(rows, options.BlockSize, options.Seed),
        _ => options.Answers is null && options.Rows.MaxLength is null && options.UnpackedMaxLength is { } longest
            ? new CutRows(rows, longest, options.Rows.CutsLeft) : rows,
    };

    /// <summary>Stops where too many rows of a source cannot be used.</summary>
    internal static void RequireUsable(SourceReport report, double limit)
    {
        var summary = report.Summary;
        if (summary.Bad.Count == 0 || (summary.BadShare <= limit && summary.UsedRows > 0))
            return;
        var reasons = string.Join("", summary.Bad.Take(5).Select(bad => $"\n    {bad.Count} × {bad.Reason}, e.g. {bad.Example}"));
        var cures = string.Join("; ", summary.Bad.Select(bad => bad.Fix).OfType<string>().Distinct());
        if (summary.BadCount == 0)
            throw new InputException(
                $"{report.Name}: not one of its {summary.Bad.Sum(bad => bad.Count)} rows is left to {(report.IsTest ? "evaluate" : "train")} on:{reasons}",
                fix: cures.Length > 0 ? cures : "look at the data: handbook inspect RECIPE");
        if (limit >= 1)     // every row may be left out, and every row was
            throw new InputException($"{report.Name}: not one of its {summary.Bad.Sum(bad => bad.Count)} rows can be used:{reasons}",
                fix: cures.Length > 0 ? cures : "mend the rows, or name another file; `handbook data inspect DATA` shows what its columns hold");
        throw new InputException($"{report.Name}: {summary.BadCount} of {summary.BadCount + summary.UsedRows} rows cannot be used "
            + $"({summary.BadShare:P1}, at most {limit:P1} may be):{reasons}",
            fix: summary.UsedRows > 0 ? $"{(cures.Length > 0 ? cures : "mend or remove these rows")}, or raise max_bad_rows"
                : cures.Length > 0 ? cures : "check that the file has the layout that you expect: handbook inspect RECIPE");
    }
}
