using System.Buffers;
using System.Buffers.Binary;
using System.Text.Json;
using Handbook.Base;

namespace Handbook.Data.Sources.Arrow;

/// <summary>Arrow IPC: the stream that the Python library saves data sets as, and the file variant of it.</summary>
/// <remarks>Format: https://arrow.apache.org/docs/format/Columnar.html. One batch is in memory at a time.</remarks>
internal static class ArrowFile
{
    private const int SchemaMessage = 1, DictionaryMessage = 2, BatchMessage = 3;

    public static IEnumerable<SourceRow> Read(FileInput input)
    {
        var name = input.Name;
        using var file = TextFile.OpenBytes(input);
        var reader = new ArrowReader(file, name);
        var buffer = new ArrayBufferWriter<byte>();
        long row = 0;
        while (reader.NextBatch() is { } batch)
            for (var i = 0; i < batch.Length; i++)
            {
                row++;
                yield return new SourceRow { File = name, Row = row, Value = reader.Row(batch, i, row, buffer) };
            }
    }

    /// <summary>The columns of one batch.</summary>
    internal sealed record Batch(int Length, ArrowColumn[] Columns);

    private sealed class ArrowReader
    {
        private readonly Stream _file;
        private readonly string _name;
        private readonly ArrowField[] _fields;
        private readonly Dictionary<long, ArrowColumn> _dictionaries = [];
        private bool _begun;
        private int _batches;

        public ArrowReader(Stream file, string name)
        {
            (_file, _name) = (file, name);
            var schema = NextMessage(out _);
            if (schema?.Kind != SchemaMessage)
                throw Damaged("it does not begin with a schema");
            _fields = Guard(() => Array.ConvertAll(schema.Value.Header.Tables(1), ArrowField.From));
        }

        public Batch? NextBatch()
        {
            while (NextMessage(out var body) is { } message)
            {
                switch (message.Kind)
                {
                    case DictionaryMessage:
                        Guard(() => ReadDictionary(message.Header, body));
                        break;
                    case BatchMessage:
                        _batches++;
                        return Guard(() => ReadBatch(message.Header, body, _fields));
                }
            }
            return null;
        }

        public JsonElement Row(Batch batch, int i, long row, ArrayBufferWriter<byte> buffer)
        {
            buffer.ResetWrittenCount();
            try
            {
                using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { MaxDepth = 512 }))
                {
                    json.WriteStartObject();
                    foreach (var column in batch.Columns)
                    {
                        json.WritePropertyName(column.Field.Name);
                        column.Write(json, i);
                    }
                    json.WriteEndObject();
                }
                return JsonDocument.Parse(buffer.WrittenSpan.ToArray(), JsonOptions.Document).RootElement;
            }
            catch (Exception failure) when (failure is ArgumentException or IndexOutOfRangeException or OverflowException)
            {
                throw Damaged($"row {row} points outside of its batch", failure);
            }
            catch (NotSupportedException failure)
            {
                throw new InputException($"{_name}: {failure.Message}, which is not read", fix: "leave the column out when saving the data set, or save it as Parquet", inner: failure);
            }
        }

        private bool ReadDictionary(FlatTable message, ReadOnlyMemory<byte> body)
        {
            var id = message.Long(0);
            if (message.Byte(2) != 0)
                throw new InputException($"{_name}: dictionary {id} is sent in pieces (delta), which is not read", fix: "save the data set as Parquet");
            var field = Find(_fields, id) ?? throw Damaged($"dictionary {id} belongs to no column");
            _dictionaries[id] = ReadBatch(message.Table(1)!.Value, body, [field with { Dictionary = null }]).Columns[0];
            return true;
        }

        private static ArrowField? Find(ArrowField[] fields, long id)
        {
            foreach (var field in fields)
                if (field.Dictionary?.Id == id)
                    return field;
                else if (Find(field.Children, id) is { } child)
                    return child;
            return null;
        }

        private Batch ReadBatch(FlatTable message, ReadOnlyMemory<byte> body, ArrowField[] fields)
        {
            var buffers = new Queue<ReadOnlyMemory<byte>>();
            int? codec = message.Table(3)?.Byte(0);
            foreach (var (offset, length) in message.Pairs(2))
            {
                var bytes = body.Slice(checked((int)offset), checked((int)length));
                buffers.Enqueue(codec is { } number ? Unpack(bytes, number) : bytes);
            }
            return new(checked((int)message.Long(0)), Array.ConvertAll(fields, field => ReadColumn(field, buffers)));
        }

        private ArrowColumn ReadColumn(ArrowField field, Queue<ReadOnlyMemory<byte>> buffers)
        {
            if (field.Type == ArrowType.Null)
                return new ArrowColumn { Field = field };
            var validity = field.Type is ArrowType.Union ? default : buffers.Dequeue();
            if (field.Dictionary is { } dictionary)
                return new ArrowColumn
                {
                    Field = field,
                    Validity = validity,
                    Data = buffers.Dequeue(),
                    Dictionary = _dictionaries.GetValueOrDefault(dictionary.Id) ?? throw Damaged($"dictionary {dictionary.Id} of the column {field.Name} is missing"),
                };
            return field.Type switch
            {
                ArrowType.Utf8 or ArrowType.LargeUtf8 or ArrowType.Binary or ArrowType.LargeBinary =>
                    new ArrowColumn { Field = field, Validity = validity, Offsets = buffers.Dequeue(), Data = buffers.Dequeue() },
                ArrowType.List or ArrowType.LargeList or ArrowType.Map =>
                    new ArrowColumn { Field = field, Validity = validity, Offsets = buffers.Dequeue(), Children = Array.ConvertAll(field.Children, child => ReadColumn(child, buffers)) },
                ArrowType.Struct or ArrowType.FixedSizeList =>
                    new ArrowColumn { Field = field, Validity = validity, Children = Array.ConvertAll(field.Children, child => ReadColumn(child, buffers)) },
                ArrowType.Int or ArrowType.FloatingPoint or ArrowType.Bool or ArrowType.Date or ArrowType.Time or ArrowType.Timestamp or ArrowType.Duration or ArrowType.FixedSizeBinary =>
                    new ArrowColumn { Field = field, Validity = validity, Data = buffers.Dequeue() },
                _ => throw new InputException($"{_name}: column {field.Name} is of the type {field.Type}, which is not read", fix: "leave the column out when saving the data set, or save it as Parquet"),
            };
        }

        /// <summary>A compressed buffer: its unpacked length, then the data; a length of −1 means that it is not compressed after all.</summary>
        private ReadOnlyMemory<byte> Unpack(ReadOnlyMemory<byte> bytes, int codec)
        {
            if (bytes.IsEmpty)
                return bytes;
            var length = BinaryPrimitives.ReadInt64LittleEndian(bytes.Span);
            if (length == -1)
                return bytes[8..];
            if (codec != 1)
                throw new InputException($"{_name}: its buffers are compressed with LZ4, which is not read", fix: "save the data set without compression (the Python library's default), with zstd, or as Parquet");
            var unpacked = new byte[checked((int)length)];
            using var stream = new ZstdStream(new MemoryStream(bytes[8..].ToArray()), _name);
            stream.ReadExactly(unpacked);
            return unpacked;
        }

        /// <summary>The next message; null at the end of the stream.</summary>
        private (byte Kind, FlatTable Header)? NextMessage(out ReadOnlyMemory<byte> body)
        {
            body = default;
            Span<byte> word = stackalloc byte[4];
            var read = _file.ReadAtLeast(word, 4, throwOnEndOfStream: false);
            if (!_begun && read == 4 && word.SequenceEqual("ARRO"u8))
            {
                // The file variant: the same stream between a mark of eight bytes and a table of contents.
                Exactly(stackalloc byte[4]);
                read = _file.ReadAtLeast(word, 4, throwOnEndOfStream: false);
            }
            _begun = true;
            if (read == 0)
                return null;                        // some writers leave the end mark out
            if (read < 4)
                throw Truncated();
            if (BinaryPrimitives.ReadInt32LittleEndian(word) == -1)
                Exactly(word);
            var size = BinaryPrimitives.ReadInt32LittleEndian(word);
            if (size == 0)
                return null;
            if (size is < 0 or > 1 << 28)
                throw Damaged($"a message claims a size of {size} bytes");
            var header = new byte[size];
            Exactly(header);
            var (message, length) = Guard(() => FlatTable.Root(header) is var root && root.Table(2) is { } table ? ((root.Byte(1), table), root.Long(3)) : throw new InvalidOperationException("a message without header"));
            if (length is < 0 or > int.MaxValue)
                throw Damaged($"a batch claims a size of {length} bytes");
            if (_file.CanSeek && length > _file.Length - _file.Position)
                throw Truncated();
            var bytes = new byte[length];
            Exactly(bytes);
            body = bytes;
            return message;
        }

        private void Exactly(Span<byte> bytes)
        {
            try
            {
                _file.ReadExactly(bytes);
            }
            catch (EndOfStreamException)
            {
                throw Truncated();
            }
        }

        private T Guard<T>(Func<T> read)
        {
            try
            {
                return read();
            }
            catch (Exception failure) when (failure is ArgumentException or IndexOutOfRangeException or OverflowException or InvalidOperationException or EndOfStreamException)
            {
                throw Damaged("its tables point outside of the file", failure);
            }
        }

        private InputException Truncated() => new($"{_name}: the Arrow file ends in the middle, after {_batches} whole batches; it is truncated", fix: "copy or save the data set again");

        private InputException Damaged(string why, Exception? inner = null) => new($"{_name}: is not a readable Arrow file: {why}", fix: "copy or save the data set again", inner: inner);
    }
}
