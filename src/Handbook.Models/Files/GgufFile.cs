using System.Buffers.Binary;
using System.Text;
using Handbook.Base;
using Handbook.Models.Gguf;

namespace Handbook.Models.Files;

/// <summary>A tensor of a GGUF file.</summary>
/// <param name="Name">Its name there.</param>
/// <param name="Shape">Its shape, outermost dimension first, as everywhere here; the file lists it the other way round.</param>
/// <param name="Blocks">How its elements are stored.</param>
/// <param name="Offset">Where it begins behind the header.</param>
internal sealed record GgufTensorInfo(string Name, ValueList<long> Shape, BlockFormat Blocks, long Offset)
{
    /// <summary>Which of the files it lies in, from 0.</summary>
    public int Part { get; init; }

    public long Count => TensorShape.Count(Shape);

    /// <summary>Elements of a row.</summary>
    public long Columns => Shape.Count == 0 ? 1 : Shape[^1];

    public long ByteCount => checked(Count / Blocks.Size * Blocks.Bytes);
}

/// <summary>A GGUF file, mapped into memory: metadata and tensors, as llama.cpp reads and writes them (versions 2 and 3).</summary>
/// <remarks>A model may lie in several files (<c>…-00001-of-00003.gguf</c>), each with some of the tensors: together they are one, with
/// the keys of the first. Layout: magic, version, number of tensors, number of keys; the keys with their values; names, shapes, types
/// and places of the tensors; padding; the tensors, each at a multiple of the alignment. Little-endian.</remarks>
internal sealed unsafe class GgufFile : IDisposable
{
    public const uint Magic = 0x46554747;       // "GGUF"
    public const uint Version = 3;
    public const int Alignment = 32;
    public const string AlignmentKey = "general.alignment";

    private readonly (MappedFile File, long DataStart)[] _parts;
    private readonly Dictionary<string, GgufTensorInfo> _tensors;

    private GgufFile(MappedFile file)
    {
        var (metadata, tensors, dataStart) = new Reader(file).Header();
        (Metadata, Tensors, _parts) = (metadata, tensors, [(file, dataStart)]);
        _tensors = Tensors.ToDictionary(tensor => tensor.Name, StringComparer.Ordinal);
    }

    /// <param name="parts">Whole files; what they hold is this one's from here on.</param>
    private GgufFile(IReadOnlyList<GgufFile> parts)
    {
        Metadata = parts[0].Metadata;
        _parts = [.. parts.Select(part => part._parts[0])];
        Tensors = [.. parts.SelectMany((part, number) => part.Tensors.Select(tensor => tensor with { Part = number }))];
        if (Tensors.GroupBy(tensor => tensor.Name).FirstOrDefault(group => group.Count() > 1) is { } twice)
            throw new InputException($"{Path}: tensor \"{twice.Key}\" stands in {string.Join(" and in ", twice.Select(tensor =>
                _parts[tensor.Part].File.Path))}", fix: "fetch the files again");
        _tensors = Tensors.ToDictionary(tensor => tensor.Name, StringComparer.Ordinal);
    }

    /// <summary>Opens a file, with the others of its model where it is one of several.</summary>
    /// <exception cref="InputException">A file is missing, truncated, malformed, or holds a type of elements that is not
    /// read.</exception>
    public static GgufFile Open(string path)
    {
        var file = OpenAlone(path);
        if (!(file.Metadata.Has(GgufParts.CountKey) && file.Metadata.Whole(GgufParts.CountKey) is > 1 and var count))
            return file;
        List<GgufFile> parts = [];
        try
        {
            var names = GgufParts.Of(path, count);
            foreach (var (name, number) in names.Select((name, number) => (name, number)))
                parts.Add(GgufParts.Checked(OpenAlone(name), number, count));
            return GgufParts.Whole(new(parts));
        }
        catch
        {
            parts.ForEach(part => part.Dispose());
            throw;
        }
        finally
        {
            file.Dispose();
        }
    }

    /// <summary>Opens a file by itself, whether or not it is one of several.</summary>
    internal static GgufFile OpenAlone(string path) => MappedFile.Open(path, file => new GgufFile(file));

    /// <summary>Whether a file begins as one of this format.</summary>
    public static bool Is(string path)
    {
        if (!File.Exists(path))
            return false;
        using var stream = File.OpenRead(path);
        Span<byte> magic = stackalloc byte[4];
        return stream.ReadAtLeast(magic, 4, throwOnEndOfStream: false) == 4 && BinaryPrimitives.ReadUInt32LittleEndian(magic) == Magic;
    }

    /// <summary>Of the first.</summary>
    public string Path => _parts[0].File.Path;

    public GgufMetadata Metadata { get; }

    /// <summary>In the file's order.</summary>
    public IReadOnlyList<GgufTensorInfo> Tensors { get; }

    public GgufTensorInfo? Find(string name) => _tensors.GetValueOrDefault(name);

    /// <summary>Some bytes of a tensor; valid while the file is open.</summary>
    public ReadOnlySpan<byte> Slice(GgufTensorInfo tensor, long start, int length)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(start + length, tensor.ByteCount);
        var (file, dataStart) = _parts[tensor.Part];
        return new(file.Pointer + dataStart + tensor.Offset + start, length);
    }

    /// <summary>Some rows of a tensor as float32.</summary>
    /// <param name="row">The first one, counted over all outer dimensions.</param>
    /// <param name="values">Room for whole rows.</param>
    public void Read(GgufTensorInfo tensor, long row, Span<float> values)
    {
        var rowBytes = tensor.Columns / tensor.Blocks.Size * tensor.Blocks.Bytes;
        tensor.Blocks.Decode(Slice(tensor, row * rowBytes, checked((int)(values.Length / tensor.Columns * rowBytes))), values);
    }

    public void ForgetPages()
    {
        foreach (var part in _parts)
            part.File.ForgetPages();
    }

    public void Dispose()
    {
        foreach (var part in _parts)
            part.File.Dispose();
    }

    /// <summary>Reads the header; every number is checked against what is left of the file before anything is made of it.</summary>
    private sealed class Reader(MappedFile file)
    {
        private const int MostDimensions = 4;
        private const long MostElements = 1L << 48;
        private long _at;

        public (GgufMetadata, IReadOnlyList<GgufTensorInfo>, long) Header()
        {
            if (file.Length < 24 || U32() != Magic)
                throw Broken("it does not begin as a GGUF file does");
            var version = U32();
            if (version is not (2 or 3))
                throw new InputException($"{file.Path}: GGUF version {version} is not read", why: "versions 2 and 3 are",
                    fix: BitConverter.IsLittleEndian && BinaryPrimitives.ReverseEndianness(version) is 2 or 3
                        ? "the file is big-endian: convert it to little-endian" : "convert the model anew with a current program");
            var (tensors, keys) = (Number("the number of tensors"), Number("the number of keys"));
            var metadata = new GgufMetadata(file.Path);
            for (var i = 0L; i < keys; i++)
            {
                var key = Text();
                var kind = Kind(key);
                var (value, element) = kind == GgufKind.List ? List(key, 0) : (Value(kind, key), default);
                metadata.Add(key, kind, value, element);
            }
            var alignment = metadata.Whole(AlignmentKey) ?? Alignment;
            if (alignment <= 0 || alignment % 8 != 0)
                throw Broken($"{AlignmentKey} is {alignment}");
            var infos = new List<GgufTensorInfo>();
            var names = new HashSet<string>(StringComparer.Ordinal);
            for (var i = 0L; i < tensors; i++)
            {
                var info = Tensor();
                if (!names.Add(info.Name))
                    throw Broken($"tensor \"{info.Name}\" stands there twice");
                if (info.Offset % alignment != 0)
                    throw Broken($"tensor \"{info.Name}\" begins at {info.Offset}, no multiple of {alignment}");
                infos.Add(info);
            }
            var start = (_at + alignment - 1) / alignment * alignment;
            foreach (var info in infos)
                if (info.Offset < 0 || start > file.Length || info.ByteCount > file.Length - start
                    || info.Offset > file.Length - start - info.ByteCount)
                    throw new InputException($"{file.Path}: tensor \"{info.Name}\" ends behind the end of the file, which has "
                        + $"{file.Length} bytes", why: "the file was cut off", fix: "fetch or write the file again");
            var last = (Name: "", End: 0L);
            foreach (var info in infos.OrderBy(tensor => tensor.Offset))
            {
                if (info.Offset < last.End)
                    throw Broken($"tensors \"{last.Name}\" and \"{info.Name}\" overlap");
                last = (info.Name, info.Offset + info.ByteCount);
            }
            return (metadata, infos, start);
        }

        private GgufTensorInfo Tensor()
        {
            var name = Text();
            var dimensions = U32();
            if (dimensions > MostDimensions)
                throw Broken($"tensor \"{name}\" has {dimensions} dimensions");
            var shape = new long[dimensions];
            var count = 1L;
            for (var i = shape.Length - 1; i >= 0; i--)
            {
                shape[i] = (long)U64();
                if (shape[i] <= 0 || shape[i] > MostElements / count)
                    throw Broken($"tensor \"{name}\" has a dimension of {shape[i]}");
                count *= shape[i];
            }
            var type = U32();
            var blocks = BlockFormat.Of((int)type) ?? throw new InputException(
                $"{file.Path}: tensor \"{name}\" is stored as {BlockFormat.NameOf((int)type)}, which is not read",
                why: $"read are {string.Join(", ", BlockFormat.All.Select(format => format.Name))}",
                fix: "convert from a file of one of these types, best from one in f16 or bf16");
            var info = new GgufTensorInfo(name, [.. shape], blocks, (long)U64());
            return info.Columns % blocks.Size == 0 ? info
                : throw Broken($"tensor \"{name}\" is stored as {blocks.Name}, but its rows of {info.Columns} are no multiple of "
                    + $"{blocks.Size}");
        }

        private (object Value, GgufKind Element) List(string key, int depth)
        {
            var kind = Kind(key);
            var count = (int)Math.Min(Number($"the length of {key}"), int.MaxValue);
            switch (kind)
            {
                case GgufKind.Text:
                    return (Filled(count, Text), kind);
                case GgufKind.Bool:
                    return (Filled(count, () => (bool)Value(kind, key)), kind);
                case GgufKind.Float32 or GgufKind.Float64:
                    return (Filled(count, () => (double)Value(kind, key)), kind);
                case GgufKind.List when depth < 4:
                    return (Filled(count, () => List(key, depth + 1).Value), kind);
                case GgufKind.List:
                    throw Broken($"{key} has lists in lists in lists");
                default:
                    return (Filled(count, () => Value(kind, key) is long number ? number
                        : throw Broken($"{key} holds a number that is too large")), kind);
            }

            static T[] Filled<T>(int count, Func<T> next)
            {
                var list = new List<T>(Math.Min(count, 1 << 20));
                for (var i = 0; i < count; i++)
                    list.Add(next());
                return [.. list];
            }
        }

        private object Value(GgufKind kind, string key) => kind switch
        {
            GgufKind.UInt8 => (long)Take(1)[0],
            GgufKind.Int8 => (long)(sbyte)Take(1)[0],
            GgufKind.UInt16 => (long)BinaryPrimitives.ReadUInt16LittleEndian(Take(2)),
            GgufKind.Int16 => (long)BinaryPrimitives.ReadInt16LittleEndian(Take(2)),
            GgufKind.UInt32 => (long)U32(),
            GgufKind.Int32 => (long)(int)U32(),
            GgufKind.Float32 => (double)BinaryPrimitives.ReadSingleLittleEndian(Take(4)),
            GgufKind.Bool => Take(1)[0] switch { 0 => false, 1 => true, var other => throw Broken($"{key} is {other}, neither 0 nor 1") },
            GgufKind.Text => Text(),
            GgufKind.UInt64 => U64() is var number && number <= long.MaxValue ? (object)(long)number : number,
            GgufKind.Int64 => (long)U64(),
            GgufKind.Float64 => BinaryPrimitives.ReadDoubleLittleEndian(Take(8)),
            _ => throw Broken($"{key} has a value of kind {kind}"),
        };

        private GgufKind Kind(string key)
        {
            var kind = U32();
            return kind <= (uint)GgufKind.Float64 ? (GgufKind)kind : throw Broken($"\"{key}\" has a value of the unknown kind {kind}");
        }

        // Tokens need not be valid UTF-8 by themselves; what is not becomes U+FFFD.
        private string Text()
        {
            var length = Number("the length of a text");
            return Encoding.UTF8.GetString(Take(length));
        }

        /// <summary>A count of things of at least one byte each, so that no more than the rest of the file can be meant.</summary>
        private long Number(string what)
        {
            var number = U64();
            return number <= (ulong)(file.Length - _at) ? (long)number : throw Broken($"{what} is {number}, more than the file has bytes");
        }

        private uint U32() => BinaryPrimitives.ReadUInt32LittleEndian(Take(4));

        private ulong U64() => BinaryPrimitives.ReadUInt64LittleEndian(Take(8));

        private ReadOnlySpan<byte> Take(long count)
        {
            if (count > file.Length - _at)
                throw Broken("it ends in the middle of its header");
            var taken = file.Slice(_at, count);
            _at += count;
            return taken;
        }

        private InputException Broken(string what) => new($"{file.Path}: {what} (byte {_at})",
            why: "the file is damaged, or not a GGUF file",
            fix: "fetch or write the file again");
    }
}
