using System.Text.Encodings.Web;
using System.Text.Json;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Data.Sources;

namespace Handbook.Data.Decontamination;

/// <summary>What became of the rows of a file that was compared with reference sets.</summary>
/// <param name="Rows">Rows that could be read.</param>
/// <param name="Kept">How many of these hold no reference text.</param>
/// <param name="Unreadable">Rows that could not be read, which are kept nowhere.</param>
/// <param name="FirstUnreadable">One of them, with the reason; null where there is none.</param>
/// <param name="WithoutText">Rows that hold no text which could be compared.</param>
/// <param name="LeftOut">The rows that hold a reference text.</param>
internal sealed record CleanedRows(long Rows, long Kept, long Unreadable, string? FirstUnreadable, long WithoutText,
    IReadOnlyList<ContaminatedRow> LeftOut)
{
    /// <summary>Compares every text of every row, whatever the rows are for, and writes those that hold no reference text.</summary>
    /// <param name="source">The rows.</param>
    /// <param name="check">The reference sets.</param>
    /// <param name="output">A file of JSON lines; null writes none.</param>
    /// <param name="progress">Hears how many rows were read.</param>
    /// <exception cref="InputException">The file cannot be written.</exception>
    public static CleanedRows Of(IRowSource source, ContaminationCheck check, string? output, Action<long>? progress = null,
        CancellationToken cancel = default)
    {
        var unfinished = output is null ? null : WholeFile.Unfinished(output);
        var result = new CleanedRows(0, 0, 0, null, 0, []);
        try
        {
            using (var file = unfinished is null ? Stream.Null : Disk.Real.Create(unfinished))
                result = Copy(source, check, file, progress, cancel);
            if (unfinished is not null)
                WholeFile.Publish(unfinished, output!);
            return result;
        }
        catch (Exception failure)
        {
            if (unfinished is not null)
                WholeFile.Forget(unfinished);
            if (failure is AggregateException failures)
                SideBySide.ThrowCause(failures);
            if (output is not null && failure is not InputException && WholeFile.Explain(failure, output) is { } explained)
                throw explained;
            throw;
        }
    }

    private static CleanedRows Copy(IRowSource source, ContaminationCheck check, Stream file, Action<long>? progress, CancellationToken cancel)
    {
        var (rows, kept, unreadable, withoutText) = (0L, 0L, 0L, 0L);
        string? first = null;
        var leftOut = new List<ContaminatedRow>();
        var options = new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
        using var json = new Utf8JsonWriter(file, options);
        foreach (var (number, row, at, texts) in source.Read().Index().AsParallel().AsOrdered().WithCancellation(cancel)
            .Select(row => Compared(row.Index, row.Item)))
        {
            if (row.Problem is { } problem)
            {
                unreadable += problem.Reason == PlainTextFile.BlankLine ? 0 : 1;
                first ??= problem.Reason == PlainTextFile.BlankLine ? null : $"{row.Place}: {problem.Reason}";
                continue;
            }
            rows++;
            withoutText += texts == 0 ? 1 : 0;
            if (rows % 1024 == 0)
                progress?.Invoke(rows);
            if (at is { } found)
            {
                leftOut.Add(new(number, row.Place, found.Where, found.Shared));
                continue;
            }
            kept++;
            row.Value.WriteTo(json);
            json.Flush();
            json.Reset();
            file.WriteByte((byte)'\n');
        }
        return new(rows, kept, unreadable, first, withoutText, leftOut);

        (long, SourceRow, (string Where, SharedText Shared)?, int) Compared(long number, SourceRow row)
        {
            if (row.Problem is not null)
                return (number, row, null, 0);
            PlacedText[] texts = [.. RowTexts.AsLearnt(row.Value)];
            return (number, row, check.Find(texts), texts.Length);
        }
    }
}
