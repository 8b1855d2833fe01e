using Handbook.Testing;
using Handbook.Torch.Cuda;
using Handbook.Torch.Kernels;
using Handbook.Torch.Tests.Kernels;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>The text of <c>optimizers.cu</c> on the CPU against the kernels of the CPU.</summary>
public sealed unsafe class OptimizerTests
{
    private const int Steps = 3;

    [Theory, InlineData(5), InlineData(1024), InlineData(2100)]
    public void Every_rule_goes_the_way_of_the_plain_version(int count)
    {
        Compare(t => new AdamRule(1e-2, 0.9, 0.999, 1e-8, 0.1, t), count, 2);
        Compare(t => new AdamRule(1e-2, 0.9, 0.95, 1e-6, 0.1, t, decoupled: false), count, 2);
        Compare(_ => new SgdRule(1e-2, 0.9, 0.01), count, 1);
        Compare(_ => new SgdRule(1e-2, 0.9, 0.01, nesterov: true), count, 1);
        Compare(_ => new SgdRule(1e-2, 0, 0), count, 0);
        Compare(_ => new RmsPropRule(1e-2, 0.99, 1e-8, 0.01), count, 1);
        Compare(t => new AdagradRule(1e-2, 1e-10, 0.01, 0.1, t), count, 1);
        Compare(_ => new LionRule(1e-2, 0.9, 0.99, 0.1), count, 1);
        Compare(t => new ScheduleFreeRule(1e-2, 0.9, 0.999, 1e-8, 0.1, 1.0 / t, t), count, 2);
    }

    private static void Compare<TRule>(Func<long, TRule> rule, int count, int states) where TRule : struct, IOptimizerRule
    {
        Compare<TRule, float>(rule, count, states);
        Compare<TRule, BFloat16>(rule, count, states);
        Compare<TRule, Half>(rule, count, states);
    }

    private static void Compare<TRule, T>(Func<long, TRule> rule, int count, int states)
        where TRule : struct, IOptimizerRule where T : unmanaged
    {
        var start = Some.Rounded<T>(Some.Normal(1, count));
        double[][] slopes = [.. Enumerable.Range(0, Steps).Select(t => Some.Rounded<T>(Some.Normal(2 + t, count)))];
        double[] p = start, a = new double[count], b = new double[count];
        for (var t = 0; t < Steps; t++)
        {
            using Rows<double> plain = new(p), g = new(slopes[t]), one = new(a), two = new(b);
            OptimizerKernel.Step(rule(t + 1), plain.Pointer, g.Pointer, states > 0 ? one.Pointer : null, states > 1 ? two.Pointer : null, null,
                count, 0.5 * 0.25);
            // every step begins from what was stored
            (p, a, b) = (Some.Rounded<T>(plain.ToArray()), Some.Rounded<T>(one.ToArray()), Some.Rounded<T>(two.ToArray()));
        }
        var actual = Emulated.Everywhere(() =>
        {
            using Rows<T> parameters = new(start), first = new(count), second = new(count);
            using Rows<BFloat16> copy = new(count);
            using Rows<float> factor = new([0.25]);
            for (var t = 0; t < Steps; t++)
            {
                using Rows<T> g = new(slopes[t]);
                Emulated.Run(CudaOptimizers.Step(rule(t + 1), parameters.Pointer, g.Pointer, states > 0 ? first.Pointer : null,
                    states > 1 ? second.Pointer : null, copy.Pointer, count, 0.5, factor.Pointer));
            }
            return [parameters.ToArray(), first.ToArray(), second.ToArray(), copy.ToArray()];
        });
        // Where a rounding falls the other way, the next steps, of up to 0.1, begin there.
        var tolerance = typeof(T) == typeof(float) ? 1e-6 : 2 * Some.Step<T>();
        Some.Close(p, actual[0], tolerance / 8, tolerance);
        Some.Close(a, actual[1], tolerance / 8, tolerance);
        Some.Close(b, actual[2], 1e-6, tolerance);
        if (typeof(T) == typeof(float))
            Assert.Equal(Some.Rounded<BFloat16>(actual[0]), actual[3]);
    }

    [Theory, InlineData(11), InlineData(256), InlineData(2 * 256 + 37)]
    public void States_in_eight_bits_are_those_of_the_cpu(int count)
    {
        Coded(t => new AdamRule(1e-2, 0.9, 0.999, 1e-8, 0.1, t), count, 2);
        Coded(_ => new LionRule(1e-2, 0.9, 0.99, 0.1), count, 1);
        Coded(_ => new RmsPropRule(1e-2, 0.99, 1e-8, 0.01), count, 1);
    }

    private static void Coded<TRule>(Func<long, TRule> rule, int count, int states) where TRule : struct, IOptimizerRule
    {
        var blocks = (count + 255) / 256;
        var start = Some.Rounded<float>(Some.Normal(1, count));
        double[][] slopes = [.. Enumerable.Range(0, Steps).Select(t => Some.Rounded<float>(Some.Normal(2 + t, count)))];
        var (signed, unsigned) = (DynamicCode.Signed, DynamicCode.Unsigned);
        using Rows<float> p = new(start), largest1 = new(blocks), largest2 = new(blocks);
        using Rows<byte> first = new(256 * blocks), second = new(256 * blocks);
        first.Span.Fill(signed.Nearest(0));
        for (var t = 0; t < Steps; t++)
        {
            using Rows<float> g = new(slopes[t]);
            CodedStateKernel.Step(rule(t + 1), p.Pointer, g.Pointer, new((nint)first.Pointer, (nint)largest1.Pointer, signed),
                states > 1 ? new((nint)second.Pointer, (nint)largest2.Pointer, unsigned) : default, null, count, 0.5);
        }
        var actual = Emulated.Everywhere(() =>
        {
            using Rows<float> parameters = new(start), scales1 = new(blocks), scales2 = new(blocks);
            using Rows<float> values1 = new(256), values2 = new(256);
            using Rows<byte> codes1 = new(256 * blocks), codes2 = new(256 * blocks);
            using Rows<BFloat16> copy = new(count);
            codes1.Span.Fill(signed.Nearest(0));
            signed.Values.CopyTo(values1.Span);
            unsigned.Values.CopyTo(values2.Span);
            for (var t = 0; t < Steps; t++)
            {
                using Rows<float> g = new(slopes[t]);
                Emulated.Run(CudaOptimizers.Step(rule(t + 1), parameters.Pointer, g.Pointer, codes1.Pointer, scales1.Pointer, values1.Pointer,
                    states > 1 ? codes2.Pointer : null, scales2.Pointer, values2.Pointer, copy.Pointer, count, 0.5, null));
            }
            return [parameters.ToArray(), [.. codes1.Span[..count].ToArray().Select(c => (double)c)],
                [.. codes2.Span[..count].ToArray().Select(c => (double)c)], scales1.ToArray(), scales2.ToArray(), copy.ToArray()];
        });
        Some.Close(p.ToArray(), actual[0], 1e-6);
        Codes(first, actual[1]);
        if (states > 1)
            Codes(second, actual[2]);
        Some.Close(largest1.ToArray(), actual[3], 0, 1e-6);
        Some.Close(largest2.ToArray(), actual[4], 0, 1e-6);
        Assert.Equal(Some.Rounded<BFloat16>(actual[0]), actual[5]);

        // A number that a rounding moves across a border has the neighbouring code; there are few such.
        void Codes(Rows<byte> expected, double[] codes)
        {
            var off = 0;
            for (var i = 0; i < count; i++)
            {
                Lazily.True(Math.Abs(expected.Pointer[i] - codes[i]) <= 1, $"[{i}]: expected {expected.Pointer[i]}, was {codes[i]}");
                off += expected.Pointer[i] == (byte)codes[i] ? 0 : 1;
            }
            Assert.True(off <= count / 100, $"{off} of {count} codes are off by one");
        }
    }

    [Theory, InlineData(7), InlineData(65536 + 4100)]
    public void The_norm_of_gradients_is_exact_and_clips(int count)
    {
        Norm<float>(count);
        Norm<BFloat16>(count);
        Norm<Half>(count);
    }

    private static void Norm<T>(int count) where T : unmanaged
    {
        var x = Some.Rounded<T>(Some.Normal(1, count));
        var squares = x.Sum(v => v * v);
        var actual = Emulated.Everywhere(() =>
        {
            using Rows<T> data = new(x);
            using Rows<double> parts = new(2), total = new([1.5]);
            using Rows<float> norm = new(1), factor = new(1), unclipped = new(1);
            Emulated.Run(CudaOptimizers.Squares(data.Pointer, count, parts.Pointer));
            Emulated.Run(CudaOptimizers.AddSquares(parts.Pointer, (count + CudaOptimizers.SquaresPiece - 1) / CudaOptimizers.SquaresPiece,
                total.Pointer, add: true));
            Emulated.Run(CudaOptimizers.ClipFactor(total.Pointer, 0.5, 1e9, norm.Pointer, unclipped.Pointer));
            Emulated.Run(CudaOptimizers.ClipFactor(total.Pointer, 0.5, 0.1, norm.Pointer, factor.Pointer));
            return [total.ToArray(), norm.ToArray(), factor.ToArray(), unclipped.ToArray()];
        }, allBarriers: false);
        Some.Close([squares + 1.5], actual[0], 0, 1e-12);
        Some.Close([0.5 * Math.Sqrt(squares + 1.5)], actual[1], 0, 1e-7);
        Some.Close([0.1 / (0.5 * Math.Sqrt(squares + 1.5) + 1e-6)], actual[2], 0, 1e-7);
        Assert.Equal(1, actual[3][0]);
    }

    [Fact]
    public void A_gradient_that_is_no_number_clips_to_none()
    {
        var actual = Emulated.Everywhere(() =>
        {
            using Rows<float> data = new([1, double.NaN, 2]), norm = new(1), factor = new(1);
            using Rows<double> parts = new(1), total = new(1);
            Emulated.Run(CudaOptimizers.Squares(data.Pointer, 3, parts.Pointer));
            Emulated.Run(CudaOptimizers.AddSquares(parts.Pointer, 1, total.Pointer, add: false));
            Emulated.Run(CudaOptimizers.ClipFactor(total.Pointer, 1, 1, norm.Pointer, factor.Pointer));
            return [norm.ToArray(), factor.ToArray()];
        }, allBarriers: false);
        Assert.All(actual, values => Assert.True(double.IsNaN(values[0])));
    }
}
