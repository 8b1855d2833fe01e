using System.Runtime.InteropServices;
using System.Text;
using Handbook.Base;

namespace Handbook.Data.Sources;

/// <summary>DuckDB in this process, as far as reading files needs it: a query in, texts out.</summary>
internal static unsafe class DuckDb
{
    /// <summary>Environment variable that names the library.</summary>
    public const string Variable = "HANDBOOK_DUCKDB";

    private static readonly Lazy<Functions> _functions = new(Load);

    /// <summary>Whether the library can be found.</summary>
    public static bool IsPresent => Locate(out _) is not null;

    /// <summary>The only column of a query's rows, which must be text; rows arrive as they are made, so the result may be larger than memory.</summary>
    /// <param name="sql">A query with one parameter, the file.</param>
    /// <param name="file">Full path of the file.</param>
    public static IEnumerable<byte[]> Query(string sql, string file)
    {
        using var rows = new Rows(_functions.Value, sql, file);
        while (rows.Next() is { } chunk)
            foreach (var row in chunk)
                yield return row;
    }

    private static string? Locate(out List<string> tried)
    {
        tried = [];
        if (Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } named)
            tried.Add(Directory.Exists(named) ? Path.Combine(named, "libduckdb.so") : named);
        else
        {
            tried.Add(Path.Combine(AppContext.BaseDirectory, "libduckdb.so"));
            for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
                if (File.Exists(Path.Combine(folder.FullName, "Handbook.slnx")))
                    tried.Add(Path.Combine(folder.FullName, "build", "native", "libduckdb.so"));
        }
        return tried.Find(File.Exists);
    }

    private static Functions Load()
    {
        var path = Locate(out var tried) ?? throw new InputException($"libduckdb.so, which reads Parquet files, was not found; looked for {string.Join(", ", tried)}",
            fix: $"tools/fetch-duckdb.sh (make does it, too), or set {Variable} to the library");
        try
        {
            return new Functions(NativeLibrary.Load(path));
        }
        catch (Exception failure) when (failure is DllNotFoundException or EntryPointNotFoundException or BadImageFormatException)
        {
            throw new InputException($"{path}: cannot be loaded as DuckDB ({failure.Message})", fix: $"rm {path} && tools/fetch-duckdb.sh", inner: failure);
        }
    }

    /// <summary>The C API's functions that are used.</summary>
    private sealed class Functions
    {
        public readonly delegate* unmanaged<byte*, nint*, int> Open;
        public readonly delegate* unmanaged<nint*, void> Close;
        public readonly delegate* unmanaged<nint, nint*, int> Connect;
        public readonly delegate* unmanaged<nint*, void> Disconnect;
        public readonly delegate* unmanaged<nint, byte*, Result*, int> Query;
        public readonly delegate* unmanaged<nint, byte*, nint*, int> Prepare;
        public readonly delegate* unmanaged<nint, byte*> PrepareError;
        public readonly delegate* unmanaged<nint*, void> DestroyPrepare;
        public readonly delegate* unmanaged<nint, ulong, byte*, int> BindText;
        public readonly delegate* unmanaged<nint, nint*, int> Pending;
        public readonly delegate* unmanaged<nint, byte*> PendingError;
        public readonly delegate* unmanaged<nint*, void> DestroyPending;
        public readonly delegate* unmanaged<nint, Result*, int> ExecutePending;
        public readonly delegate* unmanaged<Result*, byte*> ResultError;
        public readonly delegate* unmanaged<Result*, void> DestroyResult;
        public readonly delegate* unmanaged<Result, nint> FetchChunk;
        public readonly delegate* unmanaged<nint*, void> DestroyChunk;
        public readonly delegate* unmanaged<nint, ulong> ChunkSize;
        public readonly delegate* unmanaged<nint, ulong, nint> ChunkVector;
        public readonly delegate* unmanaged<nint, void*> VectorData;
        public readonly delegate* unmanaged<nint, ulong*> VectorValidity;

        public Functions(nint library)
        {
            Open = (delegate* unmanaged<byte*, nint*, int>)Find("duckdb_open");
            Close = (delegate* unmanaged<nint*, void>)Find("duckdb_close");
            Connect = (delegate* unmanaged<nint, nint*, int>)Find("duckdb_connect");
            Disconnect = (delegate* unmanaged<nint*, void>)Find("duckdb_disconnect");
            Query = (delegate* unmanaged<nint, byte*, Result*, int>)Find("duckdb_query");
            Prepare = (delegate* unmanaged<nint, byte*, nint*, int>)Find("duckdb_prepare");
            PrepareError = (delegate* unmanaged<nint, byte*>)Find("duckdb_prepare_error");
            DestroyPrepare = (delegate* unmanaged<nint*, void>)Find("duckdb_destroy_prepare");
            BindText = (delegate* unmanaged<nint, ulong, byte*, int>)Find("duckdb_bind_varchar");
            Pending = (delegate* unmanaged<nint, nint*, int>)Find("duckdb_pending_prepared_streaming");
            PendingError = (delegate* unmanaged<nint, byte*>)Find("duckdb_pending_error");
            DestroyPending = (delegate* unmanaged<nint*, void>)Find("duckdb_destroy_pending");
            ExecutePending = (delegate* unmanaged<nint, Result*, int>)Find("duckdb_execute_pending");
            ResultError = (delegate* unmanaged<Result*, byte*>)Find("duckdb_result_error");
            DestroyResult = (delegate* unmanaged<Result*, void>)Find("duckdb_destroy_result");
            FetchChunk = (delegate* unmanaged<Result, nint>)Find("duckdb_fetch_chunk");
            DestroyChunk = (delegate* unmanaged<nint*, void>)Find("duckdb_destroy_data_chunk");
            ChunkSize = (delegate* unmanaged<nint, ulong>)Find("duckdb_data_chunk_get_size");
            ChunkVector = (delegate* unmanaged<nint, ulong, nint>)Find("duckdb_data_chunk_get_vector");
            VectorData = (delegate* unmanaged<nint, void*>)Find("duckdb_vector_get_data");
            VectorValidity = (delegate* unmanaged<nint, ulong*>)Find("duckdb_vector_get_validity");

            nint Find(string name) => NativeLibrary.GetExport(library, name);
        }
    }

    /// <summary>duckdb_result: six words, of which only the library knows the meaning.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Result
    {
        private fixed ulong _words[6];
    }

    /// <summary>A text in a vector: short ones lie inside, longer ones behind a pointer.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 16)]
    private struct Text
    {
        [FieldOffset(0)] public uint Length;
        [FieldOffset(4)] public byte Inlined;
        [FieldOffset(8)] public byte* Pointer;
    }

    /// <summary>A running query with everything it holds.</summary>
    private sealed class Rows : IDisposable
    {
        private readonly Functions _duckdb;
        private readonly string _file;
        private nint _database, _connection, _statement, _pending;
        private Result _result;

        public Rows(Functions duckdb, string sql, string file)
        {
            (_duckdb, _file) = (duckdb, file);
            try
            {
                Start(sql, file);
            }
            catch
            {
                Dispose();
                throw;
            }
        }

        private void Start(string sql, string file)
        {
            fixed (nint* database = &_database, connection = &_connection, statement = &_statement, pending = &_pending)
            fixed (Result* result = &_result)
            {
                if (_duckdb.Open(null, database) != 0 || _duckdb.Connect(_database, connection) != 0)
                    throw new InvalidOperationException("DuckDB does not start");
                // One reader thread beside the tokenizer's; no extension is ever fetched from a network.
                foreach (var setting in (string[])["SET threads=1", "SET memory_limit='2GB'", "SET autoinstall_known_extensions=false", "SET autoload_known_extensions=false"])
                    fixed (byte* text = Zero(setting))
                    {
                        Result ignored;
                        if (_duckdb.Query(_connection, text, &ignored) != 0)
                            throw new InvalidOperationException($"DuckDB: {setting}: {Marshal.PtrToStringUTF8((nint)_duckdb.ResultError(&ignored))}");
                        _duckdb.DestroyResult(&ignored);
                    }
                fixed (byte* text = Zero(sql), path = Zero(file))
                {
                    if (_duckdb.Prepare(_connection, text, statement) != 0)
                        throw Failure(_duckdb.PrepareError(_statement));
                    if (_duckdb.BindText(_statement, 1, path) != 0 || _duckdb.Pending(_statement, pending) != 0)
                        throw Failure(_pending == 0 ? null : _duckdb.PendingError(_pending));
                    if (_duckdb.ExecutePending(_pending, result) != 0)
                        throw Failure(_duckdb.ResultError(result));
                }
            }
        }

        /// <summary>The next rows; null after the last. A null value is an empty text.</summary>
        public byte[][]? Next()
        {
            var chunk = _duckdb.FetchChunk(_result);
            if (chunk == 0)
            {
                fixed (Result* result = &_result)
                    if (_duckdb.ResultError(result) is var error && error != null && *error != 0)
                        throw Failure(error);
                return null;
            }
            var rows = new byte[(int)_duckdb.ChunkSize(chunk)][];
            var vector = _duckdb.ChunkVector(chunk, 0);
            var texts = (Text*)_duckdb.VectorData(vector);
            var validity = _duckdb.VectorValidity(vector);
            for (var i = 0; i < rows.Length; i++)
                rows[i] = validity != null && (validity[i / 64] >> (i % 64) & 1) == 0 ? []
                    : new Span<byte>(texts[i].Length <= 12 ? &texts[i].Inlined : texts[i].Pointer, (int)texts[i].Length).ToArray();
            _duckdb.DestroyChunk(&chunk);
            return rows.Length == 0 ? null : rows;
        }

        public void Dispose()
        {
            fixed (nint* database = &_database, connection = &_connection, statement = &_statement, pending = &_pending)
            fixed (Result* result = &_result)
            {
                _duckdb.DestroyResult(result);
                if (_pending != 0)
                    _duckdb.DestroyPending(pending);
                if (_statement != 0)
                    _duckdb.DestroyPrepare(statement);
                if (_connection != 0)
                    _duckdb.Disconnect(connection);
                if (_database != 0)
                    _duckdb.Close(database);
            }
        }

        private InvalidDataException Failure(byte* error)
        {
            var message = error == null ? "unknown error" : Marshal.PtrToStringUTF8((nint)error)!;
            return new InvalidDataException(message.Replace(_file, Path.GetFileName(_file), StringComparison.Ordinal).ReplaceLineEndings(" "));
        }

        private static byte[] Zero(string text) => [.. Encoding.UTF8.GetBytes(text), 0];
    }
}
