using Handbook.Torch.Cuda;
using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;
using Handbook.Torch.Tests.Kernels;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>The text of <c>pointwise.cu</c> on the CPU against the kernels of the CPU in float64.</summary>
public sealed unsafe class PointwiseTests
{
    [Theory, InlineData(3, 24), InlineData(5, 13)]
    public void Activations_agree_with_the_plain_version(int rows, int width)
    {
        foreach (var activation in Enum.GetValues<Activation>())
            foreach (var form in new GateForm[] { default, new(1.5, 1) })
            {
                Activate<float>(activation, form, gated: true, rows, width);
                Activate<BFloat16>(activation, form, gated: true, rows, width);
                Activate<Half>(activation, form, gated: false, rows, width);
            }
    }

    private static void Activate<T>(Activation activation, GateForm form, bool gated, int rows, int width) where T : unmanaged
    {
        var stride = gated ? 2 * width : width;
        double[] x = Some.Rounded<T>(Some.Normal(1, rows * stride, 2)), dy = Some.Rounded<T>(Some.Normal(2, rows * width));
        using Rows<double> input = new(x), slope = new(dy), y = new(rows * width), dx = new(rows * stride);
        ActivationKernel.Forward(activation, form, input.Pointer, gated ? input.Pointer + width : null, stride, y.Pointer, width, rows, width);
        ActivationKernel.Backward(activation, form, slope.Pointer, width, input.Pointer, gated ? input.Pointer + width : null, stride,
            dx.Pointer, gated ? dx.Pointer + width : null, stride, rows, width);
        var actual = Emulated.Everywhere(() =>
        {
            using Rows<T> from = new(x), arriving = new(dy), output = new(rows * width), gradient = new(rows * stride);
            Emulated.Run(CudaPointwise.ActivationForward(activation, form, from.Pointer, gated ? from.Pointer + width : null, stride,
                output.Pointer, width, rows, width));
            Emulated.Run(CudaPointwise.ActivationBackward(activation, form, arriving.Pointer, width, from.Pointer,
                gated ? from.Pointer + width : null, stride, gradient.Pointer, gated ? gradient.Pointer + width : null, stride, rows, width));
            return [output.ToArray(), gradient.ToArray()];
        });
        Some.Close(y.ToArray(), actual[0], 2e-6, Math.Max(2e-6, Some.Step<T>()));
        Some.Close(dx.ToArray(), actual[1], 4e-6, Math.Max(4e-6, Some.Step<T>()));
    }

    [Fact]
    public void A_number_that_is_none_goes_through_every_activation()
    {
        foreach (var activation in Enum.GetValues<Activation>())
        {
            var actual = Emulated.Everywhere(() =>
            {
                using Rows<float> from = new([double.NaN, 1]), output = new(1), gradient = new(2), arriving = new([1.0]);
                Emulated.Run(CudaPointwise.ActivationForward(activation, new(2, 0), from.Pointer, from.Pointer + 1, 2, output.Pointer, 1, 1, 1));
                return [output.ToArray()];
            });
            Assert.True(double.IsNaN(actual[0][0]), activation.ToString());
        }
    }

    [Theory, InlineData(8, 8, false), InlineData(8, 8, true), InlineData(10, 6, false), InlineData(10, 6, true), InlineData(80, 80, false)]
    public void Rotation_agrees_with_the_plain_version_and_back(int headSize, int rotary, bool interleaved)
    {
        Rotate<float>(headSize, rotary, interleaved);
        Rotate<BFloat16>(headSize, rotary, interleaved);
        Rotate<Half>(headSize, rotary, interleaved);
    }

    private static void Rotate<T>(int headSize, int rotary, bool interleaved) where T : unmanaged
    {
        const int rows = 7, heads = 3, places = 11;
        var stride = heads * headSize + 5;
        int[] positions = [0, 10, 3, 3, 7, 1, 9];
        var x = Some.Rounded<T>(Some.Normal(3, rows * stride));
        using Rows<float> cos = new(Some.Normal(4, places * rotary / 2)), sin = new(Some.Normal(5, places * rotary / 2));
        foreach (var backward in new[] { false, true })
        {
            using Rows<double> plain = new(x);
            fixed (int* at = positions)
                RopeKernel.Apply(plain.Pointer, stride, rows, heads, headSize, rotary, cos.Pointer, sin.Pointer, at, backward, interleaved);
            var actual = Emulated.Everywhere(() =>
            {
                using Rows<T> data = new(x);
                fixed (int* at = positions)
                    Emulated.Run(CudaPointwise.Rotate(data.Pointer, stride, rows, heads, headSize, rotary, cos.Pointer, sin.Pointer, at, backward,
                        interleaved));
                return [data.ToArray()];
            });
            Some.Close(plain.ToArray(), actual[0], 2e-6, Some.Step<T>());
        }
    }

    [Theory, InlineData(4, 16), InlineData(3, 21)]
    public void Dropout_has_the_mask_of_the_cpu(int rows, int width)
    {
        Drop<float>(rows, width);
        Drop<BFloat16>(rows, width);
    }

    private static void Drop<T>(int rows, int width) where T : unmanaged
    {
        double[] x = Some.Rounded<T>(Some.Normal(6, rows * width)), old = Some.Rounded<T>(Some.Normal(7, rows * width));
        var keys = Enumerable.Range(1, rows).Select(i => i * 0x1234_5678_9ABC_DEFL).ToArray();
        foreach (var add in new[] { false, true })
        {
            using Rows<double> from = new(x), plain = new(old);
            fixed (long* numbers = keys)
                DropoutKernel.Apply(from.Pointer, numbers, plain.Pointer, rows, width, 0.3, add);
            var actual = Emulated.Everywhere(() =>
            {
                using Rows<T> source = new(x), target = new(old);
                fixed (long* numbers = keys)
                    Emulated.Run(CudaPointwise.Dropout(source.Pointer, numbers, target.Pointer, rows, width, 0.3, add));
                return [target.ToArray()];
            });
            Some.Close(plain.ToArray(), actual[0], 1e-6, Some.Step<T>());
        }
    }

    [Theory, InlineData(1), InlineData(19), InlineData(4096)]
    public void Conversions_round_to_nearest_and_add(int count)
    {
        Convert<BFloat16>(count);
        Convert<Half>(count);
        Convert<float>(count);
    }

    private static void Convert<T>(int count) where T : unmanaged
    {
        double[] x = Some.Rounded<float>(Some.Normal(8, count)), old = Some.Rounded<float>(Some.Normal(9, count));
        x[0] = double.NaN;
        var actual = Emulated.Everywhere(() =>
        {
            using Rows<float> source = new(x), sum = new(old), copy = new(old), rounded = new(x);
            using Rows<T> narrow = new(count);
            Emulated.Run(CudaPointwise.Narrow(source.Pointer, narrow.Pointer, count));
            Emulated.Run(CudaPointwise.Accumulate(narrow.Pointer, sum.Pointer, count, add: true));
            Emulated.Run(CudaPointwise.Accumulate(narrow.Pointer, copy.Pointer, count, add: false));
            Emulated.Run(CudaPointwise.RoundToBFloat16(rounded.Pointer, count));
            return [narrow.ToArray(), sum.ToArray(), copy.ToArray(), rounded.ToArray()];
        });
        var narrowed = Some.Rounded<T>(x);
        Assert.Equal(narrowed, actual[0]);
        Assert.Equal(narrowed.Zip(old, (a, b) => (double)((float)a + (float)b)), actual[1]);
        Assert.Equal(narrowed, actual[2]);
        Assert.Equal(Some.Rounded<BFloat16>(x), actual[3]);
    }
}
