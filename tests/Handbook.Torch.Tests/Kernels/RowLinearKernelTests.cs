using Handbook.Torch.Kernels;

namespace Handbook.Torch.Tests.Kernels;

public sealed unsafe class RowLinearKernelTests
{
    public RowLinearKernelTests() => TorchRuntime.Load();       // bfloat16 is multiplied by the shim where the processor can

    [Theory, InlineData(1, 16, 4), InlineData(5, 288, 37), InlineData(16, 17, 130), InlineData(70, 48, 33), InlineData(3, 1, 1),
        InlineData(2, 31, 3), InlineData(35, 33, 66), InlineData(131, 129, 5), InlineData(18, 2050, 34)]
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
        const int guard = 5;        // elements behind the result that nobody may touch
        TOut[] together = new TOut[rows * outputs + guard], alone = new TOut[rows * outputs + guard],
            managed = new TOut[rows * outputs + guard];
        fixed (T* px = x, pw = w, pb = b)
        fixed (TOut* y = together, z = alone, m = managed)
        {
            RowLinearKernel.Run(px, stride, rows, pw, pb, y, inputs, outputs);
            RowLinearKernel.RunManaged(px, stride, rows, pw, pb, m, inputs, outputs);
            for (var row = 0; row < rows; row++)
                RowLinearKernel.Run(px + row * stride, stride, 1, pw, pb, z + row * outputs, inputs, outputs);
            for (var row = 0; row < rows; row++)
                for (var o = 0; o < outputs; o++)
                {
                    var sum = Lanes.Get(pb, o);
                    for (var i = 0; i < inputs; i++)
                        sum += Lanes.Get(px, row * stride + i) * Lanes.Get(pw, o * inputs + i);
                    Assert.Equal(sum, Lanes.Get(y, row * outputs + o), absolute);
                    Assert.Equal(sum, Lanes.Get(m, row * outputs + o), absolute);
                }
        }
        Assert.Equal(alone, together);
        Assert.Equal(new TOut[guard], together[^guard..]);
    }

    [Fact] // whole numbers: every sum is exact, so that order and instruction cannot matter
    public void Whole_numbers_give_the_same_bits_by_either_way()
    {
        const int rows = 7, inputs = 70, outputs = 11;
        BFloat16[] x = Whole(rows * inputs, 1), w = Whole(outputs * inputs, 2);
        float[] native = new float[rows * outputs], managed = new float[rows * outputs];
        fixed (BFloat16* px = x, pw = w)
        fixed (float* y = native, m = managed)
        {
            RowLinearKernel.Run(px, inputs, rows, pw, null, y, inputs, outputs);
            RowLinearKernel.RunManaged(px, inputs, rows, pw, null, m, inputs, outputs);
        }
        Assert.Equal(managed, native);
        Assert.True(native.Distinct().Count() > rows);

        static BFloat16[] Whole(int count, int seed)
        {
            var random = new Random(seed);
            return [.. Enumerable.Range(0, count).Select(_ => BFloat16.From(random.Next(-9, 10)))];
        }
    }

    [Fact]
    public void A_number_that_is_none_stays_in_its_row()
    {
        const int inputs = 40, outputs = 6;
        var x = Random<BFloat16>(2 * inputs, 1);
        x[inputs + 3] = BFloat16.From(float.NaN);
        var w = Random<BFloat16>(outputs * inputs, 2);
        var y = new BFloat16[2 * outputs];
        fixed (BFloat16* px = x, pw = w, py = y)
            RowLinearKernel.Run(px, inputs, 2, pw, null, py, inputs, outputs);
        Assert.All(y[..outputs], value => Assert.True(float.IsFinite(value.ToSingle())));
        Assert.All(y[outputs..], value => Assert.True(float.IsNaN(value.ToSingle())));
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
