using System.Runtime.InteropServices;
using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Torch;

namespace Handbook.Models.Tests;

public sealed class NewModelTests
{
    [Theory] // the test values that the generator's authors publish
    [InlineData(0u, 0u, 0u, 0u, 0u, 0u, 0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u)]
    [InlineData(0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu, 0x408f276du, 0x41c83b0eu, 0xa20bc7c6u,
        0x6d5451fdu)]
    [InlineData(0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u, 0xa4093822u, 0x299f31d0u, 0xd16cfe09u, 0x94fdccebu, 0x5001e420u,
        0x24126ea1u)]
    public void Philox_gives_its_published_words(uint c0, uint c1, uint c2, uint c3, uint k0, uint k1, uint w0, uint w1, uint w2,
        uint w3) =>
        Assert.Equal((w0, w1, w2, w3), NormalNumbers.Philox(c0, c1, c2, c3, k0, k1));

    [Fact]
    public void Any_part_of_the_stream_can_be_made_on_its_own()
    {
        var numbers = new NormalNumbers(42, "embed.weight");
        var (whole, part) = (new float[1003], new float[203]);
        numbers.Fill(0, whole, 1);
        numbers.Fill(800, part, 1);
        Assert.Equal(whole[800..], part);
    }

    [Fact]
    public void Numbers_are_normal()
    {
        var numbers = new float[1 << 20];
        new NormalNumbers(1, "x").Fill(0, numbers, 0.02);
        var mean = numbers.Average(x => (double)x);
        var variance = numbers.Average(x => (double)x * x);
        var within = numbers.Count(x => Math.Abs(x) < 0.02) / (double)numbers.Length;
        Assert.Equal(0, mean, 0.02 * 4 / 1024); // four standard errors of the mean of 2^20
        Assert.Equal(1, variance / 0.0004, 4 * Math.Sqrt(2.0 / numbers.Length));
        Assert.Equal(0.682689, within, 0.002); // P(|x| < σ)
    }

    [Fact] // the same recipe of hash, generator and formula in another language
    public void The_stream_never_changes()
    {
        var numbers = new float[4];
        new NormalNumbers(42, "embed.weight").Fill(0, numbers, 1);
        Assert.Equal([-2.34606814f, 0.0256335977f, -1.92876112f, 1.13710284f], numbers);
    }

    [Fact]
    public void A_new_gpt2_has_ones_zeros_and_smaller_residual_projections()
    {
        var config = Some.Gpt2(vocabulary: 400, hidden: 64, layers: 8);
        using var folder = new TemporaryFolder();
        WeightFilesWriter.Save(folder.Path, NewModel.Tensors(config, 3, DType.Float32));
        using var weights = ModelWeights.Open(folder.Path, config);

        Assert.All(weights.ReadSingles("layers.0.attention_norm.weight"), v => Assert.Equal(1, v));
        Assert.All(weights.ReadSingles("layers.7.attention.query.bias"), v => Assert.Equal(0, v));
        Assert.Equal(0.02, Deviation(weights.ReadSingles("layers.2.mlp.up.weight")), 0.0005);
        Assert.Equal(0.02 / 4, Deviation(weights.ReadSingles("layers.2.mlp.down.weight")), 0.0002); // 4 = √(2·8)
        Assert.NotEqual(weights.ReadSingles("layers.2.mlp.up.weight"), weights.ReadSingles("layers.3.mlp.up.weight"));
    }

    [Fact]
    public void The_same_seed_gives_the_same_file_and_another_seed_another()
    {
        var config = Some.Llama();
        using var folder = new TemporaryFolder();
        byte[] Make(long seed)
        {
            WeightFilesWriter.Save(folder.Path, NewModel.Tensors(config, seed, DType.BFloat16));
            return File.ReadAllBytes(folder["model.safetensors"]);
        }
        var first = Make(1);
        Assert.Equal(first, Make(1));
        Assert.NotEqual(first, Make(2));
    }

    private static double Deviation(float[] values) => Math.Sqrt(values.Average(v => (double)v * v));
}
