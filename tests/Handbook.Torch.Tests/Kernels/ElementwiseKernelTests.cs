using Handbook.Base;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Tests.Kernels;

public sealed unsafe class ElementwiseKernelTests
{
    [Theory, InlineData(1), InlineData(15), InlineData(100), InlineData(70_001)]
    public void Conversion_to_bfloat16_rounds_as_the_scalar_conversion_does(int count)
    {
        var random = new Random(count);
        using var source = new Rows<float>(count);
        using var target = new Rows<BFloat16>(count);
        using var back = new Rows<float>(count);
        for (var i = 0; i < count; i++)
            // every kind of number, NaN and ties among them
            source.Span[i] = BitConverter.Int32BitsToSingle(random.Next(int.MinValue, int.MaxValue));
        for (var i = 0; i + 4 < count; i += 20)
            source.Span[i] = BitConverter.Int32BitsToSingle(0x3F808000 + (i << 16 & 0x10000));
        ElementwiseKernel.Convert(source.Pointer, target.Pointer, count);
        for (var i = 0; i < count; i++)
            Assert.Equal(BFloat16.From(source.Span[i]).Bits, target.Span[i].Bits);
        ElementwiseKernel.Convert(target.Pointer, back.Pointer, count);
        for (var i = 0; i < count; i++)
            Assert.Equal(BitConverter.SingleToInt32Bits(target.Span[i].ToSingle()), BitConverter.SingleToInt32Bits(back.Span[i]));
    }

    [Theory, InlineData(1), InlineData(33), InlineData(131_073)]
    public void Sums_scales_and_norms(int count)
    {
        double[] x = Some.Rounded<BFloat16>(Some.Normal(1, count)), y = Some.Rounded<float>(Some.Normal(2, count));
        using Rows<float> source = new(x), target = new(y);
        using var narrow = new Rows<BFloat16>(x);
        using var wide = new Rows<double>(x);
        ElementwiseKernel.AddScaled(source.Pointer, target.Pointer, count, 0.5);
        ElementwiseKernel.AddScaled(narrow.Pointer, target.Pointer, count, 2);
        Some.Close([.. x.Zip(y, (a, b) => b + 2.5 * a)], target.ToArray(), 1e-6);
        ElementwiseKernel.Scale(source.Pointer, count, -3);
        Some.Close([.. x.Select(a => -3 * a)], source.ToArray(), 1e-6);
        var squares = x.Sum(a => a * a);
        Assert.Equal(squares, Squares(narrow.Pointer, count), 1e-9 * squares);
        Assert.Equal(squares, Squares(wide.Pointer, count), 1e-9 * squares);
        Assert.Equal(9 * squares, Squares(source.Pointer, count), 1e-5 * squares);
    }

    [Fact]
    public void The_norm_neither_overflows_nor_hides_a_bad_element()
    {
        using var data = new Rows<float>(1000);
        data.Span.Fill(1e30f);
        Assert.Equal(1e63, Squares(data.Pointer, 1000), 1e57);
        data.Span[997] = float.NaN;
        Assert.True(double.IsNaN(Squares(data.Pointer, 1000)));
        data.Span[997] = float.NegativeInfinity;
        Assert.Equal(double.PositiveInfinity, Squares(data.Pointer, 1000));
    }

    [Theory, InlineData(1, 1), InlineData(7, 5), InlineData(3000, 70)]
    public void Column_sums_are_added_to_the_target(int rows, int width)
    {
        var stride = width + 3;
        var values = Some.Rounded<BFloat16>(Some.Normal(1, rows * stride));
        var expected = new double[width];
        for (var i = 0; i < rows; i++)
            for (var j = 0; j < width; j++)
                expected[j] += values[i * stride + j];
        for (var j = 0; j < width; j++)
            expected[j] += 100;
        Check<float, float>(1e-5 * rows);
        Check<BFloat16, float>(1e-5 * rows);
        Check<double, double>(1e-9);

        void Check<T, TReal>(double tolerance) where T : unmanaged where TReal : unmanaged
        {
            using var data = new Rows<T>(values);
            using var target = new Rows<TReal>([.. Enumerable.Repeat(100.0, width)]);
            ElementwiseKernel.AddColumnSums(data.Pointer, stride, rows, width, target.Pointer);
            Some.Close(expected, target.ToArray(), tolerance + 1e-5);
        }
    }

    private static double Squares<T>(T* data, long count) where T : unmanaged
    {
        var sum = new ExactSum();
        ElementwiseKernel.AddSquares(data, count, sum);
        return sum.Value;
    }

    [Fact]
    public void A_step_allocates_nothing() => Threads.One(() =>
    {
        using Rows<float> data = new(200_000), sums = new(100);
        var sum = new ExactSum();
        long before = 0;
        for (var round = 0; round < 3; round++)
        {
            before = GC.GetAllocatedBytesForCurrentThread();
            ElementwiseKernel.AddSquares(data.Pointer, 200_000, sum);
            ElementwiseKernel.AddColumnSums(data.Pointer, 100, 2000, 100, sums.Pointer);
            OptimizerKernel.Step(new AdamRule(1e-3, 0.9, 0.999, 1e-8, 0.1, 1), data.Pointer, data.Pointer, data.Pointer, data.Pointer, null,
                200_000);
        }
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
        return true;
    });
}
