using Handbook.Torch.Cuda;
using Handbook.Torch.Tests.Kernels;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>The text of <c>linear.cu</c> on the CPU against the definition.</summary>
public sealed unsafe class LinearTests
{
    [Theory, InlineData(1, 8, 5, true), InlineData(11, 267, 9, true), InlineData(3, 1032, 4, false)]
    public void Each_row_is_the_product_by_its_definition(int rows, int columns, int outputs, bool biased)
    {
        Compare<float>(rows, columns, outputs, biased);
        Compare<BFloat16>(rows, columns, outputs, biased);
        Compare<Half>(rows, columns, outputs, biased);
    }

    private static void Compare<T>(int rows, int columns, int outputs, bool biased) where T : unmanaged
    {
        var stride = columns + 8;
        double[] x = Some.Rounded<T>(Some.Normal(1, rows * stride)), w = Some.Rounded<T>(Some.Normal(2, outputs * columns)),
            b = Some.Rounded<T>(Some.Normal(3, outputs));
        var expected = new double[rows * outputs];
        for (var i = 0; i < expected.Length; i++)
            expected[i] = Some.Dot(x[(i / outputs * stride)..(i / outputs * stride + columns)],
                w[(i % outputs * columns)..((i % outputs + 1) * columns)]) + (biased ? b[i % outputs] : 0);
        var actual = Emulated.Everywhere(() =>
        {
            using Rows<T> input = new(x), weight = new(w), bias = new(b), output = new(rows * outputs), one = new(outputs);
            using Rows<float> wide = new(rows * outputs);
            var shift = biased ? bias.Pointer : null;
            Emulated.Run(CudaLinear.RowByRow(input.Pointer, stride, weight.Pointer, shift, output.Pointer, null, rows, columns, outputs));
            Emulated.Run(CudaLinear.RowByRow(input.Pointer, stride, weight.Pointer, shift, null, wide.Pointer, rows, columns, outputs));
            Emulated.Run(CudaLinear.RowByRow(input.Pointer + (rows - 1) * stride, stride, weight.Pointer, shift, one.Pointer, null, 1, columns,
                outputs));
            return [output.ToArray(), wide.ToArray(), one.ToArray()];
        });
        Some.Close(expected, actual[0], 1e-5 * Math.Sqrt(columns), Some.Step<T>());
        Some.Close(expected, actual[1], 1e-5 * Math.Sqrt(columns));
        Assert.Equal(actual[0][^outputs..], actual[2]);         // whoever comes along
    }
}
