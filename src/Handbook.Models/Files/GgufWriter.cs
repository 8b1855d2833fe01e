using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Models.Gguf;

namespace Handbook.Models.Files;

/// <summary>A tensor on its way into a GGUF file.</summary>
/// <param name="Name">Its name there.</param>
/// <param name="Shape">Outermost dimension first.</param>
/// <param name="Blocks">How its elements are stored.</param>
/// <param name="Write">Writes exactly its bytes; called once.</param>
internal sealed record GgufTensorToSave(string Name, ValueList<long> Shape, BlockFormat Blocks, Action<Stream> Write)
{
    public long ByteCount => checked(TensorShape.Count(Shape) / Blocks.Size * Blocks.Bytes);
}

/// <summary>Writes a GGUF file, reads it back and compares, and only then gives it its name.</summary>
internal static class GgufWriter
{
    /// <param name="path">The file; there whole or not at all.</param>
    /// <exception cref="InputException">The disk is full or the folder cannot be written; what was there before is untouched.</exception>
    public static void Save(string path, GgufMetadata metadata, IReadOnlyList<GgufTensorToSave> tensors)
    {
        var unfinished = WholeFile.Unfinished(path);
        try
        {
            byte[][] hashes;
            using (var stream = Disk.Real.Create(unfinished))
                hashes = Write(stream, metadata, tensors);
            Disk.Real.FlushFile(unfinished);    // what is compared is what the medium has, as far as the system tells
            Compare(unfinished, metadata, tensors, hashes);
            WholeFile.Publish(unfinished, path);
        }
        catch (Exception e)
        {
            WholeFile.Forget(unfinished);
            if (WholeFile.Explain(e, path) is { } explained)
                throw explained;
            throw;
        }
    }

    private static byte[][] Write(Stream stream, GgufMetadata metadata, IReadOnlyList<GgufTensorToSave> tensors)
    {
        stream.Write(Header(metadata, tensors));
        var hashes = new byte[tensors.Count][];
        for (var i = 0; i < hashes.Length; i++)
        {
            using var hashing = new HashingStream(stream);
            tensors[i].Write(hashing);
            if (hashing.Position != tensors[i].ByteCount)
                throw new InvalidOperationException(
                    $"tensor {tensors[i].Name} wrote {hashing.Position} bytes instead of {tensors[i].ByteCount}");
            hashes[i] = hashing.Hash();
            stream.Write(new byte[Padding(tensors[i].ByteCount)]);
        }
        return hashes;
    }

    private static byte[] Header(GgufMetadata metadata, IReadOnlyList<GgufTensorToSave> tensors)
    {
        using var header = new MemoryStream();
        using var writer = new BinaryWriter(header);        // little-endian by its contract
        writer.Write(GgufFile.Magic);
        writer.Write(GgufFile.Version);
        writer.Write((ulong)tensors.Count);
        writer.Write((ulong)metadata.Entries.Count);
        foreach (var (key, kind, element, value) in metadata.Entries)
        {
            Text(key);
            writer.Write((uint)kind);
            if (kind != GgufKind.List)
            {
                Value(kind, value);
                continue;
            }
            var list = (Array)value;
            writer.Write((uint)element);
            writer.Write((ulong)list.Length);
            foreach (var item in list)
                Value(element, item);
        }
        var at = 0L;
        foreach (var tensor in tensors)
        {
            Text(tensor.Name);
            writer.Write((uint)tensor.Shape.Count);
            foreach (var size in tensor.Shape.Reverse())
                writer.Write((ulong)size);
            writer.Write((uint)tensor.Blocks.Code);
            writer.Write((ulong)at);
            at += tensor.ByteCount + Padding(tensor.ByteCount);
        }
        writer.Write(new byte[Padding(header.Position)]);
        return header.ToArray();

        void Text(string text)
        {
            var bytes = Encoding.UTF8.GetBytes(text);
            writer.Write((ulong)bytes.Length);
            writer.Write(bytes);
        }

        void Value(GgufKind kind, object value)
        {
            switch (kind)
            {
                case GgufKind.Text:
                    Text((string)value);
                    break;
                case GgufKind.Bool:
                    writer.Write((bool)value);
                    break;
                case GgufKind.UInt32:
                    writer.Write(checked((uint)(long)value));
                    break;
                case GgufKind.Int32:
                    writer.Write(checked((int)(long)value));
                    break;
                case GgufKind.UInt16:
                    writer.Write(checked((ushort)(long)value));
                    break;
                case GgufKind.UInt8:
                    writer.Write(checked((byte)(long)value));
                    break;
                case GgufKind.Float32:
                    writer.Write((float)(double)value);
                    break;
                default:
                    throw new NotSupportedException($"no metadata of kind {kind} is written");
            }
        }
    }

    private static void Compare(string path, GgufMetadata metadata, IReadOnlyList<GgufTensorToSave> tensors, byte[][] hashes)
    {
        using var written = GgufFile.OpenAlone(path);
        if (written.Tensors.Count != tensors.Count || written.Metadata.Entries.Count != metadata.Entries.Count)
            throw Faulty("its header");
        foreach (var (own, its) in metadata.Entries.Zip(written.Metadata.Entries))
            if (own.Key != its.Key || own.Kind != its.Kind || !Same(own.Value, its.Value))
                throw Faulty($"its key {own.Key}");
        for (var i = 0; i < tensors.Count; i++)
        {
            var info = written.Tensors[i];
            if (info.Name != tensors[i].Name || !info.Shape.Equals(tensors[i].Shape) || info.Blocks != tensors[i].Blocks
                || !Hash(written, info).AsSpan().SequenceEqual(hashes[i]))
                throw Faulty($"tensor {tensors[i].Name}");
        }

        static IOException Faulty(string what) => new($"{what} reads back differently from what was written; the disk or its memory is "
            + "faulty");

        static bool Same(object a, object b) => a is Array list && b is Array other
            ? list.Cast<object>().SequenceEqual(other.Cast<object>())
            : a.Equals(b);
    }

    private static byte[] Hash(GgufFile file, GgufTensorInfo tensor)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        const int chunk = 1 << 24;
        for (var at = 0L; at < tensor.ByteCount; at += chunk)
            hash.AppendData(file.Slice(tensor, at, (int)Math.Min(chunk, tensor.ByteCount - at)));
        return hash.GetHashAndReset();
    }

    private static long Padding(long length) => (GgufFile.Alignment - length % GgufFile.Alignment) % GgufFile.Alignment;
}
