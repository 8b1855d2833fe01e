using Handbook.Base;

namespace Handbook.Data.Sources;

/// <summary>The part of a stream that is under way: bytes that were read and not yet taken. Passes over the byte
/// order mark of UTF-8.</summary>
/// <param name="stream">Owned.</param>
/// <param name="name">The file, for messages.</param>
internal sealed class ReadBuffer(Stream stream, string name) : IDisposable
{
    private const int Largest = 1 << 29;

    private byte[] _bytes = new byte[1 << 17];
    private int _start, _end;
    private bool _begun;

    /// <summary>What was read and not taken; valid until more is read.</summary>
    public ReadOnlySpan<byte> Rest => _bytes.AsSpan(_start, _end - _start);

    /// <summary>Whether <see cref="Rest"/> is all that there is.</summary>
    public bool IsLast { get; private set; }

    public void Take(int count) => _start += count;

    /// <summary>Reads more behind <see cref="Rest"/>, which may grow to 512 MiB.</summary>
    /// <param name="tooLarge">What to throw where it would grow further.</param>
    public void Fill(Func<InputException> tooLarge)
    {
        if (_start > 0)
        {
            Rest.CopyTo(_bytes);
            (_start, _end) = (0, _end - _start);
        }
        else if (_end == _bytes.Length)
        {
            if (_bytes.Length > Largest)
                throw tooLarge();
            Array.Resize(ref _bytes, 2 * _bytes.Length);
        }
        Read();
        if (_begun)
            return;
        _begun = true;
        while (!IsLast && _end < 3)
            Read();
        if (Rest.StartsWith("\uFEFF"u8))
            Take(3);
    }

    public void Dispose() => stream.Dispose();

    private void Read()
    {
        try
        {
            var read = stream.Read(_bytes.AsSpan(_end));
            _end += read;
            IsLast = read == 0;
        }
        catch (InvalidDataException failure)
        {
            throw new InputException($"{name}: the compressed data is damaged or truncated ({failure.Message})",
                fix: $"check it: gzip -t {name}; then copy or download it again", inner: failure);
        }
        catch (System.Text.DecoderFallbackException failure)
        {
            throw new InputException($"{name}: holds bytes that the named encoding does not have ({failure.Message})",
                fix: "check the encoding: file --mime " + name, inner: failure);
        }
        catch (ZstdSharp.ZstdException failure)
        {
            throw new InputException($"{name}: is not a valid zstd stream ({failure.Message})",
                fix: "copy or download it again", inner: failure);
        }
        catch (EndOfStreamException failure)
        {
            throw new InputException($"{name}: the zstd stream ends in the middle; the file is truncated",
                fix: "copy or download it again", inner: failure);
        }
        catch (IOException failure)
        {
            throw new InputException($"{name}: cannot be read ({failure.Message})", inner: failure);
        }
    }
}
