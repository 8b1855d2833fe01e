using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Torch.Kernels;

namespace Handbook.Training.Tests.Optimizers;

/// <summary>The code books and block-wise codes of bitsandbytes' 8-bit optimisers.</summary>
[Trait("kind", "golden")]
public sealed unsafe class DynamicCodeGoldenTests
{
    [Fact]
    public void Both_code_books_are_the_reference_s_bit_for_bit()
    {
        using var file = SafetensorsFile.Open(SharedFiles.Need("golden", "quantised", "tables.safetensors"));
        Assert.Equal(Floats(file, "dynamic_signed"), DynamicCode.Signed.Values.ToArray());
        Assert.Equal(Floats(file, "dynamic_unsigned"), DynamicCode.Unsigned.Values.ToArray());
    }

    public static TheoryData<string> Files()
    {
        var data = new TheoryData<string>();
        if (SharedFiles.Root is { } root && Directory.Exists(Path.Combine(root, "golden", "quantised")))
            foreach (var file in Directory.GetFiles(Path.Combine(root, "golden", "quantised"), "*.safetensors")
                .Order(StringComparer.Ordinal))
                if (Path.GetFileName(file) is not "tables.safetensors" and var name)
                    data.Add(name);
        if (data.Count == 0)
            data.Add("normal.safetensors");
        return data;
    }

    [Theory, MemberData(nameof(Files))]
    public void Blocks_of_numbers_get_the_reference_s_codes(string name)
    {
        using var file = SafetensorsFile.Open(SharedFiles.Need("golden", "quantised", name));
        var weight = Floats(file, "weight");
        var sizes = new[] { 64, 256 }.Where(size => file.Names.Contains($"dynamic8.{size}.codes")).ToArray();
        Assert.NotEmpty(sizes);
        foreach (var size in sizes)
        {
            var (codes, scales) = (new byte[weight.Length + size], new List<float>());
            for (var at = 0; at < weight.Length; at += size)
            {
                var count = Math.Min(size, weight.Length - at);
                var block = new float[size];
                weight.AsSpan(at, count).CopyTo(block);
                fixed (float* values = block)
                fixed (byte* target = codes)
                    scales.Add(CodedStateKernel.Encode(values, count, DynamicCode.Signed, target + at));
            }
            Assert.Equal(file.Read($"dynamic8.{size}.codes").Bytes.ToArray(), codes[..weight.Length]);
            Assert.Equal(Floats(file, $"dynamic8.{size}.absmax"), scales);
            Assert.Equal(Floats(file, $"dynamic8.{size}.dequantised"),
                weight.Select((_, i) => DynamicCode.Signed.Values[codes[i]] * scales[i / size]).ToArray());
        }
    }

    private static float[] Floats(SafetensorsFile file, string name) =>
        System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(file.Read(name).Bytes).ToArray();
}
