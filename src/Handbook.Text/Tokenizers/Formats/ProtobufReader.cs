using System.Buffers.Binary;

namespace Handbook.Text.Tokenizers.Formats;

/// <summary>Walks over the fields of one protobuf message, in the order in which they lie.</summary>
internal ref struct ProtobufReader(ReadOnlySpan<byte> message)
{
    private ReadOnlySpan<byte> _rest = message;
    private int _kind;
    private ulong _number;
    private ReadOnlySpan<byte> _bytes;

    /// <summary>Number of the field under way.</summary>
    public int Field { get; private set; }

    /// <summary>Reads the next field; false at the end of the message.</summary>
    /// <exception cref="FormatException">The bytes are no fields.</exception>
    public bool Next()
    {
        if (_rest.Length == 0)
            return false;
        var tag = Variable();
        (Field, _kind) = ((int)Math.Min(tag >> 3, int.MaxValue), (int)(tag & 7));
        if (Field == 0)
            throw new FormatException("a field has the number 0");
        _bytes = [];
        switch (_kind)
        {
            case 0:
                _number = Variable();
                break;
            case 1:
                _number = BinaryPrimitives.ReadUInt64LittleEndian(Take(8));
                break;
            case 2:
                _bytes = Take(Variable());
                break;
            case 5:
                _number = BinaryPrimitives.ReadUInt32LittleEndian(Take(4));
                break;
            default:
                throw new FormatException($"field {Field} is of the unknown kind {_kind}");
        }
        return true;
    }

    public readonly ReadOnlySpan<byte> Bytes() => _kind == 2 ? _bytes : throw Other("bytes");

    /// <exception cref="FormatException">The field is no text in UTF-8.</exception>
    public readonly string Text()
    {
        try
        {
            return StrictUtf8.Of(Bytes());
        }
        catch (System.Text.DecoderFallbackException broken)
        {
            throw new FormatException($"field {Field} is not valid UTF-8", broken);
        }
    }

    public readonly int Number() => _kind == 0 ? (int)(long)_number : throw Other("a number");

    public readonly bool Flag() => Number() != 0;

    public readonly float Float() => _kind == 5 ? BitConverter.UInt32BitsToSingle((uint)_number) : throw Other("a float");

    private readonly FormatException Other(string expected) => new($"field {Field} is not {expected}");

    private ulong Variable()
    {
        ulong value = 0;
        for (var shift = 0; shift < 64; shift += 7)
        {
            var next = Take(1)[0];
            value |= (ulong)(next & 0x7F) << shift;
            if (next < 0x80)
                return value;
        }
        throw new FormatException("a number does not end");
    }

    private ReadOnlySpan<byte> Take(ulong count)
    {
        if (count > (ulong)_rest.Length)
            throw new FormatException($"{count} bytes should follow, but there are {_rest.Length}");
        var taken = _rest[..(int)count];
        _rest = _rest[(int)count..];
        return taken;
    }
}
