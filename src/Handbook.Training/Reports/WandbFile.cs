using System.Buffers.Binary;
using Handbook.Base.Files;

namespace Handbook.Training.Reports;

/// <summary>The transaction log of a Weights &amp; Biases run, <c>run-ID.wandb</c>: a sequence of records in LevelDB's log
/// format.</summary>
/// <remarks>
/// The file begins with seven bytes of its own, and is cut into blocks of 32 KiB, counted from its first byte:
/// <code>
/// file   = ":W&amp;B" · uint16 0xBEE1 · uint8 0 · block…                                            little endian
/// chunk  = uint32 crc32(type · data) · uint16 length · uint8 type · data      type: 1 full, 2 first, 3 middle, 4 last
/// </code>
/// The checksum is the common CRC-32 (IEEE 802.3) as it is, where LevelDB has CRC-32C, masked. No chunk crosses the border of a block;
/// fewer than seven bytes at the end of a block are zeros.
/// </remarks>
internal sealed class WandbFile : IDisposable
{
    private const int Block = 32768, Head = 7;
    private const byte Full = 1, First = 2, Middle = 3, Last = 4;

    private static readonly byte[] s_magic = [(byte)':', (byte)'W', (byte)'&', (byte)'B', 0xE1, 0xBE, 0];
    private static readonly uint[] s_crc = [.. Enumerable.Range(0, 256).Select(n =>
    {
        var value = (uint)n;
        for (var bit = 0; bit < 8; bit++)
            value = (value & 1) != 0 ? value >> 1 ^ 0xEDB88320u : value >> 1;
        return value;
    })];

    private readonly FileStream _stream;

    private WandbFile(string path, FileMode mode)
    {
        Path = path;
        _stream = new FileStream(path, mode, FileAccess.Write, FileShare.ReadWrite);
        _stream.Seek(0, SeekOrigin.End);
        if (_stream.Position == 0)
            _stream.Write(s_magic);
    }

    public string Path { get; }

    /// <summary>Begins a file; there must be none of that name.</summary>
    public static WandbFile Create(string path) => new(path, FileMode.CreateNew);

    /// <summary>Goes on with a file after these of its records; whatever else it holds is dropped in one step.</summary>
    public static WandbFile GoOn(string path, IReadOnlyList<byte[]> records)
    {
        using var kept = new MemoryStream();
        kept.Write(s_magic);
        foreach (var record in records)
            Write(kept, record);
        WholeFile.WriteBytes(path, kept.ToArray());
        return new(path, FileMode.Open);
    }

    /// <summary>Adds a record. Another process sees it whole or, where it is being written, as an unfinished end.</summary>
    public void Write(byte[] record)
    {
        Write(_stream, record);
        _stream.Flush();
    }

    private static void Write(Stream stream, ReadOnlySpan<byte> record)
    {
        var isFirst = true;
        do
        {
            var room = Block - (int)(stream.Position % Block);
            if (room < Head)
            {
                stream.Write(new byte[room]);
                room = Block;
            }
            var part = record[..Math.Min(record.Length, room - Head)];
            record = record[part.Length..];
            var type = record.IsEmpty ? isFirst ? Full : Last : isFirst ? First : Middle;
            var chunk = new byte[Head + part.Length];
            BinaryPrimitives.WriteUInt16LittleEndian(chunk.AsSpan(4), (ushort)part.Length);
            chunk[6] = type;
            part.CopyTo(chunk.AsSpan(Head));
            BinaryPrimitives.WriteUInt32LittleEndian(chunk, Crc(chunk.AsSpan(6)));
            stream.Write(chunk);
            isFirst = false;
        }
        while (!record.IsEmpty);
    }

    /// <summary>The whole records of a file, up to the first that is cut short or damaged; none where it is no such file.</summary>
    public static IEnumerable<byte[]> Read(string path)
    {
        var bytes = File.ReadAllBytes(path);
        if (!bytes.AsSpan().StartsWith(s_magic))
            yield break;
        var (joined, isWithin) = (new MemoryStream(), false);
        for (var at = s_magic.Length; Chunk(bytes, ref at) is var (type, from, length);)
        {
            if (isWithin == type is Full or First)
                yield break;
            joined.Write(bytes, from, length);
            isWithin = type is First or Middle;
            if (isWithin)
                continue;
            yield return joined.ToArray();
            joined.SetLength(0);
        }
    }

    private static (byte Type, int From, int Length)? Chunk(byte[] bytes, ref int at)
    {
        if (Block - at % Block is var room and < Head)
            at += room;
        if (at + Head > bytes.Length)
            return null;
        var length = BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(at + 4));
        var (from, type) = (at + Head, bytes[at + 6]);
        if (type is < Full or > Last || length > (Block - from % Block) % Block || from + length > bytes.Length
            || BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(at)) != Crc(bytes.AsSpan(at + 6, 1 + length)))
            return null;
        at = from + length;
        return (type, from, length);
    }

    private static uint Crc(ReadOnlySpan<byte> data)
    {
        var crc = uint.MaxValue;
        foreach (var value in data)
            crc = s_crc[(byte)(crc ^ value)] ^ crc >> 8;
        return ~crc;
    }

    public void Dispose() => _stream.Dispose();
}
