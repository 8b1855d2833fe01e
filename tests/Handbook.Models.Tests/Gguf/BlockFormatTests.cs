using Handbook.Models.Gguf;

namespace Handbook.Models.Tests.Gguf;

/// <summary>Our blocks beside ggml's.</summary>
public sealed class BlockFormatTests
{
    private const int Columns = 512, Rows = 40;

    public static TheoryData<string> Blocks() => [.. BlockFormat.All.Where(format => format.Size > 1).Select(format => format.Name)];

    [Theory, MemberData(nameof(Blocks))]
    public void Blocks_of_ggml_are_read_as_ggml_reads_them(string name)
    {
        var format = BlockFormat.All.Single(one => one.Name == name);
        var encoded = GgmlBlocks.Encode(format.Code, Values(1), Columns, [], Bytes(format));
        var ours = new float[Rows * Columns];
        format.Decode(encoded, ours);
        var theirs = GgmlBlocks.Decode(name, encoded, ours.Length);
        // a product of three factors may be rounded in another order
        Assert.All(ours.Zip(theirs), pair => Assert.Equal(pair.Second, pair.First, 1e-6f * Math.Max(1, MathF.Abs(pair.Second))));
    }

    [Theory]
    [InlineData("q8_0", false)]
    [InlineData("q4_0", false)]
    [InlineData("q4_1", false)]
    [InlineData("q5_0", false)]
    [InlineData("q5_1", false)]
    [InlineData("q4_K", false)]
    [InlineData("q5_K", false)]
    [InlineData("q6_K", false)]
    [InlineData("q8_0", true)]
    [InlineData("q4_0", true)]
    [InlineData("q4_1", true)]
    [InlineData("q5_0", true)]
    [InlineData("q5_1", true)]
    [InlineData("q4_K", true)]
    [InlineData("q5_K", true)]
    [InlineData("q6_K", true)]
    public void Blocks_are_written_as_ggml_writes_them(string name, bool weighs)
    {
        var format = BlockFormat.All.Single(one => one.Name == name);
        var values = Values(2);
        var importance = weighs ? Array.ConvertAll(Values(3)[..Columns], value => value * value + 0.01f) : [];
        var theirs = GgmlBlocks.Encode(format.Code, values, Columns, importance, Bytes(format));
        var ours = new byte[theirs.Length];
        for (var row = 0; row < Rows; row++)
            format.Encode(values.AsSpan(row * Columns, Columns), importance, ours.AsSpan(row * (theirs.Length / Rows), theirs.Length / Rows));
        var same = ours.Zip(theirs).Count(pair => pair.First == pair.Second);
        Assert.True(same == ours.Length, $"{same} of {ours.Length} bytes");
    }

    [Fact]
    public void Zeros_and_single_values_stay()
    {
        foreach (var format in BlockFormat.All.Where(one => one.Size > 1 && one.Name is not ("q2_K" or "q3_K" or "iq4_nl" or "iq4_xs" or "mxfp4")))
        {
            var (encoded, back) = (new byte[format.Bytes], new float[format.Size]);
            format.Encode(new float[format.Size], [], encoded);
            format.Decode(encoded, back);
            Assert.All(back, value => Assert.Equal(0, value));
            var one = new float[format.Size];
            one[7] = -0.5f;
            format.Encode(one, [], encoded);
            format.Decode(encoded, back);
            Assert.Equal(-0.5f, back[7], 0.005f);
        }
    }

    private static int Bytes(BlockFormat format) => Rows * Columns / format.Size * format.Bytes;

    /// <summary>Numbers from a normal distribution, some of them large.</summary>
    private static float[] Values(int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, Rows * Columns).Select(i => (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble()))
            * Math.Cos(2 * Math.PI * random.NextDouble()) * (i % 97 == 0 ? 8 : 0.3)))];
    }
}
