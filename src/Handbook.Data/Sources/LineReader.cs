using Handbook.Base;

namespace Handbook.Data.Sources;

/// <summary>Reads the lines of a UTF-8 stream as bytes, with their numbers. Lines end with LF or CRLF; a byte order
/// mark is passed over.</summary>
internal sealed class LineReader(Stream stream, string name) : IDisposable
{
    private readonly ReadBuffer _buffer = new(stream, name);

    /// <summary>Number of the line last read, from 1.</summary>
    public long Line { get; private set; }

    /// <summary>The next line without its end; valid until the next call.</summary>
    public bool TryRead(out ReadOnlySpan<byte> line)
    {
        var searched = 0;
        while (true)
        {
            var rest = _buffer.Rest;
            var end = rest[searched..].IndexOf((byte)'\n');
            if (end >= 0 || _buffer.IsLast)
            {
                if (end < 0 && rest.IsEmpty)
                {
                    line = default;
                    return false;
                }
                var length = end < 0 ? rest.Length : searched + end;
                _buffer.Take(end < 0 ? length : length + 1);
                line = rest[..length];
                if (line is [.., (byte)'\r'])
                    line = line[..^1];
                if (Line++ == 0 && line is [0xFF, 0xFE, ..] or [0xFE, 0xFF, ..])
                    throw new InputException($"{name}: is UTF-16, as its first two bytes say",
                        fix: $"name it: dataset_encoding: utf-16, or convert the file: iconv -f UTF-16 -t UTF-8 {name}");
                return true;
            }
            searched = rest.Length;
            _buffer.Fill(() => new($"{name}:{Line + 1}: the line is longer than 512 MiB",
                fix: "split the row, or give the file as Parquet"));
        }
    }

    public void Dispose() => _buffer.Dispose();
}
