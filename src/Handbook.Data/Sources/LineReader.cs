using Handbook.Base;

namespace Handbook.Data.Sources;

/// <summary>Reads the lines of a UTF-8 stream as bytes, with their numbers. Lines end with LF or CRLF; a byte order mark is passed over.</summary>
internal sealed class LineReader(Stream stream, string name) : IDisposable
{
    private byte[] _buffer = new byte[1 << 17];
    private int _start, _end;
    private bool _ended;

    /// <summary>Number of the line last read, from 1.</summary>
    public long Line { get; private set; }

    /// <summary>The next line without its end; valid until the next call.</summary>
    public bool TryRead(out ReadOnlySpan<byte> line)
    {
        var searched = 0;
        while (true)
        {
            var rest = _buffer.AsSpan(_start, _end - _start);
            var end = rest[searched..].IndexOf((byte)'\n');
            if (end >= 0 || _ended)
            {
                if (end < 0 && rest.IsEmpty)
                {
                    line = default;
                    return false;
                }
                var length = end < 0 ? rest.Length : searched + end;
                _start += end < 0 ? length : length + 1;
                line = rest[..length];
                if (line is [.., (byte)'\r'])
                    line = line[..^1];
                if (Line++ == 0)
                    line = SkipMark(line);
                return true;
            }
            searched = rest.Length;
            Fill();
        }
    }

    public void Dispose() => stream.Dispose();

    private void Fill()
    {
        if (_start > 0)
        {
            _buffer.AsSpan(_start, _end - _start).CopyTo(_buffer);
            (_start, _end) = (0, _end - _start);
        }
        else if (_end == _buffer.Length)
        {
            if (_buffer.Length > 1 << 29)
                throw new InputException($"{name}:{Line + 1}: the line is longer than 512 MiB", fix: "split the row, or give the file as Parquet");
            Array.Resize(ref _buffer, 2 * _buffer.Length);
        }
        var read = Streams.Read(stream, _buffer.AsSpan(_end), name);
        _end += read;
        _ended = read == 0;
    }

    private ReadOnlySpan<byte> SkipMark(ReadOnlySpan<byte> line)
    {
        if (line.StartsWith("\uFEFF"u8))
            return line[3..];
        return line is [0xFF, 0xFE, ..] or [0xFE, 0xFF, ..]
            ? throw new InputException($"{name}: is UTF-16, as its first two bytes say", fix: $"name it: dataset_encoding: utf-16, or convert the file: iconv -f UTF-16 -t UTF-8 {name}")
            : line;
    }
}

/// <summary>Reading with messages that a user can act on.</summary>
internal static class Streams
{
    public static int Read(Stream stream, Span<byte> buffer, string name)
    {
        try
        {
            return stream.Read(buffer);
        }
        catch (InvalidDataException failure)
        {
            throw new InputException($"{name}: the compressed data is damaged or truncated ({failure.Message})", fix: $"check it: gzip -t {name}; then copy or download it again", inner: failure);
        }
        catch (System.Text.DecoderFallbackException failure)
        {
            throw new InputException($"{name}: holds bytes that the named encoding does not have ({failure.Message})", fix: "check the encoding: file --mime " + name, inner: failure);
        }
        catch (ZstdSharp.ZstdException failure)
        {
            throw new InputException($"{name}: is not a valid zstd stream ({failure.Message})", fix: "copy or download it again", inner: failure);
        }
        catch (EndOfStreamException failure)
        {
            throw new InputException($"{name}: the zstd stream ends in the middle; the file is truncated", fix: "copy or download it again", inner: failure);
        }
        catch (IOException failure)
        {
            throw new InputException($"{name}: cannot be read ({failure.Message})", inner: failure);
        }
    }
}
