using System.Globalization;
using System.Text.Json;
using System.Text.Unicode;
using Apache.Arrow;
using Apache.Arrow.Arrays;
using Apache.Arrow.Types;

namespace Handbook.Data.Sources;

/// <summary>Writes values of Arrow columns as JSON: the form in which all rows arrive, whatever file they come from.</summary>
/// <remarks>
/// What JSON has no word for takes the nearest one: NaN and infinities are null, bytes are Base64, times are texts, a map of texts is an
/// object. A whole float keeps its point, so that it is told from an integer.
/// </remarks>
internal static class ArrowJson
{
    /// <summary>Writes one value.</summary>
    /// <exception cref="NotSupportedException">The column is of a type that has no form in JSON.</exception>
    /// <exception cref="InvalidDataException">A text is not UTF-8.</exception>
    public static void Write(Utf8JsonWriter json, IArrowArray column, int i)
    {
        if (column is ExtensionArray extended)
            Write(json, extended.Storage, i);
        else if (column.IsNull(i))
            json.WriteNullValue();
        else
            WriteValue(json, column, i);
    }

    private static void WriteValue(Utf8JsonWriter json, IArrowArray column, int i)
    {
        switch (column)
        {
            // Texts derive from bytes, so they stand before them.
            case StringArray texts:
                WriteText(json, texts.GetBytes(i));
                break;
            case LargeStringArray texts:
                WriteText(json, texts.GetBytes(i));
                break;
            case StringViewArray texts:
                WriteText(json, texts.GetBytes(i));
                break;
            case StructArray parts:
                WriteObject(json, parts, i);
                break;
            case MapArray map:
                WriteMap(json, map, i);
                break;
            case ListArray list:
                WriteItems(json, list.Values, list.ValueOffsets[i], list.ValueOffsets[i + 1]);
                break;
            case LargeListArray list:
                WriteItems(json, list.Values, checked((int)list.ValueOffsets[i]), checked((int)list.ValueOffsets[i + 1]));
                break;
            case Int64Array numbers:
                json.WriteNumberValue(numbers.Values[i]);
                break;
            case Int32Array numbers:
                json.WriteNumberValue(numbers.Values[i]);
                break;
            case DoubleArray numbers:
                WriteFloat(json, numbers.Values[i].ToString("R", CultureInfo.InvariantCulture));
                break;
            case FloatArray numbers:
                WriteFloat(json, numbers.Values[i].ToString("R", CultureInfo.InvariantCulture));
                break;
            case BooleanArray flags:
                json.WriteBooleanValue(flags.GetValue(i) == true);
                break;
            case DictionaryArray coded:
                Write(json, coded.Dictionary, Index(coded.Indices, i));
                break;
            default:
                WriteRareValue(json, column, i);
                break;
        }
    }

    private static void WriteRareValue(Utf8JsonWriter json, IArrowArray column, int i)
    {
        switch (column)
        {
            case Int8Array or Int16Array or UInt8Array or UInt16Array:
                json.WriteNumberValue(Index(column, i));
                break;
            case UInt32Array numbers:
                json.WriteNumberValue(numbers.Values[i]);
                break;
            case UInt64Array numbers:
                json.WriteNumberValue(numbers.Values[i]);
                break;
            case HalfFloatArray numbers:
                WriteFloat(json, numbers.Values[i].ToString(CultureInfo.InvariantCulture));
                break;
            case Decimal128Array numbers:
                json.WriteRawValue(numbers.GetString(i)!);
                break;
            case Decimal256Array numbers:
                json.WriteRawValue(numbers.GetString(i)!);
                break;
            case Decimal64Array numbers:
                json.WriteRawValue(numbers.GetValue(i)!.Value.ToString(CultureInfo.InvariantCulture));
                break;
            case Decimal32Array numbers:
                json.WriteRawValue(numbers.GetValue(i)!.Value.ToString(CultureInfo.InvariantCulture));
                break;
            case FixedSizeBinaryArray bytes:
                json.WriteBase64StringValue(bytes.GetBytes(i));
                break;
            case BinaryArray bytes:
                json.WriteBase64StringValue(bytes.GetBytes(i));
                break;
            case LargeBinaryArray bytes:
                json.WriteBase64StringValue(bytes.GetBytes(i));
                break;
            case BinaryViewArray bytes:
                json.WriteBase64StringValue(bytes.GetBytes(i));
                break;
            case FixedSizeListArray list when list.Data.DataType is FixedSizeListType type:
                WriteItems(json, list.Values, (list.Offset + i) * type.ListSize, (list.Offset + i + 1) * type.ListSize);
                break;
            case ListViewArray list:
                WriteItems(json, list.Values, list.ValueOffsets[i], list.ValueOffsets[i] + list.Sizes[i]);
                break;
            default:
                json.WriteStringValue(TimeText(column, i) ?? throw new NotSupportedException($"the type {column.Data.DataType.Name}"));
                break;
        }
    }

    private static void WriteText(Utf8JsonWriter json, ReadOnlySpan<byte> text)
    {
        if (!Utf8.IsValid(text))
            throw new InvalidDataException(Excerpt.Of(text));
        json.WriteStringValue(text);
    }

    private static void WriteObject(Utf8JsonWriter json, StructArray parts, int i)
    {
        var type = (StructType)parts.Data.DataType;
        json.WriteStartObject();
        for (var f = 0; f < parts.Fields.Count; f++)
        {
            json.WritePropertyName(type.Fields[f].Name);
            Write(json, parts.Fields[f], i);
        }
        json.WriteEndObject();
    }

    /// <summary>A map whose keys are texts is an object; another is a list of its entries.</summary>
    private static void WriteMap(Utf8JsonWriter json, MapArray map, int i)
    {
        var (start, end) = (map.ValueOffsets[i], map.ValueOffsets[i + 1]);
        if (map.Keys is not StringArray keys)
        {
            WriteItems(json, map.KeyValues, start, end);
            return;
        }
        json.WriteStartObject();
        for (var entry = start; entry < end; entry++)
        {
            json.WritePropertyName(keys.GetBytes(entry));
            Write(json, map.Values, entry);
        }
        json.WriteEndObject();
    }

    private static void WriteItems(Utf8JsonWriter json, IArrowArray items, int start, int end)
    {
        json.WriteStartArray();
        for (var item = start; item < end; item++)
            Write(json, items, item);
        json.WriteEndArray();
    }

    private static void WriteFloat(Utf8JsonWriter json, string text)
    {
        if (!char.IsAsciiDigit(text[^1]))
            json.WriteNullValue();          // NaN and infinities have no JSON
        else
            json.WriteRawValue(text.AsSpan().ContainsAny(".E") ? text : text + ".0");       // a float stays one
    }

    /// <summary>A date, time or duration as text; null for other types.</summary>
    private static string? TimeText(IArrowArray column, int i) => column switch
    {
        Date32Array days => DateTime.UnixEpoch.AddDays(days.Values[i]).ToString("yyyy-MM-dd", CultureInfo.InvariantCulture),
        Date64Array days => DateTime.UnixEpoch.AddDays(days.Values[i] / 86_400_000).ToString("yyyy-MM-dd", CultureInfo.InvariantCulture),
        TimestampArray times when times.Data.DataType is TimestampType type =>
            DateTime.UnixEpoch.AddTicks(Ticks(times.Values[i], type.Unit))
                .ToString("yyyy-MM-dd HH:mm:ss.FFFFFFF", CultureInfo.InvariantCulture),
        DurationArray times when times.Data.DataType is DurationType type => Span(times.Values[i], type.Unit),
        Time32Array times when times.Data.DataType is Time32Type type => Span(times.Values[i], type.Unit),
        Time64Array times when times.Data.DataType is Time64Type type => Span(times.Values[i], type.Unit),
        _ => null,
    };

    private static string Span(long number, TimeUnit unit) =>
        TimeSpan.FromTicks(Ticks(number, unit)).ToString("c", CultureInfo.InvariantCulture);

    private static long Ticks(long number, TimeUnit unit) => unit switch
    {
        TimeUnit.Second => number * TimeSpan.TicksPerSecond,
        TimeUnit.Millisecond => number * TimeSpan.TicksPerMillisecond,
        TimeUnit.Microsecond => number * TimeSpan.TicksPerMicrosecond,
        _ => number / TimeSpan.NanosecondsPerTick,
    };

    private static int Index(IArrowArray numbers, int i) => numbers switch
    {
        Int8Array of => of.Values[i],
        Int16Array of => of.Values[i],
        Int32Array of => of.Values[i],
        Int64Array of => checked((int)of.Values[i]),
        UInt8Array of => of.Values[i],
        UInt16Array of => of.Values[i],
        UInt32Array of => checked((int)of.Values[i]),
        UInt64Array of => checked((int)of.Values[i]),
        _ => throw new NotSupportedException($"numbers of the type {numbers.Data.DataType.Name}"),
    };
}
