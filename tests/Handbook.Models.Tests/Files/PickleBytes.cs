using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;

namespace Handbook.Models.Tests.Files;

/// <summary>Writes pickles, instruction by instruction, and the files of <c>torch.save</c> around them.</summary>
internal sealed class PickleBytes
{
    private readonly List<byte> _bytes = [0x80, 2];

    public byte[] Done() => [.. _bytes, (byte)'.'];

    public PickleBytes Raw(params ReadOnlySpan<byte> bytes)
    {
        _bytes.AddRange(bytes);
        return this;
    }

    public PickleBytes Code(string codes) => Raw(Encoding.Latin1.GetBytes(codes));

    public PickleBytes Text(string text)
    {
        var utf8 = Encoding.UTF8.GetBytes(text);
        var length = new byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(length, utf8.Length);
        return Code("X").Raw(length).Raw(utf8);
    }

    public PickleBytes Number(long number)
    {
        var bytes = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, number);
        return Raw(0x8a, 8).Raw(bytes);
    }

    public PickleBytes Global(string module, string name) => Code($"c{module}\n{name}\n");

    public PickleBytes Tuple(params long[] numbers)
    {
        Code("(");
        foreach (var number in numbers)
            Number(number);
        return Code("t");
    }

    /// <summary>The call that rebuilds one tensor.</summary>
    public PickleBytes Tensor(string key, long count, long offset, long[] shape, long[] strides, string storage = "FloatStorage",
        bool legacy = false)
    {
        Global("torch._utils", "_rebuild_tensor_v2").Code("((").Text("storage").Global("torch", storage).Text(key).Text("cpu")
            .Number(count);
        if (legacy)
            Code("N"); // no view
        return Code("tQ").Number(offset).Tuple(shape).Tuple(strides).Code("\x89").Global("collections", "OrderedDict").Code(")RtR");
    }

    /// <summary>A dictionary of one tensor called w.</summary>
    public static byte[] OneTensor(long count, long offset, long[] shape, long[] strides, string storage = "FloatStorage",
        string key = "0") =>
        new PickleBytes().Code("}").Text("w").Tensor(key, count, offset, shape, strides, storage).Code("s").Done();

    public static byte[] Zip(byte[] pickle, byte[]? storage = null, string byteOrder = "little",
        CompressionLevel level = CompressionLevel.NoCompression)
    {
        using var stream = new MemoryStream();
        using (var zip = new ZipArchive(stream, ZipArchiveMode.Create, leaveOpen: true))
            foreach (var (name, bytes) in ((string, byte[])[])[("m/data.pkl", pickle), ("m/byteorder", Encoding.ASCII.GetBytes(byteOrder)),
                ("m/data/0", storage ?? []), ("m/version", "3\n"u8.ToArray())])
            {
                using var entry = zip.CreateEntry(name, level).Open();
                entry.Write(bytes);
            }
        return stream.ToArray();
    }

    /// <summary>The format before the zip: three pickles about the file, the object, the keys, then the storages.</summary>
    public static byte[] Legacy(byte[] pickle, float[] storage, bool littleEndian = true)
    {
        var magic = System.Numerics.BigInteger.Parse("119547037146038801333356").ToByteArray();
        var count = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(count, storage.Length);
        return
        [
            .. new PickleBytes().Raw(0x8a, (byte)magic.Length).Raw(magic).Done(),
            .. new PickleBytes().Number(1001).Done(),
            .. new PickleBytes().Code("}").Text("little_endian").Code(littleEndian ? "\x88s" : "\x89s").Done(),
            .. pickle,
            .. new PickleBytes().Code("]").Text("0").Code("a").Done(),
            .. count,
            .. System.Runtime.InteropServices.MemoryMarshal.AsBytes(storage.AsSpan()),
        ];
    }
}
