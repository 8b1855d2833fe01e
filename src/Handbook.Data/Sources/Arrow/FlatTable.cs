using System.Buffers.Binary;
using System.Text;

namespace Handbook.Data.Sources.Arrow;

/// <summary>One table of a FlatBuffers message, read in place. Fields are numbered in the order of the schema.</summary>
internal readonly struct FlatTable(ReadOnlyMemory<byte> bytes, int position)
{
    /// <summary>The root table of a message.</summary>
    public static FlatTable Root(ReadOnlyMemory<byte> bytes) => new(bytes, BinaryPrimitives.ReadInt32LittleEndian(bytes.Span));

    private ReadOnlySpan<byte> Span => bytes.Span;

    public bool Has(int field) => Place(field) != 0;

    public byte Byte(int field, byte absent = 0) => Place(field) is var place and not 0 ? Span[place] : absent;

    public short Short(int field, short absent = 0) => Place(field) is var place and not 0 ? BinaryPrimitives.ReadInt16LittleEndian(Span[place..]) : absent;

    public int Int(int field, int absent = 0) => Place(field) is var place and not 0 ? BinaryPrimitives.ReadInt32LittleEndian(Span[place..]) : absent;

    public long Long(int field, long absent = 0) => Place(field) is var place and not 0 ? BinaryPrimitives.ReadInt64LittleEndian(Span[place..]) : absent;

    public string Text(int field) => Place(field) is var place and not 0 && Follow(place) is var start
        ? Encoding.UTF8.GetString(Span.Slice(start + 4, BinaryPrimitives.ReadInt32LittleEndian(Span[start..])))
        : "";

    public FlatTable? Table(int field) => Place(field) is var place and not 0 ? new FlatTable(bytes, Follow(place)) : null;

    /// <summary>The tables of a vector of tables.</summary>
    public FlatTable[] Tables(int field)
    {
        var (start, count) = Vector(field);
        var tables = new FlatTable[count];
        for (var i = 0; i < count; i++)
            tables[i] = new FlatTable(bytes, Follow(start + (4 * i)));
        return tables;
    }

    /// <summary>The pairs of 64-bit numbers of a vector of such structs.</summary>
    public (long First, long Second)[] Pairs(int field)
    {
        var (start, count) = Vector(field);
        var pairs = new (long, long)[count];
        for (var i = 0; i < count; i++)
            pairs[i] = (BinaryPrimitives.ReadInt64LittleEndian(Span[(start + (16 * i))..]), BinaryPrimitives.ReadInt64LittleEndian(Span[(start + (16 * i) + 8)..]));
        return pairs;
    }

    private (int Start, int Count) Vector(int field)
    {
        if (Place(field) is var place && place == 0)
            return (0, 0);
        var start = Follow(place);
        var count = BinaryPrimitives.ReadInt32LittleEndian(Span[start..]);
        return count >= 0 && count <= bytes.Length ? (start + 4, count) : throw new ArgumentOutOfRangeException(nameof(field), $"a list of {count} entries");
    }

    // Offsets only lead forward, so that no table can contain itself.
    private int Follow(int place)
    {
        var offset = BinaryPrimitives.ReadInt32LittleEndian(Span[place..]);
        return offset > 0 ? place + offset : throw new ArgumentOutOfRangeException(nameof(place), $"an offset of {offset}");
    }

    /// <summary>Where a field's value stands; 0 where the field is absent.</summary>
    private int Place(int field)
    {
        var table = position - BinaryPrimitives.ReadInt32LittleEndian(Span[position..]);
        var size = BinaryPrimitives.ReadUInt16LittleEndian(Span[table..]);
        var slot = 4 + (2 * field);
        var offset = slot < size ? BinaryPrimitives.ReadUInt16LittleEndian(Span[(table + slot)..]) : (ushort)0;
        return offset == 0 ? 0 : position + offset;
    }
}
