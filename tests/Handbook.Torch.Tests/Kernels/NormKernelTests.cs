using Handbook.Torch.Kernels;

namespace Handbook.Torch.Tests.Kernels;

public sealed unsafe class NormKernelTests
{
    private sealed record Case(int Rows, int Width, bool Layer, bool Delta, int Offset, bool Incoming = true, int Turns = 1);

    private sealed record Result(double[] Sum, double[] Output, double[] SumGradient, double[] DeltaGradient, double[] WeightGradient,
        double[] BiasGradient);

    private sealed record Input(double[] Residual, double[] Delta, double[] Weight, double[] Bias, double[] OutputGradient,
        double[] ResidualGradient)
    {
        public static Input Random<T>(Case shape) where T : unmanaged
        {
            int n = shape.Rows * shape.Width, d = shape.Width * shape.Turns;
            return new(
                Some.Rounded<float>(Some.Normal(1, n)), Some.Rounded<T>(Some.Normal(2, n)), Some.Rounded<float>(Some.Normal(3, d)),
                    Some.Rounded<float>(Some.Normal(4, d)),
                Some.Rounded<T>(Some.Normal(5, n)), Some.Rounded<float>(Some.Normal(6, n)));
        }
    }

    private static Result Run<TReal, T>(Case shape, Input input) where TReal : unmanaged where T : unmanaged
    {
        int n = shape.Rows, d = shape.Width;
        using Rows<TReal> residual = new(input.Residual), weight = new(input.Weight), bias = new(input.Bias), mean = new(n), rstd = new(n),
            sum = new(n * d);
        using Rows<TReal> dres = new(input.ResidualGradient), dsum = new(n * d), dw = new(d * shape.Turns), db = new(d * shape.Turns);
        using Rows<T> delta = new(input.Delta), output = new(n * d), dy = new(input.OutputGradient), ddelta = new(n * d);
        dw[0] = 10;                                                             // gradients are added to what is there
        var incoming = shape.Incoming ? dres.Pointer : null;
        var added = shape.Delta ? delta.Pointer : null;
        var stream = shape.Delta ? sum.Pointer : residual.Pointer;
        if (shape.Layer)
        {
            LayerNormKernel.Forward(residual.Pointer, added, sum.Pointer, weight.Pointer, bias.Pointer, output.Pointer, mean.Pointer,
                rstd.Pointer, n, d, 1e-5, shape.Offset, shape.Turns);
            LayerNormKernel.Backward(dy.Pointer, stream, weight.Pointer, mean.Pointer, rstd.Pointer, incoming, dsum.Pointer, ddelta.Pointer,
                dw.Pointer, db.Pointer, n, d, shape.Offset, shape.Turns);
        }
        else
        {
            RmsNormKernel.Forward(residual.Pointer, added, sum.Pointer, weight.Pointer, output.Pointer, rstd.Pointer, n, d, 1e-5,
                shape.Offset, shape.Turns);
            RmsNormKernel.Backward(dy.Pointer, stream, weight.Pointer, rstd.Pointer, incoming, dsum.Pointer, ddelta.Pointer, dw.Pointer, n,
                d, shape.Offset, shape.Turns);
        }
        dw[0] -= 10;
        return new(shape.Delta ? sum.ToArray() : residual.ToArray(), output.ToArray(), dsum.ToArray(), ddelta.ToArray(), dw.ToArray(),
            db.ToArray());
    }

    [Theory]
    [InlineData(1, 1), InlineData(3, 7), InlineData(5, 16), InlineData(2, 33), InlineData(300, 288), InlineData(65, 1031)]
    public void Float_and_bfloat16_agree_with_the_plain_float64_version(int rows, int width)
    {
        foreach (var layer in new[] { false, true })
            foreach (var delta in new[] { false, true })
                foreach (var (offset, turns) in new[] { (0, 1), (1, 3) })
                {
                    Compare<float>(new(rows, width, layer, delta, offset, Incoming: delta, turns));
                    Compare<BFloat16>(new(rows, width, layer, delta, offset, Turns: turns));
                }
    }

    private static void Compare<T>(Case shape) where T : unmanaged
    {
        var input = Input.Random<T>(shape);
        var expected = Run<double, double>(shape, input);
        var actual = Run<float, T>(shape, input);
        if (shape is { Layer: true, Width: 1 })
            // 0/√ε: rounding, magnified
            expected = expected with { SumGradient = actual.SumGradient, DeltaGradient = actual.DeltaGradient };
        Some.Close(expected.Sum, actual.Sum, 1e-6);
        // Rows of a width below 20 can lie close together: 1/σ up to 100 magnifies the rounding.
        var magnified = shape.Width < 20 ? 1e-4 : 3e-6;
        Some.Close(expected.Output, actual.Output, magnified, Some.Step<T>());
        Some.Close(expected.SumGradient, actual.SumGradient, magnified, 1e-5);
        Some.Close(expected.DeltaGradient, actual.DeltaGradient, magnified, Math.Max(1e-5, Some.Step<T>()));
        Some.Close(expected.WeightGradient, actual.WeightGradient, magnified + 2e-6 * shape.Rows, 1e-5);
        if (shape.Layer)
            Some.Close(expected.BiasGradient, actual.BiasGradient, 1e-6 * shape.Rows, 1e-5);
    }

    [Theory, InlineData(false, 0, 1), InlineData(false, 1, 2), InlineData(true, 0, 1), InlineData(true, 1, 2)]
    public void Gradients_match_finite_differences(bool layer, int offset, int turns)
    {
        var shape = new Case(3, 5, layer, Delta: true, offset, Turns: turns);
        var input = Input.Random<double>(shape);
        var result = Run<double, double>(shape, input);
        Some.Gradient(x => Loss(input with { Residual = x }), input.Residual, result.SumGradient);
        Some.Gradient(x => Loss(input with { Delta = x }), input.Delta, result.DeltaGradient);
        Some.Gradient(x => Loss(input with { Weight = x }), input.Weight, result.WeightGradient);
        if (layer)
            Some.Gradient(x => Loss(input with { Bias = x }), input.Bias, result.BiasGradient);

        double Loss(Input at)
        {
            var r = Run<double, double>(shape, at);
            return Some.Dot(r.Output, input.OutputGradient) + Some.Dot(r.Sum, input.ResidualGradient);
        }
    }

    [Fact] // by hand: mean square of (3, 4) is 12.5; layer norm: mean 3.5, deviation 0.5
    public void A_row_worked_by_hand()
    {
        var input = new Input([3, 4], [0, 0], [1, 2], [0.5, 0.5], [0, 0], [0, 0]);
        Some.Close([3 / Math.Sqrt(12.5), 8 / Math.Sqrt(12.5)], Run<double, double>(new(1, 2, false, false, 0), input).Output, 1e-5);
        Some.Close([-1 + 0.5, 2 + 0.5], Run<double, double>(new(1, 2, true, false, 0), input).Output, 1e-4);
    }

    [Fact]
    public void The_bits_do_not_depend_on_the_number_of_threads()
    {
        foreach (var layer in new[] { false, true })
        {
            var shape = new Case(1500, 100, layer, Delta: true, 0);
            var input = Input.Random<float>(shape);
            var many = Run<float, float>(shape, input);
            var one = Threads.One(() => Run<float, float>(shape, input));
            Assert.Equal(one.WeightGradient, many.WeightGradient);
            Assert.Equal(one.BiasGradient, many.BiasGradient);
            Assert.Equal(one.SumGradient, many.SumGradient);
        }
    }
}
