using Handbook.Testing;
using Handbook.Torch.Fused;
using Handbook.Torch.Quantised;

namespace Handbook.Torch.Tests.Quantised;

/// <summary>Products with codes are products with the values of the codes.</summary>
public sealed class QuantisedProductTests
{
    public static TheoryData<string, int, int, int> Shapes()
    {
        var data = new TheoryData<string, int, int, int>();
        foreach (var format in (string[])["nf4", "fp4, double", "int8"])
            foreach (var (rows, inputs, outputs) in ((int, int, int)[])[(1, 8, 5), (3, 96, 33), (40, 131, 64), (17, 64, 300),
                (5, 1100, 2100), (260, 2100, 1100)])       // the last two: more than one tile
                data.Add(format, rows, inputs, outputs);
        return data;
    }

    [Theory, MemberData(nameof(Shapes))]
    public void In_float64_forward_and_backward_are_those_of_the_dense_values(string format, int rows, int inputs, int outputs)
    {
        using var scope = TensorScope.Enter();
        using var codes = Some.Quantised(format, Some.Matrix(outputs, inputs));
        var dense = codes.Dense(DType.Float64);
        var (x, bias) = (Some.Matrix(rows, inputs, 2).To(DType.Float64), Some.Matrix(1, outputs, 3).To(DType.Float64).View(outputs));
        Close(Run(dense, x, bias), Run(codes, x, bias), 1e-12 * inputs);
    }

    [Theory, MemberData(nameof(Shapes))]
    public void In_float32_they_are_so_up_to_rounding(string format, int rows, int inputs, int outputs)
    {
        using var scope = TensorScope.Enter();
        using var codes = Some.Quantised(format, Some.Matrix(outputs, inputs));
        var dense = codes.Dense(DType.Float32);
        var (x, bias) = (Some.Matrix(rows, inputs, 2), Some.Matrix(1, outputs, 3).View(outputs));
        // n roundings of 2⁻²⁴ of terms below 30, once more for the gradient, whose terms are n times as large
        Close(Run(dense, x, bias), Run(codes, x, bias), Math.Max(inputs, outputs) * 900.0 / (1 << 24));
    }

    [Theory, MemberData(nameof(Shapes))]
    public void In_bfloat16_values_are_rounded_first(string format, int rows, int inputs, int outputs)
    {
        using var scope = TensorScope.Enter();
        using var codes = Some.Quantised(format, Some.Matrix(outputs, inputs), DType.BFloat16);
        var dense = codes.Dense(DType.BFloat16);
        Lazily.Same(codes.Dense(DType.Float32).To(DType.BFloat16).ToArray<float>(), dense.ToArray<float>());
        var (x, bias) = (Some.Matrix(rows, inputs, 2).To(DType.BFloat16), Some.Matrix(1, outputs, 3).View(outputs).To(DType.BFloat16));
        var (expected, actual) = (Run(dense, x, bias), Run(codes, x, bias));
        Close(expected, actual, 0.02 * Math.Max(Largest(expected.Y), Largest(expected.Dx)));
        // A float32 input is rounded for the product, as the reference does.
        var wide = x.To(DType.Float32);
        Lazily.Same(codes.Linear(x, null).ToArray<float>(), codes.Linear(wide, null).ToArray<float>());
    }

    [Theory, MemberData(nameof(Shapes))]
    public void Row_by_row_a_result_depends_on_its_own_row_alone(string format, int rows, int inputs, int outputs)
    {
        using var scope = TensorScope.Enter();
        foreach (var compute in (DType[])[DType.Float32, DType.BFloat16])
        {
            using var codes = Some.Quantised(format, Some.Matrix(outputs, inputs), compute);
            var (x, bias) = (Some.Matrix(rows, inputs, 2).To(compute), Some.Matrix(1, outputs, 3).View(outputs).To(compute));
            var all = codes.RowByRow(x, bias, DType.Float32);
            var one = codes.RowByRow(x.Narrow(0, rows - 1, 1), bias, DType.Float32);
            Lazily.Same(all.Narrow(0, rows - 1, 1).ToArray<float>(), one.ToArray<float>());
            var dense = codes.Dense(compute).To(DType.Float64);
            Close(x.To(DType.Float64).Linear(dense, bias.To(DType.Float64)).ToArray<double>(), all.ToArray<double>(),
                inputs * 60.0 / (1 << 24));
        }
    }

    [Fact]
    public void Rows_of_several_published_matrices_are_one_weight_in_any_order()
    {
        using var scope = TensorScope.Enter();
        var (first, second) = (Some.Matrix(6, 40, 4), Some.Matrix(9, 40, 5));
        var (a, b) = (QuantisedCodec.Quantise(Some.Format("nf4, double"), first), QuantisedCodec.Quantise(Some.Format("nf4"), second));
        using var all = new QuantisedMatrix([new(b, 3, 4), new(a, 0, 6), new(b, 0, 3)], DType.Float32);
        using var wholeA = Some.Quantised("nf4, double", first);
        using var wholeB = Some.Quantised("nf4", second);
        var (valuesA, valuesB) = (wholeA.Dense(DType.Float32), wholeB.Dense(DType.Float32));
        Lazily.Same(Tensor.Cat([valuesB.Narrow(0, 3, 4), valuesA, valuesB.Narrow(0, 0, 3)], 0).ToArray<float>(),
            all.Dense(DType.Float32).ToArray<float>());
        Assert.Equal(a.Bytes + b.Bytes, all.Bytes);
    }

    [Theory, MemberData(nameof(Shapes))]
    public void The_gradient_flows_through_codes_to_the_input_and_the_bias(string format, int rows, int inputs, int outputs)
    {
        using var scope = TensorScope.Enter();
        using var coded = new Parameter("w", Some.Quantised(format, Some.Matrix(outputs, inputs)));
        using var dense = new Parameter("w", coded.Codes!.Dense(DType.Float64), trainable: false);
        Close(Gradients(dense), Gradients(coded), 1e-11 * inputs * outputs);

        (double[], double[]) Gradients(Parameter weight)
        {
            using var inner = TensorScope.Enter();
            using var bias = new Parameter("b", Some.Matrix(1, outputs, 3).To(DType.Float64).View(outputs).Clone(), trainable: true);
            bias.SetGradient(Tensor.Zeros(DType.Float64, outputs));
            var x = Some.Matrix(rows, inputs, 2).To(DType.Float64);
            x.RequiresGrad = true;
            var y = Linear.Forward(x, weight, bias);
            (y * y).Sum().Backward();
            return (bias.Gradient!.ToArray<double>(), x.Grad!.ToArray<double>());
        }
    }

    [Fact]
    public void A_parameter_of_codes_has_a_shape_and_no_dense_values()
    {
        using var scope = TensorScope.Enter();
        using var parameter = new Parameter("w", Some.Quantised("nf4", Some.Matrix(12, 64)));
        Assert.Equal([12, 64], parameter.Value.Shape);
        Assert.False(parameter.IsTrainable);
        Assert.ThrowsAny<Exception>(() => parameter.Value.ToArray<float>());
    }

    private static (double[] Y, double[] Dx) Run(WeightOperand weight, Tensor x, Tensor bias)
    {
        using var scope = TensorScope.Enter();
        var y = weight.Linear(x, bias);
        return (y.ToArray<double>(), weight.Of(y).ToArray<double>());
    }

    private static double Largest(double[] values) => values.Max(Math.Abs);

    private static void Close((double[] Y, double[] Dx) expected, (double[] Y, double[] Dx) actual, double tolerance)
    {
        Close(expected.Y, actual.Y, tolerance);
        Close(expected.Dx, actual.Dx, tolerance * Math.Max(1, Largest(expected.Dx) / Math.Max(1, Largest(expected.Y))));
    }

    private static void Close(double[] expected, double[] actual, double tolerance)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (var i = 0; i < expected.Length; i++)
            Assert.InRange(actual[i], expected[i] - tolerance, expected[i] + tolerance);
    }
}
