using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;
using Handbook.Base;

namespace Handbook.Models.Files;

/// <summary>One member of a zip file: where its bytes stand and how they are packed.</summary>
internal sealed record ZipEntry(string Name, int Method, long PackedSize, long Size, long LocalHeader);

/// <summary>The directory of a mapped zip file. Unlike the framework's reader it knows where stored bytes lie, so
/// that they need no copy.</summary>
internal sealed unsafe class ZipEntries
{
    private const int Stored = 0;
    private const int Deflated = 8;

    private readonly MappedFile _file;

    private ZipEntries(MappedFile file, Dictionary<string, ZipEntry> entries) => (_file, Entries) = (file, entries);

    public IReadOnlyDictionary<string, ZipEntry> Entries { get; }

    public static bool IsZip(MappedFile file) =>
        file.Length >= 4 && file.Slice(0, 4) is [(byte)'P', (byte)'K', 3, 4] or [(byte)'P', (byte)'K', 5, 6];

    /// <exception cref="InputException">The directory is missing or points outside the file.</exception>
    public static ZipEntries Read(MappedFile file)
    {
        var (count, offset, end) = FindDirectory(file);
        var entries = new Dictionary<string, ZipEntry>();
        for (var i = 0L; i < count; i++)
        {
            if (offset > end - 46 || U32(file, offset) != 0x02014b50)
                throw Broken(file, $"has a broken zip directory at byte {offset}");
            var flags = U16(file, offset + 8);
            var method = U16(file, offset + 10);
            long packed = U32(file, offset + 20), size = U32(file, offset + 24), local = U32(file, offset + 42);
            int name = U16(file, offset + 28), extra = U16(file, offset + 30), comment = U16(file, offset + 32);
            if (offset + 46 + name + extra + comment > end)
                throw Broken(file, $"has a broken zip directory at byte {offset}");
            var text = Encoding.UTF8.GetString(file.Slice(offset + 46, name));
            Zip64(file, offset + 46 + name, extra, ref size, ref packed, ref local);
            if ((flags & 1) != 0)
                throw Broken(file, $"has the encrypted member \"{text}\"");
            if (!entries.TryAdd(text, new(text, method, packed, size, local)))
                throw Broken(file, $"has the member \"{text}\" twice");
            offset += 46 + name + extra + comment;
        }
        return new(file, entries);
    }

    /// <summary>A member's bytes: in the mapping where they are stored, else unpacked into memory that the caller keeps.</summary>
    public byte* Open(ZipEntry entry, out NativeBuffer? unpacked)
    {
        unpacked = null;
        if (entry.LocalHeader > _file.Length - 30 || U32(_file, entry.LocalHeader) != 0x04034b50)
            throw Broken(_file, $"has no member \"{entry.Name}\" where its directory says");
        var start = entry.LocalHeader + 30 + U16(_file, entry.LocalHeader + 26) + U16(_file, entry.LocalHeader + 28);
        if (start > _file.Length || entry.PackedSize > _file.Length - start)
            throw Broken(_file, $"ends inside its member \"{entry.Name}\"");
        if (entry.Method == Stored)
            return entry.PackedSize == entry.Size ? _file.Pointer + start
                : throw Broken(_file, $"states two sizes for its member \"{entry.Name}\"");
        if (entry.Method != Deflated)
            throw Broken(_file, $"packs its member \"{entry.Name}\" with method {entry.Method}; known are 0 (stored) and 8 (deflate)");
        // Deflate cannot shrink further than 1032 to 1: a larger claim is a trap for memory.
        if (entry.Size / 1100 > entry.PackedSize + 1)
            throw Broken(_file, $"claims that {entry.PackedSize} bytes of member \"{entry.Name}\" unpack to {entry.Size}");
        unpacked = new NativeBuffer(entry.Size);
        try
        {
            using var packed = new UnmanagedMemoryStream(_file.Pointer + start, entry.PackedSize);
            using var deflate = new DeflateStream(packed, CompressionMode.Decompress);
            for (var at = 0L; at < entry.Size;)
            {
                var read = deflate.Read(new Span<byte>(unpacked.Pointer + at, (int)Math.Min(1 << 20, entry.Size - at)));
                if (read == 0)
                    throw Broken(_file, $"unpacks only {at} of {entry.Size} bytes of member \"{entry.Name}\"");
                at += read;
            }
            return unpacked.Pointer;
        }
        catch (Exception e)
        {
            unpacked.Dispose();
            throw e is InvalidDataException ? Broken(_file, $"holds broken data in member \"{entry.Name}\": {e.Message}") : e;
        }
    }

    private static (long Count, long Offset, long End) FindDirectory(MappedFile file)
    {
        // The end record is 22 bytes and a comment of at most 65,535.
        for (var at = file.Length - 22; at >= Math.Max(0, file.Length - 22 - 65535); at--)
        {
            if (U32(file, at) != 0x06054b50)
                continue;
            long count = U16(file, at + 10), size = U32(file, at + 12), offset = U32(file, at + 16);
            if (at >= 20 && U32(file, at - 20) == 0x07064b50)
            {
                var record = (long)U64(file, at - 12);
                if (record < 0 || record > at - 56 || U32(file, record) != 0x06064b50)
                    break;
                (count, size, offset) = ((long)U64(file, record + 32), (long)U64(file, record + 40), (long)U64(file, record + 48));
            }
            if (offset < 0 || size < 0 || count < 0 || offset > at || size > at - offset)
                break;
            return (count, offset, offset + size);
        }
        throw Broken(file, "has no zip directory at its end");
    }

    private static void Zip64(MappedFile file, long offset, int length, ref long size, ref long packed, ref long local)
    {
        for (var end = offset + length; offset + 4 <= end;)
        {
            int tag = U16(file, offset), bytes = U16(file, offset + 2);
            var at = offset + 4;
            offset = at + bytes;
            if (tag != 1 || offset > end)
                continue;
            Widen(file, ref size, ref at, offset);
            Widen(file, ref packed, ref at, offset);
            Widen(file, ref local, ref at, offset);
        }
        if (size < 0 || packed < 0 || local < 0)
            throw Broken(file, "has a zip directory with negative sizes");
    }

    private static void Widen(MappedFile file, ref long field, ref long at, long end)
    {
        if (field != uint.MaxValue || at + 8 > end)
            return;
        field = (long)U64(file, at);
        at += 8;
    }

    private static ushort U16(MappedFile file, long at) => BinaryPrimitives.ReadUInt16LittleEndian(file.Slice(at, 2));

    private static uint U32(MappedFile file, long at) => BinaryPrimitives.ReadUInt32LittleEndian(file.Slice(at, 4));

    private static ulong U64(MappedFile file, long at) => BinaryPrimitives.ReadUInt64LittleEndian(file.Slice(at, 8));

    private static InputException Broken(MappedFile file, string what) =>
        new($"{file.Path}: {what}", fix: "is the download complete? fetch the file again");
}
