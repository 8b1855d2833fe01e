using System.Buffers.Binary;
using System.IO.Compression;
using Handbook.Base;

namespace Handbook.Data.Sources;

/// <summary>The unpacked bytes of a gzip file; one that is cut is refused instead of ending early.</summary>
/// <remarks>
/// .NET's stream takes the end of a cut file for the end of the text. A whole file ends with the length of its last member's text, modulo
/// 2³²: where more is promised than came out, the end is missing.
/// </remarks>
/// <param name="file">The packed file, at its beginning.</param>
/// <param name="name">What the user calls it.</param>
internal sealed class GzipFile(FileStream file, string name) : ReadOnlyStream
{
    private readonly GZipStream _unpacked = new(file, CompressionMode.Decompress);
    private readonly uint _promised = Promised(file);
    private ulong _given;

    private static uint Promised(FileStream file)
    {
        Span<byte> trailer = stackalloc byte[sizeof(uint)];
        file.Position = Math.Max(0, file.Length - trailer.Length);
        file.ReadAtLeast(trailer, trailer.Length, throwOnEndOfStream: false);
        file.Position = 0;
        return BinaryPrimitives.ReadUInt32LittleEndian(trailer);
    }

    public override int Read(Span<byte> buffer)
    {
        var read = _unpacked.Read(buffer);
        _given += (ulong)read;
        if (read == 0 && buffer.Length > 0 && _given < _promised)
            throw new InputException($"{name}: the gzip stream ends in the middle; the file is truncated",
                fix: "copy or download it again");
        return read;
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
            _unpacked.Dispose();
        base.Dispose(disposing);
    }
}
