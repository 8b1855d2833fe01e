using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Tests.Kernels;

public sealed unsafe class ActivationKernelTests
{
    private static double[] Forward<T>(Activation activation, double[] input, bool gated, int rows, int width) where T : unmanaged
    {
        using Rows<T> data = new(input), output = new(rows * (width + 1));
        ActivationKernel.Forward(activation, default, data.Pointer, gated ? data.Pointer + width : null, gated ? 2 * width : width, output.Pointer,
            width + 1, rows, width);
        return [.. Enumerable.Range(0, rows * (width + 1)).Where(i => i % (width + 1) < width).Select(i => output[i])];
    }

    private static double[] Backward<T>(Activation activation, double[] input, double[] outputGradient, bool gated, int rows,
        int width) where T : unmanaged
    {
        using Rows<T> data = new(input), dy = new(outputGradient);
        var stride = gated ? 2 * width : width;                                 // in place: the gradient takes the buffer over
        var up = gated ? data.Pointer + width : null;
        ActivationKernel.Backward(activation, default, dy.Pointer, width, data.Pointer, up, stride, data.Pointer, up, stride, rows, width);
        return data.ToArray();
    }

    [Theory] // reference values of the functions at 1 and −2 (scipy's erf and tanh)
    [InlineData(Activation.Silu, 0.731058578630005, -0.238405844044235)]
    [InlineData(Activation.Gelu, 0.841344746068543, -0.0455002638963584)]
    [InlineData(Activation.GeluTanh, 0.841191990607477, -0.0454023059122734)]
    [InlineData(Activation.QuickGelu, 0.845795765932821, -0.0643413768557919)]
    [InlineData(Activation.Relu, 1, 0)]
    [InlineData(Activation.ReluSquared, 1, 0)]
    [InlineData(Activation.Tanh, 0.761594155955765, -0.964027580075817)]
    public void Known_values(Activation activation, double atOne, double atMinusTwo)
    {
        Some.Close([atOne, atMinusTwo], Forward<double>(activation, [1, -2], false, 1, 2), 1e-8);
        Some.Close([atOne, atMinusTwo], Forward<float>(activation, [1, -2], false, 1, 2), 3e-7);
    }

    [Theory, MemberData(nameof(Shapes))]
    public void Float_and_bfloat16_agree_with_the_plain_float64_version(Activation activation, bool gated, int rows, int width)
    {
        Compare<float>();
        Compare<BFloat16>();

        void Compare<T>() where T : unmanaged
        {
            var input = Some.Rounded<T>(Some.Normal(width, rows * width * (gated ? 2 : 1), 3));
            var dy = Some.Rounded<T>(Some.Normal(7, rows * width));
            // 3e-6: the argument of an exponential of up to 30 is rounded in float32.
            Some.Close(Forward<double>(activation, input, gated, rows, width), Forward<T>(activation, input, gated, rows, width), 3e-6,
                Math.Max(1e-6, Some.Step<T>()));
            Some.Close(Backward<double>(activation, input, dy, gated, rows, width), Backward<T>(activation, input, dy, gated, rows, width),
                6e-6, Math.Max(3e-6, Some.Step<T>()));
        }
    }

    public static TheoryData<Activation, bool, int, int> Shapes()
    {
        var data = new TheoryData<Activation, bool, int, int>();
        foreach (var activation in Enum.GetValues<Activation>())
            foreach (var (rows, width) in new[] { (1, 1), (3, 7), (2, 32), (50, 1031) })
            {
                data.Add(activation, true, rows, width);
                data.Add(activation, false, rows, width);
            }
        return data;
    }

    [Theory, InlineData(Activation.Silu), InlineData(Activation.Gelu), InlineData(Activation.GeluTanh), InlineData(Activation.QuickGelu),
        InlineData(Activation.Relu), InlineData(Activation.ReluSquared), InlineData(Activation.Tanh)]
    public void Gradients_match_finite_differences(Activation activation)
    {
        double[] input = Some.Normal(4, 2 * 2 * 6), dy = Some.Normal(5, 2 * 6);
        Some.Gradient(x => Some.Dot(Forward<double>(activation, x, true, 2, 6), dy), input,
            Backward<double>(activation, input, dy, true, 2, 6));
        Some.Gradient(x => Some.Dot(Forward<double>(activation, x, false, 2, 6), dy), input[..12],
            Backward<double>(activation, input[..12], dy, false, 2, 6));
    }

    [Theory, InlineData(Activation.Silu), InlineData(Activation.Gelu), InlineData(Activation.GeluTanh)]
    public void Large_arguments_stay_finite(Activation activation)
    {
        double[] input = [1e4, -1e4, 88, -88, 1e9, -1e9];
        Assert.All(Forward<float>(activation, input, false, 1, 6), x => Assert.True(double.IsFinite(x)));
        Assert.All(Backward<float>(activation, input, [1, 1, 1, 1, 1, 1], false, 1, 6), x => Assert.True(double.IsFinite(x)));
    }
}
