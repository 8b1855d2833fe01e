using System.Collections.Concurrent;
using System.Text;
using System.Text.Json;
using Handbook.Base;
using Handbook.Data.Sources;

namespace Handbook.Data.Cache;

/// <summary>Turns one row into tokens.</summary>
internal interface IRowTokenizer
{
    /// <summary>Everything that decides which tokens a row gives: tokenizer, template, mapping, lengths, loss.</summary>
    string Fingerprint { get; }

    /// <summary>The layout that rows are read as.</summary>
    string Format { get; }

    /// <summary>Whether rows are kept beside their tokens, for those who ask what they say.</summary>
    bool KeepsRows => false;

    /// <summary>Tokenises one row; may be called by several threads at once.</summary>
    /// <param name="row">An object with the row's columns.</param>
    /// <param name="problem">Why the row, or a part of it, gives nothing, where it does not.</param>
    /// <param name="wasCut">Whether tokens were left out because the row is too long.</param>
    /// <returns>What the row gives, in order: mostly one row, none where it cannot be used, several where its answers are taken one by
    /// one.</returns>
    IReadOnlyList<TokenRow> Tokenize(JsonElement row, out RowProblem? problem, out bool wasCut);
}

/// <summary>Which rows of a source are wanted.</summary>
/// <param name="Key">Says which, for the cache's key.</param>
/// <param name="Wants">Whether a row, by its number from 0, is wanted; null wants all.</param>
internal sealed record RowSelection(string Key, Func<long, bool>? Wants)
{
    public static RowSelection All { get; } = new("all", null);
}

/// <summary>Tokenises a source once, in parallel, and keeps the result.</summary>
internal sealed class TokenCache(CacheFolder folder)
{
    /// <summary>Rises whenever the same rows would give other bytes or remarks: then every store is built anew.</summary>
    private const int Version = 7;

    private const int ChunkRows = 2048;
    private const long ChunkBytes = 16 << 20;

    /// <summary>Threads that tokenise; null uses every core.</summary>
    public int? Threads { get; init; }

    /// <summary>The tokenised rows of a source: from the cache where nothing has changed, else made now.</summary>
    public TokenStore Open(IRowSource source, IRowTokenizer tokenizer, RowSelection selection, IProgress<TokenizeProgress>? progress = null,
        CancellationToken cancel = default)
    {
        try
        {
            var path = folder.TokensOf(Key(source, tokenizer, selection));
            if (TokenStore.TryOpen(path) is { } ready)
                return ready;
            Build(path, source, tokenizer, selection, progress, cancel);
            return TokenStore.TryOpen(path) ?? throw new InvalidOperationException($"{path} was written and cannot be read");
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException
            || failure is InputException { InnerException: IOException or UnauthorizedAccessException }
                && failure.Message.StartsWith(folder.Path, StringComparison.Ordinal))
        {
            failure = failure.InnerException ?? failure;
            throw new InputException($"{folder.Path}: the tokenised rows cannot be kept there ({failure.Message}); they are those "
                + $"of {source.Name}",
                fix: failure is UnauthorizedAccessException
                    ? $"ls -ld {folder.Path}; change its owner or mode, or set HANDBOOK_CACHE to a folder that can be written"
                    : $"df -h {folder.Path}; make room, or set HANDBOOK_CACHE to a folder that can be written", inner: failure);
        }
    }

    /// <summary>The key under which the result is kept.</summary>
    public string Key(IRowSource source, IRowTokenizer tokenizer, RowSelection selection)
    {
        var text = new StringBuilder(
            $"version {Version}\nselection {selection.Key}\nsource {source.Identity}\ntokenizer {tokenizer.Fingerprint}\n");
        foreach (var file in source.Files)
            text.Append("file ").Append(folder.HashOf(file)).Append(' ').AppendLine(Path.GetFileName(file));
        return CacheFolder.Hash(Encoding.UTF8.GetBytes(text.ToString()));
    }

    private void Build(string path, IRowSource source, IRowTokenizer tokenizer, RowSelection selection,
        IProgress<TokenizeProgress>? progress, CancellationToken cancel)
    {
        using var writer = new TokenStoreWriter(path);
        var tally = new RowTally();
        using var chunks = new BlockingCollection<Chunk>(boundedCapacity: 2);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var reading = Task.Run(() => Read(source, selection, chunks, stop.Token), CancellationToken.None);
        var options = new ParallelOptions
        {
            MaxDegreeOfParallelism = Math.Clamp(Threads ?? Environment.ProcessorCount, 1,
            Environment.ProcessorCount),
            CancellationToken = cancel
        };
        try
        {
            foreach (var chunk in chunks.GetConsumingEnumerable(cancel))
            {
                var results = new Result[chunk.Rows.Count];
                try
                {
                    Parallel.For(0, results.Length, options, i => results[i] = Tokenize(tokenizer, chunk.Rows[i].Row));
                }
                catch (AggregateException failures)
                {
                    SideBySide.ThrowCause(failures);
                    throw;
                }
                for (var i = 0; i < results.Length; i++)
                {
                    foreach (var row in results[i].Rows)
                        writer.Add(row, chunk.Rows[i].Number, tokenizer.KeepsRows ? chunk.Rows[i].Row : null);
                    tally.Add(chunk.Rows[i].Row, results[i].Rows, results[i].Problem, results[i].WasCut);
                }
                tally.SourceRows = chunk.RowsSoFar;
                progress?.Report(new(source.Name, chunk.RowsSoFar, writer.Tokens, chunk.Share, Done: false));
            }
            reading.GetAwaiter().GetResult();
        }
        finally
        {
            stop.Cancel();
            try
            {
                reading.Wait(CancellationToken.None);
            }
            catch (AggregateException)
            {
                // Thrown above, or of no interest after the failure that brought us here.
            }
        }
        writer.Finish(tally.Summary(writer, tokenizer.Format));
        progress?.Report(new(source.Name, tally.SourceRows, writer.Tokens, 1, Done: true));
    }

    private static Result Tokenize(IRowTokenizer tokenizer, SourceRow row)
    {
        if (row.Problem is not null)
            return new([], row.Problem, false);
        var tokens = tokenizer.Tokenize(row.Value, out var problem, out var wasCut);
        return new(tokens, problem, wasCut);
    }

    private static void Read(IRowSource source, RowSelection selection, BlockingCollection<Chunk> chunks, CancellationToken cancel)
    {
        try
        {
            var rows = new List<(SourceRow, long)>();
            long number = 0, bytes = 0;
            foreach (var row in source.Read())
            {
                if (selection.Wants?.Invoke(number) != false)
                {
                    rows.Add((row, number));
                    bytes += row.Problem is null ? System.Runtime.InteropServices.JsonMarshal.GetRawUtf8Value(row.Value).Length : 0;
                }
                number++;
                if (rows.Count >= ChunkRows || bytes >= ChunkBytes)
                {
                    chunks.Add(new(rows, number, source.Share), cancel);
                    (rows, bytes) = ([], 0);
                }
            }
            chunks.Add(new(rows, number, 1), cancel);
        }
        finally
        {
            chunks.CompleteAdding();
        }
    }

    private sealed record Chunk(List<(SourceRow Row, long Number)> Rows, long RowsSoFar, double Share);

    private readonly record struct Result(IReadOnlyList<TokenRow> Rows, RowProblem? Problem, bool WasCut);
}
