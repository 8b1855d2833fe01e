using System.Text.Json;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Data.Cache;
using Handbook.Data.Formats;
using Handbook.Data.Sources;
using Handbook.Text.Tokenizers;
using Encoding = System.Text.Encoding;

namespace Handbook.Data.Decontamination;

/// <summary>Compares rows with reference sets; what was compared before is taken from the cache.</summary>
internal sealed class ContaminationCheck
{
    /// <summary>Rises whenever the same rows and references would give another answer.</summary>
    private const int Version = 1;

    private readonly ReferenceIndex _index;
    private readonly string _fingerprint;

    /// <param name="options">When a row is left out.</param>
    /// <param name="sets">The reference sets, as <see cref="ReferenceSet.Load(DecontaminationOptions, string?)"/> gives them.</param>
    public ContaminationCheck(DecontaminationOptions options, IReadOnlyList<ReferenceSet> sets)
    {
        _index = new(sets, options.Ngrams, options.Overlap);
        _fingerprint = CacheFolder.Hash(Encoding.UTF8.GetBytes(
            $"{Version} {options.Ngrams} {options.Overlap:R}\n{string.Join('\n', sets.Select(FingerprintFile.ToText))}"));
        Against = string.Join(", ", sets.Select(set => set.Name))
            + (options.Ngrams == 0 ? " (whole texts)" : $" (whole texts and {options.Ngrams} words in a row)");
        Notes = [.. sets.Where(set => set.TooShort > 0).Select(set => $"note: {set.Name}: {set.TooShort:N0} of {set.TooShort + set.Texts.Count:N0} "
            + $"reference texts are shorter than {options.Written("min_length")} {options.MinLength}{(options.Ngrams > 0 ? $" and than {options.Ngrams} words" : "")} "
            + "and are not looked for")];
    }

    /// <summary>The sets, and what is looked for of them, in words.</summary>
    public string Against { get; }

    /// <summary>How many texts are looked for.</summary>
    public int Texts => _index.Count;

    /// <summary>Whole lines for the log.</summary>
    public IReadOnlyList<string> Notes { get; }

    /// <summary>Where a row holds a reference text; null where it holds none.</summary>
    /// <param name="texts">The texts of the row.</param>
    public (string Where, SharedText Shared)? Find(IEnumerable<PlacedText> texts)
    {
        foreach (var text in texts)
            if (_index.Find(text.Text) is { } shared)
                return (text.Where, shared);
        return null;
    }

    /// <summary>The rows of a source that hold a reference text, by their numbers.</summary>
    /// <param name="source">The rows.</param>
    /// <param name="reader">Tells which columns are read.</param>
    /// <param name="tokenizer">Says what rows of tokens say.</param>
    /// <param name="selection">Which rows are wanted.</param>
    /// <param name="cache">Where the answer is kept.</param>
    /// <param name="threads">Threads that compare; null uses every core.</param>
    /// <param name="progress">Hears how many rows were read.</param>
    public IReadOnlyDictionary<long, ContaminatedRow> In(IRowSource source, RowReader reader, Tokenizer tokenizer, RowSelection selection,
        CacheFolder cache, int? threads = null, IProgress<TokenizeProgress>? progress = null, CancellationToken cancel = default)
    {
        var unread = reader.Unread.ToHashSet();
        var key = CacheFolder.Hash(Encoding.UTF8.GetBytes($"{_fingerprint}\n{selection.Key}\n{source.Identity}\n{reader.Fingerprint}\n"
            + $"{string.Join(',', unread.Order(StringComparer.Ordinal))}\n{(reader.Layout == RowLayout.Tokens ? tokenizer.Fingerprint : "")}\n"
            + string.Join('\n', source.Files.Select(file => $"{cache.HashOf(file)} {Path.GetFileName(file)}"))));
        var record = Path.Combine(cache.Path, "contaminated", key + ".json");
        if (Known(record) is { } known)
            return known;
        long read = 0;
        ContaminatedRow[] found;
        try
        {
            found = [.. source.Read().Index().Where(row => selection.Wants?.Invoke(row.Index) != false).AsParallel().AsOrdered()
                .WithDegreeOfParallelism(Math.Clamp(threads ?? Environment.ProcessorCount, 1, Environment.ProcessorCount)).WithCancellation(cancel)
                .Select(row => Compare(row.Index, row.Item)).OfType<ContaminatedRow>()];
        }
        catch (AggregateException failures)
        {
            SideBySide.ThrowCause(failures);
            throw;
        }
        progress?.Report(new(source.Name, read, 0, 1, Done: true) { What = "comparing" });
        FileHashes.Note(record, JsonSerializer.SerializeToUtf8Bytes(found));
        return found.ToDictionary(row => row.Number);

        ContaminatedRow? Compare(long number, SourceRow row)
        {
            if (Interlocked.Increment(ref read) is var count && count % 1024 == 0)
                progress?.Report(new(source.Name, count, 0, source.Share, Done: false) { What = "comparing" });
            return row.Problem is null && Find(Texts(row.Value)) is { } at ? new(number, row.Place, at.Where, at.Shared) : null;
        }

        IEnumerable<PlacedText> Texts(JsonElement row) => reader.Layout != RowLayout.Tokens
            ? RowTexts.AsLearnt(row, column => !unread.Contains(column), reader.NameOf)
            : reader.Read(row, out _) is TokensExample tokens && Array.TrueForAll(tokens.Ids, id => tokenizer.IdToToken(id) is not null)
                ? [new("input_ids", tokenizer.Decode(tokens.Ids))] : [];
    }

    private static Dictionary<long, ContaminatedRow>? Known(string record)
    {
        try
        {
            return File.Exists(record) && JsonSerializer.Deserialize<ContaminatedRow[]>(File.ReadAllBytes(record)) is { } known
                ? known.ToDictionary(row => row.Number) : null;
        }
        catch (JsonException)
        {
            return null;        // a damaged record is only a lost saving
        }
    }
}
