using System.Buffers.Binary;
using System.Text;
using System.Text.Json;
using Handbook.Base;
using Handbook.Torch;

namespace Handbook.Models.Files;

/// <summary>One tensor as a safetensors header describes it; the offsets count from the end of the header.</summary>
/// <param name="TypeName">The format's name of the element type, e.g. <c>BF16</c>.</param>
internal sealed record SafetensorsEntry(string Name, string TypeName, ValueList<long> Shape, long Begin, long End);

/// <summary>The header of a safetensors file: eight bytes of length, then JSON. Everything about it is checked here.</summary>
/// <remarks>
/// The format's rules: length at most 100,000,000; JSON object in UTF-8 that begins with <c>{</c>, trailing spaces allowed, no key twice;
/// <c>__metadata__</c> maps texts to texts; the tensors' bytes follow one another without gap or overlap and end with the file.
/// </remarks>
internal sealed class SafetensorsHeader
{
    public const long LongestHeader = 100_000_000;

    public required IReadOnlyDictionary<string, string> Metadata { get; init; }

    /// <summary>In the order of their bytes.</summary>
    public required IReadOnlyList<SafetensorsEntry> Entries { get; init; }

    /// <summary>Where the tensors' bytes begin in the file.</summary>
    public required long DataStart { get; init; }

    /// <summary>Bits of one element, for every type name of the format.</summary>
    private static int? Bits(string typeName) => typeName switch
    {
        "F4" => 4,
        "F6_E2M3" or "F6_E3M2" => 6,
        "BOOL" or "U8" or "I8" or "F8_E5M2" or "F8_E4M3" or "F8_E8M0" or "F8_E4M3FNUZ" or "F8_E5M2FNUZ" => 8,
        "I16" or "U16" or "F16" or "BF16" => 16,
        "I32" or "U32" or "F32" => 32,
        "I64" or "U64" or "F64" or "C64" => 64,
        _ => null,
    };

    /// <summary>The element types we compute with; null for those we can only pass by.</summary>
    public static DType? ToDType(string typeName) => typeName switch
    {
        "BOOL" => DType.Bool,
        "U8" => DType.UInt8,
        "I8" => DType.Int8,
        "I16" => DType.Int16,
        "I32" => DType.Int32,
        "I64" => DType.Int64,
        "F8_E5M2" => DType.Float8E5M2,
        "F8_E4M3" => DType.Float8E4M3,
        "F16" => DType.Float16,
        "BF16" => DType.BFloat16,
        "F32" => DType.Float32,
        "F64" => DType.Float64,
        _ => null,
    };

    public static string ToTypeName(DType dtype) => dtype switch
    {
        DType.Bool => "BOOL",
        DType.UInt8 => "U8",
        DType.Int8 => "I8",
        DType.Int16 => "I16",
        DType.Int32 => "I32",
        DType.Int64 => "I64",
        DType.Float8E5M2 => "F8_E5M2",
        DType.Float8E4M3 => "F8_E4M3",
        DType.Float16 => "F16",
        DType.BFloat16 => "BF16",
        DType.Float32 => "F32",
        DType.Float64 => "F64",
        _ => throw new ArgumentOutOfRangeException(nameof(dtype), dtype, "safetensors has no such element type"),
    };

    public static unsafe SafetensorsHeader Read(MappedFile file)
    {
        if (file.Length < 8)
            throw Broken(file, $"has {file.Length} bytes, and even an empty safetensors file has 8", "is the download complete?");
        var length = BinaryPrimitives.ReadUInt64LittleEndian(new ReadOnlySpan<byte>(file.Pointer, 8));
        if (length > LongestHeader)
            throw Broken(file, $"states a header of {length} bytes, more than the format's {LongestHeader}",
                "is this a safetensors file? a PyTorch file ends in .bin or .pt");
        if ((long)length > file.Length - 8)
            throw Broken(file, $"states a header of {length} bytes, but only {file.Length - 8} follow", "is the download complete?");
        var json = file.Slice(8, (long)length);
        if (length == 0 || json[0] != (byte)'{')
            throw Broken(file, "has a header that does not begin with {", "is this a safetensors file?");
        var start = 8 + (long)length;
        try
        {
            // Utf8JsonReader itself accepts broken UTF-8 inside names until they are read.
            if (!System.Text.Unicode.Utf8.IsValid(json))
                throw Broken(file, "has a header that is not UTF-8");
            var (metadata, entries) = Parse(file, json);
            Layout(file, entries, file.Length - start);
            return new() { Metadata = metadata, Entries = entries, DataStart = start };
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or DecoderFallbackException)
        {
            throw Broken(file, $"has a header that is not valid JSON: {(e is JsonException broken ? JsonMistake.Of(broken) : "a text in it is not valid Unicode")}", inner: e);
        }
    }

    private static (Dictionary<string, string> Metadata, List<SafetensorsEntry> Entries) Parse(MappedFile file, ReadOnlySpan<byte> json)
    {
        var reader = new Utf8JsonReader(json, new() { MaxDepth = 8 });
        var metadata = new Dictionary<string, string>();
        var entries = new List<SafetensorsEntry>();
        var seen = new HashSet<string>();
        reader.Read();
        while (reader.Read() && reader.TokenType != JsonTokenType.EndObject)
        {
            var name = reader.GetString()!;
            if (!seen.Add(name))
                throw Broken(file, $"has tensor \"{name}\" twice");
            reader.Read();
            if (reader.TokenType != JsonTokenType.StartObject)
                throw Broken(file, $"has no object for tensor \"{name}\"");
            if (name == "__metadata__")
                ReadMetadata(file, ref reader, metadata);
            else
                entries.Add(ReadEntry(file, ref reader, name));
        }
        if (reader.Read()) // anything but spaces after the object throws
            throw Broken(file, "has more than one JSON value in its header");
        return (metadata, entries);
    }

    private static void ReadMetadata(MappedFile file, ref Utf8JsonReader reader, Dictionary<string, string> metadata)
    {
        while (reader.Read() && reader.TokenType != JsonTokenType.EndObject)
        {
            var key = reader.GetString()!;
            reader.Read();
            if (reader.TokenType != JsonTokenType.String)
                throw Broken(file, $"has a value that is not a text for \"{key}\" in __metadata__");
            if (!metadata.TryAdd(key, reader.GetString()!))
                throw Broken(file, $"has \"{key}\" twice in __metadata__");
        }
    }

    private static SafetensorsEntry ReadEntry(MappedFile file, ref Utf8JsonReader reader, string name)
    {
        string? type = null;
        List<long>? shape = null, offsets = null;
        while (reader.Read() && reader.TokenType != JsonTokenType.EndObject)
        {
            var key = reader.GetString();
            reader.Read();
            switch (key)
            {
                case "dtype" when type is null && reader.TokenType == JsonTokenType.String:
                    type = reader.GetString();
                    break;
                case "shape" when shape is null:
                    shape = ReadSizes(file, ref reader, name, key);
                    break;
                case "data_offsets" when offsets is null:
                    offsets = ReadSizes(file, ref reader, name, key);
                    break;
                default:
                    throw Broken(file, $"tensor \"{name}\" has an unknown, repeated or misshapen key \"{key}\"");
            }
        }
        if (type is null || shape is null || offsets is null)
            throw Broken(file, $"tensor \"{name}\" lacks dtype, shape or data_offsets");
        if (offsets.Count != 2)
            throw Broken(file, $"tensor \"{name}\" has {offsets.Count} data_offsets instead of 2");
        if (Bits(type) is not { } bits)
            throw Broken(file, $"tensor \"{name}\" has the unknown element type \"{type}\"");
        var (begin, end) = (offsets[0], offsets[1]);
        if (begin > end)
            throw Broken(file, $"tensor \"{name}\" ends at {end}, before it begins at {begin}");
        var need = ByteCount(shape, bits)
            ?? throw Broken(file,
                $"tensor \"{name}\" of shape [{string.Join(", ", shape)}] and type {type} is too large, or not of whole bytes");
        if (need != end - begin)
            throw Broken(file, $"tensor \"{name}\" of shape [{string.Join(", ", shape)}] and type {type} needs {need} bytes, but its "
                + $"data_offsets span {end - begin}");
        return new(name, type, [.. shape], begin, end);
    }

    private static long? ByteCount(List<long> shape, int bits)
    {
        // A zero anywhere makes the tensor empty, however large the rest: still an overflow by the reference's rules.
        Int128 count = bits;
        foreach (var size in shape)
        {
            count *= size;
            if (count > long.MaxValue)
                return null;
        }
        return count % 8 == 0 ? (long)(count / 8) : null;
    }

    private static List<long> ReadSizes(MappedFile file, ref Utf8JsonReader reader, string name, string key)
    {
        var sizes = new List<long>();
        if (reader.TokenType != JsonTokenType.StartArray)
            throw Broken(file, $"tensor \"{name}\" has a {key} that is not a list");
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            if (reader.TokenType != JsonTokenType.Number || !reader.TryGetInt64(out var size) || size < 0)
                throw Broken(file, $"tensor \"{name}\" has a {key} with an entry that is not a whole number of at least "
                    + $"0: {Encoding.UTF8.GetString(reader.ValueSpan)}");
            sizes.Add(size);
        }
        return sizes;
    }

    /// <summary>Sorts the tensors by their bytes and checks that these cover the data exactly.</summary>
    private static void Layout(MappedFile file, List<SafetensorsEntry> entries, long dataLength)
    {
        entries.Sort((a, b) => (a.Begin, a.End).CompareTo((b.Begin, b.End)));
        var at = 0L;
        foreach (var entry in entries)
        {
            if (entry.End > dataLength)
                throw Broken(file, $"tensor \"{entry.Name}\" ends at {entry.End}, but the file has {dataLength} bytes of data",
                    "is the download complete?");
            if (entry.Begin < at)
                throw Broken(file, $"tensor \"{entry.Name}\" begins at {entry.Begin}, inside the one before it, which ends at {at}");
            if (entry.Begin > at)
                throw Broken(file, $"tensor \"{entry.Name}\" begins at {entry.Begin}, leaving {entry.Begin - at} bytes after the one "
                    + "before it that belong to none");
            at = entry.End;
        }
        if (at != dataLength)
            throw Broken(file, $"has {dataLength - at} bytes after its last tensor that belong to none");
    }

    private static InputException Broken(MappedFile file, string what,
        string fix = "fetch the file again, or save it again with the tool that made it", Exception? inner = null) =>
        new($"{file.Path}: {what}", fix: fix, inner: inner);
}
