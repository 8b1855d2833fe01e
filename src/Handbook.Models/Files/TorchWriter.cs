using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;
using Handbook.Base;
using Handbook.Torch;

namespace Handbook.Models.Files;

/// <summary>Writes files of <c>torch.save</c>: a zip of a pickle, which names the tensors, and the bytes of each.</summary>
/// <remarks>The pickle is a dictionary of <c>torch._utils._rebuild_tensor_v2</c> calls in protocol 2, and nothing else, so that PyTorch
/// reads it with <c>weights_only=True</c>. Entries are stored as they are, which lets it map the file.</remarks>
internal static class TorchWriter
{
    /// <summary>Writes one file.</summary>
    /// <param name="stream">Where the file goes; it can seek.</param>
    /// <param name="folder">The name of the zip's folder.</param>
    /// <returns>The SHA-256 of each tensor's bytes as they were produced, to compare with what is on disk.</returns>
    /// <exception cref="InputException">PyTorch has no storage of a tensor's element type.</exception>
    public static IReadOnlyDictionary<string, byte[]> Write(Stream stream, IReadOnlyList<TensorToSave> tensors, string folder)
    {
        var hashes = new Dictionary<string, byte[]>();
        using var zip = new ZipArchive(stream, ZipArchiveMode.Create, leaveOpen: true);
        Add("data.pkl", Pickle(tensors));
        Add("byteorder", "little"u8.ToArray());
        for (var i = 0; i < tensors.Count; i++)
        {
            using var entry = Open($"data/{i}");
            using var hashing = new HashingStream(entry);
            tensors[i].Write(hashing);
            if (hashing.Position != tensors[i].Info.ByteCount)
                throw new InvalidOperationException(
                    $"tensor {tensors[i].Info.Name} wrote {hashing.Position} bytes instead of {tensors[i].Info.ByteCount}");
            hashes.Add(tensors[i].Info.Name, hashing.Hash());
        }
        Add("version", "3\n"u8.ToArray());
        return hashes;

        Stream Open(string name)
        {
            var entry = zip.CreateEntry($"{folder}/{name}", CompressionLevel.NoCompression);
            entry.LastWriteTime = new(1980, 1, 1, 0, 0, 0, TimeSpan.Zero);       // the same model gives the same bytes
            return entry.Open();
        }

        void Add(string name, byte[] bytes)
        {
            using var entry = Open(name);
            entry.Write(bytes);
        }
    }

    private static byte[] Pickle(IReadOnlyList<TensorToSave> tensors)
    {
        var pickle = new MemoryStream();
        Code("\x80\x02}(");
        for (var i = 0; i < tensors.Count; i++)
        {
            var info = tensors[i].Info;
            Text(info.Name);
            Code("ctorch._utils\n_rebuild_tensor_v2\n((");
            Text("storage");
            Code($"ctorch\n{StorageOf(info)}\n");
            Text($"{i}");
            Text("cpu");
            Number(info.Count);
            Code("tQK\0");
            Tuple(info.Shape);
            Tuple(Strides(info.Shape));
            Code("\x89" + "ccollections\nOrderedDict\n)RtR");
        }
        Code("u.");
        return pickle.ToArray();

        void Code(string codes) => pickle.Write(Encoding.Latin1.GetBytes(codes));

        void Text(string text)
        {
            var utf8 = Encoding.UTF8.GetBytes(text);
            Span<byte> length = stackalloc byte[4];
            BinaryPrimitives.WriteInt32LittleEndian(length, utf8.Length);
            Code("X");
            pickle.Write(length);
            pickle.Write(utf8);
        }

        void Number(long number)
        {
            Span<byte> bytes = stackalloc byte[8];
            BinaryPrimitives.WriteInt64LittleEndian(bytes, number);
            if (number is >= 0 and < 256)
                Code("K");
            else if (number is >= int.MinValue and <= int.MaxValue)
                Code("J");
            else
                Code("\x8a\x08");
            pickle.Write(bytes[..(number is >= 0 and < 256 ? 1 : number is >= int.MinValue and <= int.MaxValue ? 4 : 8)]);
        }

        void Tuple(IEnumerable<long> numbers)
        {
            Code("(");
            foreach (var number in numbers)
                Number(number);
            Code("t");
        }
    }

    private static IEnumerable<long> Strides(ValueList<long> shape)
    {
        for (var i = 0; i < shape.Count; i++)
            yield return shape.Skip(i + 1).Aggregate(1L, (product, size) => product * size);
    }

    private static string StorageOf(TensorInfo info) => info.DType switch
    {
        DType.Float32 => "FloatStorage",
        DType.Float64 => "DoubleStorage",
        DType.Float16 => "HalfStorage",
        DType.BFloat16 => "BFloat16Storage",
        DType.Int64 => "LongStorage",
        DType.Int32 => "IntStorage",
        DType.Int16 => "ShortStorage",
        DType.Int8 => "CharStorage",
        DType.UInt8 => "ByteStorage",
        DType.Bool => "BoolStorage",
        _ => throw new InputException($"tensor \"{info.Name}\" has elements of type {info.DType}, of which a .bin file has no storage",
            fix: "keep the model as safetensors"),
    };
}
