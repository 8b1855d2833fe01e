using Handbook.Testing;
using Handbook.Torch.Quantised;

namespace Handbook.Torch.Tests.Quantised;

public sealed class Int8ProductTests
{
    // By hand: the first row has the scale 4, the second 2; the column of 8 is left as it is in both rows, or in its own row alone.
    // W is the identity with scales of 1, so that its values are 127/127; 6.200124e-5 · 127² is 1.000018.
    [Fact]
    public void A_column_with_an_outlier_stays_and_others_are_rounded_by_row()
    {
        using var scope = TensorScope.Enter();
        using var identity = new QuantisedMatrix([new(QuantisedCodec.Quantise(Some.Format("int8"),
            Tensor.From([1f, 0, 0, 0, 1, 0, 0, 0, 1], 3, 3)), 0, 3)], DType.Float32, roundsInputs: true);
        var x = Tensor.From([1f, -4, 8, 0, 2, 0.5f], 2, 3);
        Close([32 * 4 / 127.0, -4, 8, 0, 2, 0.5], identity.Linear(x, null).ToArray<double>());
        Close([32 * 4 / 127.0, -4, 8, 0, 2, 32 * 2 / 127.0], identity.RowByRow(x, null, DType.Float32).ToArray<double>());

        static void Close(double[] expected, double[] actual)
        {
            for (var i = 0; i < expected.Length; i++)
                Assert.InRange(actual[i], expected[i] - 1e-4, expected[i] + 1e-4);
        }
    }

    [Fact]
    public void Only_int8_weights_round_their_inputs()
    {
        using var scope = TensorScope.Enter();
        var (w, x) = (Some.Matrix(5, 64), Some.Matrix(3, 64, 2));
        foreach (var format in (string[])["nf4", "int8"])
        {
            using var plain = Some.Quantised(format, w);
            using var rounding = new QuantisedMatrix([new(QuantisedCodec.Quantise(Some.Format(format), w), 0, 5)], DType.Float32, true);
            var (expected, actual) = (plain.Linear(x, null).ToArray<float>(), rounding.Linear(x, null).ToArray<float>());
            Assert.Equal(format == "nf4", expected.SequenceEqual(actual));
            for (var i = 0; i < expected.Length; i++)
                Assert.InRange(actual[i], expected[i] - 0.5f, expected[i] + 0.5f);
            // Inputs without outliers are rounded by row either way.
            Lazily.Same(rounding.RowByRow(x.Narrow(0, 1, 1), null, DType.Float32).ToArray<float>(),
                rounding.RowByRow(x, null, DType.Float32).Narrow(0, 1, 1).ToArray<float>());
        }
    }
}
