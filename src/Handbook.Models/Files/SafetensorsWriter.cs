using System.Buffers.Binary;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Handbook.Torch;

namespace Handbook.Models.Files;

/// <summary>Writes safetensors files byte for byte as the reference library does: widest type first, then by name, header
/// padded to eight bytes.</summary>
internal static class SafetensorsWriter
{
    // The reference's order of types; it sorts them descending.
    private static readonly DType[] _order =
        [DType.Bool, DType.UInt8, DType.Int8, DType.Float8E5M2, DType.Float8E4M3, DType.Int16, DType.Float16, DType.BFloat16, DType.Int32,
            DType.Float32, DType.Float64, DType.Int64];

    /// <param name="stream">Where the file goes.</param>
    /// <param name="metadata">Free texts; <c>format: pt</c> is what the Python library asks for.</param>
    /// <returns>The SHA-256 of each tensor's bytes as they were produced, to compare with what is on disk.</returns>
    public static IReadOnlyDictionary<string, byte[]> Write(Stream stream, IEnumerable<TensorToSave> tensors,
        IReadOnlyDictionary<string, string>? metadata)
    {
        var sorted = tensors.ToArray();
        Array.Sort(sorted, Compare);
        stream.Write(Header(sorted, metadata));
        var hashes = new Dictionary<string, byte[]>();
        foreach (var tensor in sorted)
        {
            using var hashing = new HashingStream(stream);
            tensor.Write(hashing);
            if (hashing.Position != tensor.Info.ByteCount)
                throw new InvalidOperationException(
                    $"tensor {tensor.Info.Name} wrote {hashing.Position} bytes instead of {tensor.Info.ByteCount}");
            hashes.Add(tensor.Info.Name, hashing.Hash());
        }
        return hashes;
    }

    private static int Compare(TensorToSave a, TensorToSave b)
    {
        var byType = Array.IndexOf(_order, b.Info.DType).CompareTo(Array.IndexOf(_order, a.Info.DType));
        return byType != 0 ? byType : Encoding.UTF8.GetBytes(a.Info.Name).AsSpan().SequenceCompareTo(Encoding.UTF8.GetBytes(b.Info.Name));
    }

    private static byte[] Header(TensorToSave[] tensors, IReadOnlyDictionary<string, string>? metadata)
    {
        using var json = new MemoryStream();
        json.Write(new byte[8]);
        using (var writer = new Utf8JsonWriter(json, new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            writer.WriteStartObject();
            if (metadata is { Count: > 0 })
            {
                writer.WriteStartObject("__metadata__");
                foreach (var (key, value) in metadata.OrderBy(m => m.Key, StringComparer.Ordinal))
                    writer.WriteString(key, value);
                writer.WriteEndObject();
            }
            var at = 0L;
            foreach (var tensor in tensors)
            {
                writer.WriteStartObject(tensor.Info.Name);
                writer.WriteString("dtype", SafetensorsHeader.ToTypeName(tensor.Info.DType));
                WriteNumbers(writer, "shape", tensor.Info.Shape.Span);
                WriteNumbers(writer, "data_offsets", [at, at += tensor.Info.ByteCount]);
                writer.WriteEndObject();
            }
            writer.WriteEndObject();
        }
        while (json.Length % 8 != 0)
            json.WriteByte((byte)' ');
        var bytes = json.ToArray();
        BinaryPrimitives.WriteInt64LittleEndian(bytes, bytes.Length - 8);
        return bytes;
    }

    private static void WriteNumbers(Utf8JsonWriter writer, string key, ReadOnlySpan<long> numbers)
    {
        writer.WriteStartArray(key);
        foreach (var number in numbers)
            writer.WriteNumberValue(number);
        writer.WriteEndArray();
    }
}
