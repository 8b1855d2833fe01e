using Handbook.Base;
using Handbook.Models.Files;
using Handbook.Torch;

namespace Handbook.Models.Tests;

public sealed class VocabularyGrowthTests
{
    [Theory]
    [InlineData(100, 100, null, null)]
    [InlineData(98, 100, null, null)]           // rows that are there are never taken away
    [InlineData(102, 100, null, 102)]
    [InlineData(102, 100, 64, 128)]
    [InlineData(98, 100, 64, 128)]
    [InlineData(98, 128, 64, null)]
    public void Tables_get_as_many_rows_as_the_tokens_need_or_a_multiple(int ids, int rows, int? multiple, int? expected) =>
        Assert.Equal(expected, VocabularyGrowth.RowsFor(ids, rows, multiple));

    [Fact] // 40,000 draws: a mean is known to 1/200 of its deviation, a covariance to about 1 in 140; rounding to float32 adds less
    public void New_rows_have_the_mean_and_a_billionth_of_the_covariance_of_the_old_ones()
    {
        const int old = 60, drawn = 40_000, width = 3;
        var random = new Random(5);
        var values = new float[old * width];
        for (var i = 0; i < old; i++)
        {
            var common = random.NextSingle() - 0.5f;        // so that columns are correlated
            for (var k = 0; k < width; k++)
                values[i * width + k] = (common + (k + 1) * 0.3f * (random.NextSingle() - 0.5f)) * 0.01f;
        }
        var rows = Grow(values, [old, width], new(old + drawn, 7), "table");
        Assert.Equal(values, rows[..values.Length]);
        var (mean, covariance) = Moments(values, width);
        var (newMean, newCovariance) = Moments(rows[values.Length..], width);
        for (var k = 0; k < width; k++)
        {
            Assert.Equal(mean[k], newMean[k], 1e-8);
            for (var l = 0; l < width; l++)
                Assert.Equal(1, newCovariance[k, l] / (1e-9 * covariance[k, l]), 0.06);
        }
    }

    [Fact]
    public void A_heads_bias_gets_the_mean_of_the_old_ones()
    {
        var rows = Grow([1, 2, 6], [3], new(5, 7), "bias");
        Assert.Equal([1, 2, 6], rows[..3]);
        Assert.All(rows[3..], value => Assert.Equal(3, value, 1e-6));
    }

    [Fact]
    public void The_same_seed_gives_the_same_rows_however_many_there_are()
    {
        float[] values = [.. Enumerable.Range(0, 20).Select(i => i * 0.37f % 1)];
        var (few, many) = (Grow(values, [10, 2], new(11, 3), "t"), Grow(values, [10, 2], new(14, 3), "t"));
        Assert.Equal(few, many[..22]);
        Assert.NotEqual(many[22..24], many[24..26]);
        Assert.NotEqual(few, Grow(values, [10, 2], new(11, 4), "t"));
    }

    [Fact]
    public void Rows_are_never_taken_away() => Assert.Contains("has 3 rows",
        Assert.Throws<InputException>(() => Grow([1, 2, 6], [3], new(2, 7), "bias")).Message, StringComparison.Ordinal);

    private static unsafe float[] Grow(float[] values, long[] shape, VocabularyGrowth growth, string name)
    {
        fixed (float* pointer = values)
        {
            using var owner = new NativeBuffer(0);
            var grown = growth.Grow(new(new(name, DType.Float32, [.. shape]), (nint)pointer, owner));
            using (grown.Owner)
                return System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(grown.Bytes).ToArray();
        }
    }

    private static (double[] Mean, double[,] Covariance) Moments(float[] values, int width)
    {
        var count = values.Length / width;
        var (mean, covariance) = (new double[width], new double[width, width]);
        for (var i = 0; i < values.Length; i++)
            mean[i % width] += (double)values[i] / count;
        for (var i = 0; i < count; i++)
            for (var k = 0; k < width; k++)
                for (var l = 0; l < width; l++)
                    covariance[k, l] += (values[i * width + k] - mean[k]) * (values[i * width + l] - mean[l]) / count;
        return (mean, covariance);
    }
}
