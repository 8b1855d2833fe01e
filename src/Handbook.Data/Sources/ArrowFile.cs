using System.Buffers.Binary;
using Apache.Arrow;
using Apache.Arrow.Compression;
using Apache.Arrow.Ipc;
using Handbook.Base;

namespace Handbook.Data.Sources;

/// <summary>Arrow IPC: the stream that the Python library saves data sets as, and the file variant of it.</summary>
internal static class ArrowFile
{
    /// <summary>The file variant is the same stream between this mark, padded to eight bytes, and a table of contents,
    /// which is not needed.</summary>
    private static ReadOnlySpan<byte> FileMark => "ARROW1\0\0"u8;

    public static IEnumerable<SourceRow> Read(FileInput input)
    {
        using var file = new WatchedStream(TextFile.OpenBytes(input), FileMark.ToArray());
        RequireSize(file.Begin, input.Name);
        using var reader = Guard(() => new ArrowStreamReader(file, new CompressionCodecFactory(), leaveOpen: true), input.Name, file, 0);
        var batches = 0;
        var schema = Guard(() => reader.Schema ?? throw new InvalidDataException("it does not begin with a schema"), input.Name, file, 0);
        foreach (var row in new ArrowRows(schema, input.Name).Read(Next, (why, inner) => Damaged(input.Name, why, inner)))
            yield return row;

        RecordBatch? Next()
        {
            var batch = Guard(reader.ReadNextRecordBatch, input.Name, file, batches);
            batches++;
            // Some writers leave the end mark out; a stream that ends inside a message has lost its rest.
            return batch is null && file.EndsInside ? throw Truncated(input.Name, batches - 1) : batch;
        }
    }

    /// <summary>A first message of an absurd size is no message; one behind it would only be looked for
    /// beyond the end of the file.</summary>
    private static void RequireSize(ReadOnlySpan<byte> begin, string name)
    {
        if (begin.Length < 8)
            return;
        var size = BinaryPrimitives.ReadInt32LittleEndian(begin);
        if (size == -1)
            size = BinaryPrimitives.ReadInt32LittleEndian(begin[4..]);
        if (size is < 0 or > 1 << 28)
            throw Damaged(name, $"a message claims a size of {size} bytes");
    }

    private static T Guard<T>(Func<T> read, string name, WatchedStream file, int batches)
    {
        try
        {
            return read();
        }
        catch (Exception failure) when (failure is not InputException)
        {
            throw file.Ended ? Truncated(name, batches) : Damaged(name, failure.Message.ReplaceLineEndings(" "), failure);
        }
    }

    private static InputException Truncated(string name, int batches) =>
        new($"{name}: the Arrow file ends in the middle, after {batches} whole batches; it is truncated",
            fix: "copy or save the data set again");

    private static InputException Damaged(string name, string why, Exception? inner = null) =>
        new($"{name}: is not a readable Arrow file: {why}", fix: "copy or save the data set again", inner: inner);

    /// <summary>The file behind its mark, which knows whether more was asked of it than it had.</summary>
    private sealed class WatchedStream : ReadOnlyStream
    {
        private readonly Stream _file;
        private readonly byte[] _begin;
        private int _given;
        private bool _partial;

        public WatchedStream(Stream file, byte[] mark)
        {
            _file = file;
            var begin = new byte[mark.Length];
            var read = file.ReadAtLeast(begin, begin.Length, throwOnEndOfStream: false);
            _begin = read == mark.Length && begin.AsSpan().SequenceEqual(mark) ? [] : begin[..read];
        }

        /// <summary>The first bytes behind the mark; empty where there is one.</summary>
        public ReadOnlySpan<byte> Begin => _begin;

        /// <summary>Whether the end was reached while reading.</summary>
        public bool Ended { get; private set; }

        /// <summary>Whether the end was reached with a part of what was asked for.</summary>
        public bool EndsInside { get; private set; }

        public override int Read(Span<byte> buffer)
        {
            if (_given < _begin.Length)
            {
                var count = Math.Min(buffer.Length, _begin.Length - _given);
                _partial = count < buffer.Length;
                _begin.AsSpan(_given, count).CopyTo(buffer);
                _given += count;
                return count;
            }
            var read = _file.Read(buffer);
            if (read == 0 && buffer.Length > 0)
            {
                EndsInside |= _partial;
                Ended = true;
            }
            _partial = read > 0 && read < buffer.Length;
            return read;
        }

        protected override void Dispose(bool disposing)
        {
            if (disposing)
                _file.Dispose();
            base.Dispose(disposing);
        }
    }
}
