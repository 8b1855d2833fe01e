using System.Text.Json;
using Handbook.Base;

namespace Handbook.Data.Sources;

/// <summary>Parquet, read by DuckDB; each row arrives as JSON text with its columns in their order.</summary>
internal static class ParquetFile
{
    // The alias stands for the whole row; it must not be the name of a column.
    private const string Sql = "SELECT CAST(to_json(handbook_row) AS VARCHAR) FROM read_parquet(?) AS handbook_row";

    public static IEnumerable<SourceRow> Read(string path, string name)
    {
        if (path.AsSpan().ContainsAny("*?["))
            throw new InputException($"{name}: a Parquet file's path must not hold *, ? or [", why: "the reader takes them for a pattern", fix: "rename the file or its folder");
        using var rows = DuckDb.Query(Sql, path).GetEnumerator();
        for (long row = 1; Next(rows, name); row++)
            yield return new SourceRow { File = name, Row = row, Value = JsonDocument.Parse(rows.Current, JsonOptions.Document).RootElement };
    }

    private static bool Next(IEnumerator<byte[]> rows, string name)
    {
        try
        {
            return rows.MoveNext();
        }
        catch (InvalidDataException failure)
        {
            // What follows the first line repeats our own query.
            var reason = failure.Message.Split("LINE 1:")[0].Split('\n')[0].Trim();
            throw new InputException($"{name}: cannot be read as Parquet ({reason})", fix: "copy or download it again; a truncated file has lost its end, where the schema stands", inner: failure);
        }
    }
}
