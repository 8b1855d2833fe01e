using System.Buffers;

namespace Handbook.Data.Sources;

/// <summary>Puts <c>null</c> in the place of <c>NaN</c>, <c>Infinity</c> and <c>-Infinity</c>, which Python's writer uses
/// and JSON has no words for.</summary>
internal sealed class BareNumbers
{
    private readonly ArrayBufferWriter<byte> _word = new(16);
    private bool _inText, _escaped, _hasReplaced;

    /// <summary>The text with such words replaced; null where it has none.</summary>
    public static byte[]? Replace(ReadOnlySpan<byte> text)
    {
        if (text.IndexOf("NaN"u8) < 0 && text.IndexOf("Infinity"u8) < 0)
            return null;
        var (words, output) = (new BareNumbers(), new ArrayBufferWriter<byte>(text.Length + 64));
        words.Take(text, output);
        words.End(output);
        return words._hasReplaced ? output.WrittenSpan.ToArray() : null;
    }

    /// <summary>Takes the next bytes of a text and writes what is to stand in their place; a word that may go on is kept back.</summary>
    public void Take(ReadOnlySpan<byte> text, IBufferWriter<byte> output)
    {
        while (!text.IsEmpty)
        {
            var count = 0;
            if (_word.WrittenCount > 0)
            {
                while (count < text.Length && char.IsAsciiLetter((char)text[count]))
                    count++;
                _word.Write(text[..count]);
                if (count < text.Length)
                    End(output);
            }
            else if (_inText)
            {
                count = TextLength(text);
                output.Write(text[..count]);
            }
            else
            {
                count = text.IndexOfAny("\"NI-"u8) is >= 0 and var begin ? begin : text.Length;
                output.Write(text[..count]);
                if (count < text.Length)
                {
                    _inText = text[count] == '"';
                    (_inText ? output : _word).Write(text.Slice(count++, 1));
                }
            }
            text = text[count..];
        }
    }

    /// <summary>Writes what was kept back.</summary>
    public void End(IBufferWriter<byte> output)
    {
        var word = _word.WrittenSpan;
        var isNumber = word.SequenceEqual("NaN"u8) || word.SequenceEqual("Infinity"u8) || word.SequenceEqual("-Infinity"u8);
        output.Write(isNumber ? "null"u8 : word);
        _hasReplaced |= isNumber;
        _word.ResetWrittenCount();
    }

    /// <summary>How many bytes go on inside a JSON text, its closing quote included.</summary>
    private int TextLength(ReadOnlySpan<byte> text)
    {
        if (_escaped)
        {
            _escaped = false;
            return 1;
        }
        var end = text.IndexOfAny((byte)'"', (byte)'\\');
        if (end < 0)
            return text.Length;
        (_inText, _escaped) = (text[end] != '"', text[end] == '\\');
        return end + 1;
    }
}

/// <summary>A stream of JSON with Python's words for numbers that are none replaced by null.</summary>
internal sealed class BareNumberStream(Stream source) : ReadOnlyStream
{
    private readonly BareNumbers _words = new();
    private readonly ArrayBufferWriter<byte> _output = new(1 << 17);
    private readonly byte[] _input = new byte[1 << 16];
    private int _given;
    private bool _ended;

    public override int Read(Span<byte> buffer)
    {
        while (_given == _output.WrittenCount && !_ended)
        {
            _output.ResetWrittenCount();
            _given = 0;
            var read = source.Read(_input);
            _words.Take(_input.AsSpan(0, read), _output);
            _ended = read == 0;
            if (_ended)
                _words.End(_output);
        }
        var count = Math.Min(buffer.Length, _output.WrittenCount - _given);
        _output.WrittenSpan.Slice(_given, count).CopyTo(buffer);
        _given += count;
        return count;
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
            source.Dispose();
        base.Dispose(disposing);
    }
}
