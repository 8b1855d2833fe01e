using System.Text.RegularExpressions;
using Apache.Arrow.Ipc;
using Handbook.Base;
using ParquetSharp;
using ParquetSharp.Arrow;

namespace Handbook.Data.Sources;

/// <summary>Parquet, read by the reference implementation in C++ as Arrow batches.</summary>
internal static partial class ParquetFile
{
    /// <summary>Rows that are in memory at once. Texts of a long conversation are some 100 KB.</summary>
    private const int BatchRows = 1024;

    public static IEnumerable<SourceRow> Read(string path, string name)
    {
        using (TextFile.OpenRaw(path, name)) { }        // who may not read it is told so in our words
        using var settings = ReaderProperties.GetDefaultReaderProperties();
        using var arrow = ArrowReaderProperties.GetDefault();
        (arrow.BatchSize, arrow.PreBuffer, arrow.UseThreads) = (BatchRows, false, false);
        using var file = Guard(() => new FileReader(path, settings, arrow), name);
        using var batches = Guard(() => file.GetRecordBatchReader(null, null), name);
        foreach (var row in new ArrowRows(batches.Schema, name)
            .Read(() => Guard(() => Next(batches), name), (why, inner) => Damaged(name, why, inner)))
            yield return row;
    }

    private static Apache.Arrow.RecordBatch? Next(IArrowArrayStream batches) =>
        batches.ReadNextRecordBatchAsync().AsTask().GetAwaiter().GetResult();

    private static T Guard<T>(Func<T> read, string name)
    {
        try
        {
            return read();
        }
        catch (Exception failure) when (failure is DllNotFoundException or TypeInitializationException or BadImageFormatException)
        {
            throw new InputException($"{name}: the Parquet library cannot be loaded on this system "
                + $"({(failure.InnerException ?? failure).Message})",
                fix: "give the data as JSONL or Arrow", inner: failure);
        }
        catch (Exception failure) when (failure is not InputException)
        {
            throw Damaged(name, Reason(failure.Message), failure);
        }
    }

    private static InputException Damaged(string name, string reason, Exception inner) =>
        new($"{name}: cannot be read as Parquet ({reason})",
        fix: "copy or download it again; a truncated file has lost its end, where the schema stands", inner: inner);

    /// <summary>The library's sentence without the name of its exception and the path, which the message begins with.</summary>
    private static string Reason(string message) => message.Contains("magic bytes not found", StringComparison.Ordinal)
        ? "it does not end as Parquet does, with the mark PAR1"
        : Quoted().Match(message) is { Success: true } quoted ? quoted.Groups[1].Value.Trim() : message.Trim();

    [GeneratedRegex(@"message: '(.*)'\)?\s*$", RegexOptions.Singleline)]
    private static partial Regex Quoted();
}
