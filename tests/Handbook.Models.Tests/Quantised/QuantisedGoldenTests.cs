using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Torch.Quantised;

namespace Handbook.Models.Tests.Quantised;

/// <summary>Codes, scales and values of bitsandbytes, for every file of the golden values.</summary>
[Collection("tensors")]
public sealed class QuantisedGoldenTests
{
    private static string? Folder => SharedFiles.Root is { } root && Path.Combine(root, "golden", "quantised") is var folder
        && Directory.Exists(folder) ? folder : null;

    public static TheoryData<string> Files() => Folder is null ? [] : [.. Directory.GetFiles(Folder, "*.safetensors")
        .Select(file => Path.GetFileNameWithoutExtension(file)!).Where(name => name != "tables").Order(StringComparer.Ordinal)];

    [Trait("kind", "golden")]
    [Theory(SkipTestWithoutData = true), MemberData(nameof(Files))]
    public void Codes_are_equal_and_values_have_the_same_bits(string name)
    {
        using var scope = TensorScope.Enter();
        using var golden = SafetensorsFile.Open(SharedFiles.Need("golden", "quantised", name + ".safetensors"));
        foreach (var kind in (QuantisedKind[])[QuantisedKind.Nf4, QuantisedKind.Fp4])
            foreach (var isDouble in (bool[])[false, true])
                foreach (var type in (DType[])[DType.Float32, DType.BFloat16])
                {
                    var format = new QuantisedFormat(kind, isDouble);
                    var at = $"{format.Name}{(isDouble ? ".double" : "")}.{(type == DType.Float32 ? "f32" : "bf16")}.";
                    var weight = Read(golden, "weight").To(type);
                    using var coded = QuantisedCodec.Quantise(format, weight);
                    Assert.Equal(Bytes(golden, at + "packed"), coded.Codes.AsSpan<byte>());
                    Assert.Equal(Read(golden, at + "absmax").ToArray<float>(), coded.Scales.ToArray<float>());
                    if (isDouble)
                    {
                        Assert.Equal(Read(golden, at + "nested_absmax").ToArray<float>(), coded.NestedScales!.ToArray<float>());
                        Assert.Equal(Read(golden, at + "offset").ToScalar(), coded.Offset);
                    }
                    var matrix = new QuantisedMatrix([new(coded, 0, coded.Rows)], DType.Float32);
                    var expected = Read(golden, at + "dequantised");
                    Assert.Equal(expected.ToArray<float>().Select(BitConverter.SingleToInt32Bits),
                        matrix.Dense(expected.DType).ToArray<float>().Select(BitConverter.SingleToInt32Bits));
                }
        using var rows = QuantisedCodec.Quantise(new(QuantisedKind.Int8), Read(golden, "weight"));
        Assert.Equal(Bytes(golden, "int8.codes"), rows.Codes.To(DType.UInt8).AsSpan<byte>());
        Assert.Equal(Read(golden, "int8.row_absmax").ToArray<float>(), rows.Scales.ToArray<float>());
    }

    [Trait("kind", "golden")]
    [Fact]
    public void Code_books_are_equal()
    {
        using var scope = TensorScope.Enter();
        using var golden = SafetensorsFile.Open(SharedFiles.Need("golden", "quantised", "tables.safetensors"));
        Assert.Equal(Read(golden, "nf4").ToArray<float>(), CodeBook.Nf4.Values);
        Assert.Equal(Read(golden, "fp4").ToArray<float>(), CodeBook.Fp4.Values);
        Assert.Equal(Read(golden, "dynamic_signed").ToArray<float>(), CodeBook.Dynamic.Values);
    }

    private static ReadOnlySpan<byte> Bytes(SafetensorsFile file, string name) => file.Read(name).Bytes;

    private static unsafe Tensor Read(SafetensorsFile file, string name)
    {
        var data = file.Read(name);
        return Tensor.Wrap((void*)data.Pointer, data.Info.DType, [.. data.Info.Shape]).Clone();
    }
}
