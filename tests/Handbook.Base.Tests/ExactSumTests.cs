using System.Numerics;

namespace Handbook.Base.Tests;

public sealed class ExactSumTests
{
    [Theory]
    [InlineData(new double[0], 0)]
    [InlineData(new[] { 0.1, 0.2, 0.3 }, 0.6)]
    [InlineData(new[] { 1e100, 1, -1e100 }, 1)]
    [InlineData(new[] { 1, 1e100, 1, -1e100 }, 2)]
    [InlineData(new[] { 1.0, 1.1102230246251565e-16, 1e-30 }, 1.0000000000000002)]        // a tie that the smallest decides
    [InlineData(new[] { 1.0, 1.1102230246251565e-16, -1e-30 }, 1.0)]
    [InlineData(new[] { double.PositiveInfinity, 1 }, double.PositiveInfinity)]
    [InlineData(new[] { double.PositiveInfinity, double.NegativeInfinity, 1 }, double.NaN)]
    [InlineData(new[] { 1, double.NaN }, double.NaN)]
    public void The_sum_is_rounded_once(double[] numbers, double sum) => Assert.Equal(sum, ExactSum.Of(numbers).Value);

    [Fact]
    public void Order_and_grouping_change_no_bit()
    {
        var random = new Random(1);
        for (var round = 0; round < 200; round++)
        {
            double[] numbers = [.. Enumerable.Range(0, 100).Select(_ => (random.NextDouble() - 0.5) * Math.Pow(2, random.Next(-60, 60)))];
            var expected = Exact(numbers);
            random.Shuffle(numbers);
            var parts = numbers.Chunk(random.Next(1, 40)).Select(part => ExactSum.Of(part)).ToArray();
            random.Shuffle(parts);
            var sum = new ExactSum();
            foreach (var part in parts)
                sum.Add(ExactSum.Of(part.Parts));
            Assert.Equal(expected, sum.Value);
        }
    }

    // As a whole number of 2^-200.
    private static double Exact(double[] numbers)
    {
        var sum = BigInteger.Zero;
        foreach (var number in numbers)
        {
            var bits = BitConverter.DoubleToInt64Bits(number);
            var (exponent, fraction) = ((int)(bits >> 52 & 0x7FF), bits & (1L << 52) - 1 | 1L << 52);
            sum += (number < 0 ? -1 : 1) * ((BigInteger)fraction << (exponent - 1075 + 200));
        }
        if (sum.IsZero)
            return 0;
        var size = BigInteger.Abs(sum);
        var shift = Math.Max(0, (int)size.GetBitLength() - 53);
        var (high, rest) = (size >> shift, size & (BigInteger.One << shift) - 1);
        var half = shift == 0 ? BigInteger.Zero : BigInteger.One << (shift - 1);
        if (shift > 0 && (rest > half || rest == half && !high.IsEven))
            high++;
        return sum.Sign * Math.ScaleB((double)high, shift - 200);
    }
}
