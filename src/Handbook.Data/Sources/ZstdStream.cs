using System.Runtime.InteropServices;
using Handbook.Base;

namespace Handbook.Data.Sources;

/// <summary>Reads zstd-compressed bytes through the system's libzstd, which every Debian has.</summary>
internal sealed unsafe partial class ZstdStream : ReadOnlyStream
{
    private const string Library = "libzstd.so.1";

    private readonly Stream _source;
    private readonly string _name;
    private readonly byte[] _input = new byte[128 * 1024];
    private nint _context;
    private int _start, _end;
    private bool _frameOpen;

    public ZstdStream(Stream source, string name)
    {
        (_source, _name) = (source, name);
        try
        {
            _context = ZSTD_createDStream();
        }
        catch (Exception failure) when (failure is DllNotFoundException or EntryPointNotFoundException)
        {
            throw new InputException($"{name}: is compressed with zstd, and {Library} was not found", fix: $"apt-get install libzstd1, or unpack it: zstd -d {name}", inner: failure);
        }
    }

    public override int Read(Span<byte> buffer)
    {
        if (buffer.IsEmpty)
            return 0;
        while (true)
        {
            if (_start == _end)
            {
                _start = 0;
                _end = _source.Read(_input);
                if (_end == 0)
                    return _frameOpen ? throw new InputException($"{_name}: the zstd stream ends in the middle; the file is truncated", fix: "copy or download it again") : 0;
            }
            nuint left;
            var output = default(Buffer);
            var input = default(Buffer);
            fixed (byte* from = _input, to = buffer)
            {
                output = new Buffer { Data = to, Size = (nuint)buffer.Length };
                input = new Buffer { Data = from, Size = (nuint)_end, Position = (nuint)_start };
                left = ZSTD_decompressStream(_context, &output, &input);
            }
            if (ZSTD_isError(left) != 0)
                throw new InputException($"{_name}: is not a valid zstd stream ({Marshal.PtrToStringUTF8(ZSTD_getErrorName(left))})", fix: "copy or download it again");
            _start = (int)input.Position;
            _frameOpen = left != 0;
            if (output.Position > 0)
                return (int)output.Position;
        }
    }

    protected override void Dispose(bool disposing)
    {
        if (_context != 0)
            _ = ZSTD_freeDStream(_context);
        _context = 0;
        if (disposing)
            _source.Dispose();
        base.Dispose(disposing);
    }

    private struct Buffer
    {
        public byte* Data;
        public nuint Size;
        public nuint Position;
    }

    [LibraryImport(Library)]
    private static partial nint ZSTD_createDStream();

    [LibraryImport(Library)]
    private static partial nuint ZSTD_freeDStream(nint context);

    [LibraryImport(Library)]
    private static partial nuint ZSTD_decompressStream(nint context, Buffer* output, Buffer* input);

    [LibraryImport(Library)]
    private static partial uint ZSTD_isError(nuint code);

    [LibraryImport(Library)]
    private static partial nint ZSTD_getErrorName(nuint code);
}
