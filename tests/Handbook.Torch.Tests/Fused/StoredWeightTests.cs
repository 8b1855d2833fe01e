using Handbook.Testing;
using Handbook.Torch.Fused;
using TestRows = Handbook.Torch.Tests.Kernels.Some;

namespace Handbook.Torch.Tests.Fused;

/// <summary>Frozen weights that are kept in sixteen bits and multiplied in float32.</summary>
public sealed class StoredWeightTests
{
    public static TheoryData<DType, int, int, int> Shapes => new()
    {
        { DType.BFloat16, 1, 8, 5 }, { DType.Float16, 3, 16, 33 }, { DType.BFloat16, 40, 300, 64 },
        { DType.BFloat16, 128, 520, 1024 },    // many rows
        { DType.BFloat16, 9, 16400, 70 },      // more than one tile of the weight
        { DType.Float16, 9, 16400, 70 },
    };

    [Theory, MemberData(nameof(Shapes))]
    public void A_product_is_that_of_the_widened_weight(DType stored, int rows, int inputs, int outputs)
    {
        using var scope = TensorScope.Enter();
        var (x, weight, bias) = Some(rows, inputs, outputs, stored);
        var wide = weight.To(DType.Float32);
        Same(x.Linear(wide, bias).ToArray<float>(), Product.Linear(x, weight, bias).ToArray<float>(), rows, inputs);
        Same(x.Linear(wide, null).ToArray<float>(), Product.Linear(x, weight, null).ToArray<float>(), rows, inputs);
        Lazily.Same(((WeightOperand)wide).RowByRow(x, bias, DType.Float32).ToArray<float>(),
            ((WeightOperand)weight).RowByRow(x, bias, DType.Float32).ToArray<float>());
    }

    [Theory, MemberData(nameof(Shapes))]
    public void The_gradient_flows_through_a_frozen_weight_to_its_input(DType stored, int rows, int inputs, int outputs)
    {
        using var scope = TensorScope.Enter();
        var (x, weight, _) = Some(rows, inputs, outputs, stored);
        Same(Gradient(x, weight.To(DType.Float32)), Gradient(x, weight), rows, inputs);

        static float[] Gradient(Tensor x, Tensor weight)
        {
            using var scope = TensorScope.Enter();
            using var parameter = new Parameter("w", weight.Clone(), trainable: false);
            var input = x.Clone();
            input.RequiresGrad = true;
            var y = Linear.Forward(input, parameter);
            (y * y).Sum().Backward();
            return input.Grad!.ToArray<float>();
        }
    }

    // The same bits where one tile holds the weight and the library multiplies; sums in another order otherwise: n roundings of 2⁻²⁴, of
    // terms below 30 or of the largest sum.
    private static void Same(float[] expected, float[] actual, int rows, int inputs)
    {
        var tolerance = rows >= 64 ? 1024 * expected.Max(Math.Abs) / (1 << 24) : inputs < 16384 ? 0 : inputs * 30 / (double)(1 << 24);
        Assert.Equal(expected.Length, actual.Length);
        for (var i = 0; i < expected.Length; i++)
            Assert.InRange(actual[i], expected[i] - tolerance, expected[i] + tolerance);
    }

    private static float[] Floats(int seed, int count) => Array.ConvertAll(TestRows.Normal(seed, count), value => (float)value);

    private static (Tensor X, Tensor Weight, Tensor Bias) Some(int rows, int inputs, int outputs, DType stored) =>
        (Tensor.From(Floats(1, rows * inputs), rows, inputs), Tensor.From(Floats(2, outputs * inputs), outputs, inputs).To(stored),
            Tensor.From(Floats(3, outputs)));
}
