namespace Handbook.Training.Reports;

/// <summary>The fields of one protocol buffer message, in their order, as they are encoded.</summary>
internal static class ProtoFields
{
    /// <summary>Each field with its number; <c>Bytes</c> is empty for numbers, <c>Number</c> is 0 for what has a length.</summary>
    /// <exception cref="FormatException">It is no message.</exception>
    public static List<(int Field, ulong Number, byte[] Bytes)> Of(ReadOnlySpan<byte> message)
    {
        var fields = new List<(int, ulong, byte[])>();
        while (!message.IsEmpty)
        {
            var key = Varint(ref message);
            var field = (int)(key >> 3);
            switch (key & 7)
            {
                case 0:
                    fields.Add((field, Varint(ref message), []));
                    break;
                case 1:
                    fields.Add((field, BitConverter.ToUInt64(Take(ref message, 8)), []));
                    break;
                case 2:
                    fields.Add((field, 0, Take(ref message, Varint(ref message)).ToArray()));
                    break;
                case 5:
                    fields.Add((field, BitConverter.ToUInt32(Take(ref message, 4)), []));
                    break;
                default:
                    throw new FormatException($"field {field} has the wire type {key & 7}");
            }
        }
        return fields;
    }

    private static ulong Varint(ref ReadOnlySpan<byte> message)
    {
        var value = 0UL;
        for (var shift = 0; shift < 64; shift += 7)
        {
            var next = Take(ref message, 1)[0];
            value |= (ulong)(next & 0x7f) << shift;
            if (next < 0x80)
                return value;
        }
        throw new FormatException("a number without an end");
    }

    private static ReadOnlySpan<byte> Take(ref ReadOnlySpan<byte> message, ulong count)
    {
        if (count > (ulong)message.Length)
            throw new FormatException("the message ends within a field");
        var taken = message[..(int)count];
        message = message[(int)count..];
        return taken;
    }
}
