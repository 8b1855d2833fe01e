using Handbook.Torch.Kernels;

namespace Handbook.Torch.Tests.Kernels;

public sealed unsafe class RowLinearKernelTests
{
    [Theory, InlineData(1, 16, 4), InlineData(5, 288, 37), InlineData(16, 17, 130), InlineData(70, 48, 33), InlineData(3, 1, 1)]
    public void Gives_the_product_and_each_row_the_bits_it_has_alone(int rows, int inputs, int outputs)
    {
        // 1e-6: float32 sums over a few hundred products of numbers below 1; bfloat16 keeps 8 bits of the result.
        Check<float, float>(rows, inputs, outputs, 1e-6 * Math.Max(1, inputs));
        Check<BFloat16, float>(rows, inputs, outputs, 1e-6 * Math.Max(1, inputs));
        Check<BFloat16, BFloat16>(rows, inputs, outputs, 4e-3 * Math.Sqrt(inputs) + 1e-2);
        Check<double, double>(rows, inputs, outputs, 1e-12);
    }

    private static void Check<T, TOut>(int rows, int inputs, int outputs, double absolute) where T : unmanaged where TOut : unmanaged
    {
        var stride = inputs + 3;
        T[] x = Random<T>(rows * stride, 1), w = Random<T>(outputs * inputs, 2), b = Random<T>(outputs, 3);
        TOut[] together = new TOut[rows * outputs], alone = new TOut[rows * outputs];
        fixed (T* px = x, pw = w, pb = b)
        fixed (TOut* y = together, z = alone)
        {
            RowLinearKernel.Run(px, stride, rows, pw, pb, y, inputs, outputs);
            for (var row = 0; row < rows; row++)
                RowLinearKernel.Run(px + row * stride, stride, 1, pw, pb, z + row * outputs, inputs, outputs);
            for (var row = 0; row < rows; row++)
                for (var o = 0; o < outputs; o++)
                {
                    var sum = Lanes.Get(pb, o);
                    for (var i = 0; i < inputs; i++)
                        sum += Lanes.Get(px, row * stride + i) * Lanes.Get(pw, o * inputs + i);
                    Assert.Equal(sum, Lanes.Get(y, row * outputs + o), absolute);
                }
        }
        Assert.Equal(alone, together);
    }

    private static T[] Random<T>(int count, int seed) where T : unmanaged
    {
        var random = new Random(seed);
        var values = new T[count];
        fixed (T* target = values)
            for (var i = 0; i < count; i++)
                Lanes.Set(target, i, 2 * random.NextDouble() - 1);
        return values;
    }
}
