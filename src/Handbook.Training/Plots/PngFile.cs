using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;

namespace Handbook.Training.Plots;

/// <summary>Encodes 8-bit RGB pixels as PNG (ISO/IEC 15948).</summary>
internal static class PngFile
{
    private static readonly uint[] CrcTable = [.. Enumerable.Range(0, 256).Select(i =>
    {
        var crc = (uint)i;
        for (var bit = 0; bit < 8; bit++)
            crc = (crc & 1) != 0 ? 0xedb88320u ^ (crc >> 1) : crc >> 1;
        return crc;
    })];

    /// <param name="pixels">Red, green, blue, row by row; [height · width · 3].</param>
    /// <param name="width">Pixels in a row.</param>
    /// <param name="height">Rows.</param>
    public static byte[] Encode(ReadOnlySpan<byte> pixels, int width, int height)
    {
        using var file = new MemoryStream();
        file.Write([0x89, (byte)'P', (byte)'N', (byte)'G', 0x0d, 0x0a, 0x1a, 0x0a]);

        Span<byte> header = stackalloc byte[13];
        BinaryPrimitives.WriteInt32BigEndian(header, width);
        BinaryPrimitives.WriteInt32BigEndian(header[4..], height);
        header[8] = 8;      // bits per sample
        header[9] = 2;      // RGB
        Chunk(file, "IHDR", header);

        using (var data = new MemoryStream())
        {
            using (var zlib = new ZLibStream(data, CompressionLevel.Fastest, leaveOpen: true))
            {
                // Each row as its difference to the row above: a plot is mostly the same colour downwards.
                var line = new byte[1 + width * 3];
                line[0] = 2;
                for (var row = 0; row < height; row++)
                {
                    var now = pixels.Slice(row * width * 3, width * 3);
                    if (row == 0)
                        now.CopyTo(line.AsSpan(1));
                    else
                        Subtract(now, pixels.Slice((row - 1) * width * 3, width * 3), line.AsSpan(1));
                    zlib.Write(line);
                }
            }
            Chunk(file, "IDAT", data.GetBuffer().AsSpan(0, (int)data.Length));
        }
        Chunk(file, "IEND", []);
        return file.ToArray();
    }

    private static void Subtract(ReadOnlySpan<byte> now, ReadOnlySpan<byte> above, Span<byte> difference)
    {
        for (var i = 0; i < now.Length; i++)
            difference[i] = (byte)(now[i] - above[i]);
    }

    private static void Chunk(Stream file, string type, ReadOnlySpan<byte> data)
    {
        Span<byte> word = stackalloc byte[4];
        BinaryPrimitives.WriteInt32BigEndian(word, data.Length);
        file.Write(word);
        var name = Encoding.ASCII.GetBytes(type);
        file.Write(name);
        file.Write(data);
        BinaryPrimitives.WriteUInt32BigEndian(word, ~Crc(Crc(uint.MaxValue, name), data));
        file.Write(word);
    }

    private static uint Crc(uint crc, ReadOnlySpan<byte> data)
    {
        foreach (var b in data)
            crc = CrcTable[(byte)(crc ^ b)] ^ (crc >> 8);
        return crc;
    }
}
