using System.Buffers.Binary;
using System.Globalization;
using System.Text.Json;

namespace Handbook.Data.Sources.Arrow;

/// <summary>The values of a column in one batch; they write themselves as JSON.</summary>
internal sealed class ArrowColumn
{
    public required ArrowField Field { get; init; }

    /// <summary>One bit a value, set where there is one; empty where all have one.</summary>
    public ReadOnlyMemory<byte> Validity { get; init; }

    /// <summary>Where each value begins in <see cref="Data"/> or in the child.</summary>
    public ReadOnlyMemory<byte> Offsets { get; init; }

    public ReadOnlyMemory<byte> Data { get; init; }

    public ArrowColumn[] Children { get; init; } = [];

    /// <summary>The dictionary's values, where <see cref="Data"/> holds numbers into it.</summary>
    public ArrowColumn? Dictionary { get; init; }

    public void Write(Utf8JsonWriter json, int i)
    {
        if (Field.Type == ArrowType.Null || (!Validity.IsEmpty && ((Validity.Span[i / 8] >> (i % 8)) & 1) == 0))
            json.WriteNullValue();
        else if (Dictionary is not null)
            Dictionary.Write(json, (int)Number(Field.Dictionary!.Value.Index, i));
        else
            WriteValue(json, i);
    }

    private void WriteValue(Utf8JsonWriter json, int i)
    {
        switch (Field.Type)
        {
            case ArrowType.Utf8 or ArrowType.LargeUtf8:
                json.WriteStringValue(Bytes(i));
                break;
            case ArrowType.Binary or ArrowType.LargeBinary:
                json.WriteBase64StringValue(Bytes(i));
                break;
            case ArrowType.FixedSizeBinary:
                json.WriteBase64StringValue(Data.Span.Slice(i * Field.Width, Field.Width));
                break;
            case ArrowType.Int when Field is { Width: 64, IsSigned: false }:
                json.WriteNumberValue(BinaryPrimitives.ReadUInt64LittleEndian(Data.Span[(8 * i)..]));
                break;
            case ArrowType.Int:
                json.WriteNumberValue(Number(Field, i));
                break;
            case ArrowType.FloatingPoint:
                WriteFloat(json, i);
                break;
            case ArrowType.Bool:
                json.WriteBooleanValue(((Data.Span[i / 8] >> (i % 8)) & 1) != 0);
                break;
            case ArrowType.Date or ArrowType.Time or ArrowType.Timestamp or ArrowType.Duration:
                json.WriteStringValue(TimeText(i));
                break;
            case ArrowType.List or ArrowType.LargeList or ArrowType.Map:
                WriteItems(json, Offset(i), Offset(i + 1));
                break;
            case ArrowType.FixedSizeList:
                WriteItems(json, i * Field.Width, (i + 1) * Field.Width);
                break;
            case ArrowType.Struct:
                json.WriteStartObject();
                foreach (var child in Children)
                {
                    json.WritePropertyName(child.Field.Name);
                    child.Write(json, i);
                }
                json.WriteEndObject();
                break;
            default:
                throw new NotSupportedException($"column {Field.Name} is of the type {Field.Type}");
        }
    }

    private void WriteItems(Utf8JsonWriter json, int start, int end)
    {
        json.WriteStartArray();
        for (var item = start; item < end; item++)
            Children[0].Write(json, item);
        json.WriteEndArray();
    }

    private void WriteFloat(Utf8JsonWriter json, int i)
    {
        var text = Field.Width switch
        {
            16 => BinaryPrimitives.ReadHalfLittleEndian(Data.Span[(2 * i)..]).ToString(CultureInfo.InvariantCulture),
            32 => BinaryPrimitives.ReadSingleLittleEndian(Data.Span[(4 * i)..]).ToString("R", CultureInfo.InvariantCulture),
            _ => BinaryPrimitives.ReadDoubleLittleEndian(Data.Span[(8 * i)..]).ToString("R", CultureInfo.InvariantCulture),
        };
        if (!char.IsAsciiDigit(text[^1]))
            json.WriteNullValue();          // NaN and infinities have no JSON
        else
            json.WriteRawValue(text.AsSpan().ContainsAny(".E") ? text : text + ".0");       // a float stays one
    }

    private string TimeText(int i)
    {
        var number = Field.Width == 32 ? BinaryPrimitives.ReadInt32LittleEndian(Data.Span[(4 * i)..]) : BinaryPrimitives.ReadInt64LittleEndian(Data.Span[(8 * i)..]);
        if (Field.Type == ArrowType.Date)
            return DateTime.UnixEpoch.AddDays(Field.Unit == 0 ? number : number / 86_400_000).ToString("yyyy-MM-dd", CultureInfo.InvariantCulture);
        var ticks = Field.Unit switch { 0 => number * TimeSpan.TicksPerSecond, 1 => number * TimeSpan.TicksPerMillisecond, 2 => number * 10, _ => number / 100 };
        return Field.Type == ArrowType.Timestamp
            ? DateTime.UnixEpoch.AddTicks(ticks).ToString("yyyy-MM-dd HH:mm:ss.FFFFFFF", CultureInfo.InvariantCulture)
            : TimeSpan.FromTicks(ticks).ToString("c", CultureInfo.InvariantCulture);
    }

    private long Number(ArrowField type, int i) => (type.Width, type.IsSigned) switch
    {
        (8, true) => (sbyte)Data.Span[i],
        (8, false) => Data.Span[i],
        (16, true) => BinaryPrimitives.ReadInt16LittleEndian(Data.Span[(2 * i)..]),
        (16, false) => BinaryPrimitives.ReadUInt16LittleEndian(Data.Span[(2 * i)..]),
        (32, true) => BinaryPrimitives.ReadInt32LittleEndian(Data.Span[(4 * i)..]),
        (32, false) => BinaryPrimitives.ReadUInt32LittleEndian(Data.Span[(4 * i)..]),
        _ => BinaryPrimitives.ReadInt64LittleEndian(Data.Span[(8 * i)..]),
    };

    private int Offset(int i) => Field.Type is ArrowType.LargeList or ArrowType.LargeUtf8 or ArrowType.LargeBinary
        ? checked((int)BinaryPrimitives.ReadInt64LittleEndian(Offsets.Span[(8 * i)..]))
        : BinaryPrimitives.ReadInt32LittleEndian(Offsets.Span[(4 * i)..]);

    private ReadOnlySpan<byte> Bytes(int i) => Data.Span[Offset(i)..Offset(i + 1)];
}
