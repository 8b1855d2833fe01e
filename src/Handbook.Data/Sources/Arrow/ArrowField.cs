namespace Handbook.Data.Sources.Arrow;

/// <summary>The Arrow types, with their numbers in the format.</summary>
internal enum ArrowType : byte
{
    None, Null, Int, FloatingPoint, Binary, Utf8, Bool, Decimal, Date, Time, Timestamp, Interval, List, Struct, Union, FixedSizeBinary,
    FixedSizeList, Map, Duration, LargeBinary, LargeUtf8, LargeList, RunEndEncoded, BinaryView, Utf8View, ListView, LargeListView,
}

/// <summary>One column of the schema, or one part of a nested column.</summary>
internal sealed record ArrowField
{
    public required string Name { get; init; }
    public required ArrowType Type { get; init; }
    public required ArrowField[] Children { get; init; }

    /// <summary>Bits of a number; bytes or items of a fixed-size type.</summary>
    public int Width { get; init; }

    public bool IsSigned { get; init; }

    /// <summary>Unit of a date or time, as the format numbers them.</summary>
    public int Unit { get; init; }

    /// <summary>Where values are numbers into a dictionary: the dictionary, and the type of the numbers.</summary>
    public (long Id, ArrowField Index)? Dictionary { get; init; }

    public static ArrowField From(FlatTable field)
    {
        var type = (ArrowType)field.Byte(2);
        var detail = field.Table(3);
        return new ArrowField
        {
            Name = field.Text(0),
            Type = type,
            Children = Array.ConvertAll(field.Tables(5), From),
            Width = type switch
            {
                ArrowType.Int => detail!.Value.Int(0),
                ArrowType.FloatingPoint => 16 << detail!.Value.Short(0),
                ArrowType.Date => detail!.Value.Short(0, 1) == 0 ? 32 : 64,
                ArrowType.Time => detail!.Value.Int(1, 32),
                ArrowType.FixedSizeBinary or ArrowType.FixedSizeList => detail!.Value.Int(0),
                ArrowType.Timestamp or ArrowType.Duration => 64,
                _ => 0,
            },
            IsSigned = type == ArrowType.Int && detail!.Value.Byte(1) != 0,
            Unit = type switch
            {
                ArrowType.Date or ArrowType.Time or ArrowType.Duration => detail!.Value.Short(0, 1),
                ArrowType.Timestamp => detail!.Value.Short(0),
                _ => 0,
            },
            Dictionary = field.Table(4) is { } dictionary
                ? (dictionary.Long(0), new ArrowField
                {
                    Name = "index",
                    Type = ArrowType.Int,
                    Children = [],
                    Width = dictionary.Table(1)?.Int(0) ?? 32,
                    IsSigned = (dictionary.Table(1)?.Byte(1) ?? 1) != 0,
                })
                : null,
        };
    }
}
