using Handbook.Torch.Kernels;

namespace Handbook.Torch.Tests.Kernels;

public sealed unsafe class RopeKernelTests
{
    private static double[] Run<T>(double[] values, int stride, int rows, int heads, int headSize, int rotary, bool backward = false,
        int[]? at = null, bool interleaved = false) where T : unmanaged
    {
        var half = rotary / 2;
        using var data = new Rows<T>(values);
        using Rows<float> cos = new(64 * half + 1), sin = new(64 * half + 1);
        for (var p = 0; p < 64; p++)
            for (var i = 0; i < half; i++)
            {
                var angle = p * Math.Pow(10000, -2.0 * i / rotary);
                cos[p * half + i] = Math.Cos(angle);
                sin[p * half + i] = Math.Sin(angle);
            }
        using var positions = new Rows<int>(rows);
        for (var i = 0; i < rows; i++)
            positions.Span[i] = at is null ? (i * 7 + 3) % 64 : at[i];
        RopeKernel.Apply(data.Pointer, stride, rows, heads, headSize, rotary, cos.Pointer, sin.Pointer, positions.Pointer, backward,
            interleaved);
        return data.ToArray();
    }

    [Fact] // by hand: position 1, one pair, angle 1
    public void A_pair_turns_by_its_position() =>
        Some.Close([Math.Cos(1) - 2 * Math.Sin(1), 2 * Math.Cos(1) + Math.Sin(1), 9], Run<double>([1, 2, 9], 3, 1, 1, 2, 2, at: [1]), 1e-7);

    [Fact] // by hand: position 1; elements 0 and 1 turn by 1, elements 2 and 3 by 0.01
    public void Neighbours_turn_by_their_position() =>
        Some.Close([Math.Cos(1) - 2 * Math.Sin(1), 2 * Math.Cos(1) + Math.Sin(1), 3 * Math.Cos(0.01) - 4 * Math.Sin(0.01),
            4 * Math.Cos(0.01) + 3 * Math.Sin(0.01), 9], Run<double>([1, 2, 3, 4, 9], 5, 1, 1, 4, 4, at: [1], interleaved: true), 1e-7);

    [Theory] // (rows, heads, head size, rotary)
    [InlineData(1, 1, 2, 2), InlineData(3, 2, 6, 4), InlineData(5, 3, 48, 48), InlineData(4, 9, 64, 64), InlineData(2, 1, 80, 20),
        InlineData(3, 1, 128, 0), InlineData(70, 14, 128, 128)]
    public void Fast_agrees_with_plain_and_backward_undoes_forward(int rows, int heads, int headSize, int rotary)
    {
        var stride = (heads + 2) * headSize + 3;
        foreach (var interleaved in new[] { false, true })
        {
            Compare<float>(1e-6, interleaved);
            Compare<BFloat16>(1.0 / 64, interleaved);
        }

        void Compare<T>(double tolerance, bool interleaved) where T : unmanaged
        {
            var values = Some.Rounded<T>(Some.Normal(rows, rows * stride));
            var expected = Run<double>(values, stride, rows, heads, headSize, rotary, interleaved: interleaved);
            var actual = Run<T>(values, stride, rows, heads, headSize, rotary, interleaved: interleaved);
            Some.Close(expected, actual, 1e-6, Some.Step<T>());
            Some.Close(values, Run<T>(actual, stride, rows, heads, headSize, rotary, backward: true, interleaved: interleaved), tolerance,
                tolerance);
            for (var i = 0; i < rows; i++)                                      // the values behind the turning heads
                for (var j = heads * headSize; j < stride; j++)
                    Assert.Equal(values[i * stride + j], actual[i * stride + j]);
        }
    }

    [Fact]
    public void Backward_is_the_transpose_of_forward()
    {
        double[] x = Some.Normal(1, 4 * 12), y = Some.Normal(2, 4 * 12);
        Assert.Equal(Some.Dot(Run<double>(x, 12, 4, 2, 6, 4), y), Some.Dot(x, Run<double>(y, 12, 4, 2, 6, 4, backward: true)), 1e-6);
    }

    [Fact]
    public void An_odd_or_too_large_rotary_size_is_refused()
    {
        Assert.Throws<ArgumentException>(() => Run<float>(new double[8], 8, 1, 1, 8, 3));
        Assert.Throws<ArgumentException>(() => Run<float>(new double[8], 8, 1, 1, 8, 10));
    }
}
