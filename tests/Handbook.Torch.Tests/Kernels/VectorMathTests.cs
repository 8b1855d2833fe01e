using System.Runtime.Intrinsics;
using Handbook.Torch.Kernels;


namespace Handbook.Torch.Tests.Kernels;

public sealed class VectorMathTests
{
    private static float One(Func<Vector512<float>, Vector512<float>> function, float x) => function(Vector512.Create(x))[3];

    private static double WorstError(Func<Vector512<float>, Vector512<float>> function, Func<double, double> exact, double from, double to,
        bool relative)
    {
        var worst = 0.0;
        for (var i = 0; i <= 400_000; i += 16)
        {
            var x = Vector512.Create(0f);
            for (var j = 0; j < 16; j++)
                x = x.WithElement(j, (float)(from + (to - from) * (i + j) / 400_016));
            var y = function(x);
            for (var j = 0; j < 16; j++)
            {
                var e = exact(x[j]);
                worst = Math.Max(worst, Math.Abs(y[j] - e) / (relative ? Math.Max(Math.Abs(e), 1.2e-38) : 1));
            }
        }
        return worst;
    }

    [Theory, InlineData(-87.3, 88.7), InlineData(-1, 1), InlineData(-1e-3, 1e-3), InlineData(-20, 0)]
    public void Exp_is_within_one_in_ten_million(double from, double to) =>
        Assert.InRange(WorstError(VectorMath.Exp, Math.Exp, from, to, relative: true), 0, 1e-7);

    [Fact]
    public void Exp_handles_the_ends_of_the_number_line()
    {
        Assert.Equal(0, One(VectorMath.Exp, float.NegativeInfinity));
        Assert.Equal(0, One(VectorMath.Exp, -200));
        Assert.Equal(float.PositiveInfinity, One(VectorMath.Exp, float.PositiveInfinity));
        Assert.Equal(float.PositiveInfinity, One(VectorMath.Exp, 90));
        Assert.True(float.IsNaN(One(VectorMath.Exp, float.NaN)));
        Assert.Equal(1, One(VectorMath.Exp, 0));
        Assert.InRange(One(VectorMath.Exp, -100), 3.6e-44f, 3.9e-44f);          // 3.72e-44, among the subnormal numbers
    }

    [Theory, InlineData(-125.9, 126), InlineData(-1, 1), InlineData(-1e-3, 1e-3)]
    public void PowerOfTwo_is_within_one_in_ten_million(double from, double to) =>
        Assert.InRange(WorstError(VectorMath.PowerOfTwo, x => Math.Pow(2, x), from, to, relative: true), 0, 1e-7);

    [Fact]
    public void PowerOfTwo_is_exact_at_whole_numbers_and_zero_at_minus_infinity()
    {
        for (var n = -149; n <= 127; n++)
            Assert.Equal(Math.Pow(2, n), One(VectorMath.PowerOfTwo, n));
        Assert.Equal(0, One(VectorMath.PowerOfTwo, float.NegativeInfinity));
        Assert.True(float.IsNaN(One(VectorMath.PowerOfTwo, float.NaN)));
    }

    [Theory, InlineData(-87.3, 88.7), InlineData(-1, 1), InlineData(-1e-3, 1e-3)]
    public void The_forms_without_subnormal_results_are_within_one_in_ten_million(double from, double to)
    {
        Assert.InRange(WorstError(VectorMath.ExpOrZero, Math.Exp, from, to, relative: true), 0, 1e-7);
        Assert.InRange(WorstError(VectorMath.PowerOfTwoOrZero, x => Math.Pow(2, x), from * 1.4426, to * 1.4426, relative: true), 0, 1e-7);
    }

    [Fact]
    public void The_forms_without_subnormal_results_handle_the_ends_of_the_number_line()
    {
        foreach (var x in (float[])[float.NegativeInfinity, -1e30f, -200])
        {
            Assert.Equal(0, One(VectorMath.ExpOrZero, x));
            Assert.Equal(0, One(VectorMath.PowerOfTwoOrZero, x));
        }
        foreach (var x in (float[])[float.PositiveInfinity, 1e30f, 90, 88.73f])
            Assert.Equal(float.PositiveInfinity, One(VectorMath.ExpOrZero, x));
        for (var n = -126; n <= 127; n++)
            Assert.Equal(Math.Pow(2, n), One(VectorMath.PowerOfTwoOrZero, n));
        Assert.InRange(One(VectorMath.ExpOrZero, -95), 0, 5.6e-42f);            // 5.52e-42 is subnormal: it or 0
        Assert.InRange(One(VectorMath.PowerOfTwoOrZero, -126.4f), 0, 1.2e-38f);
        Assert.True(float.IsNaN(One(VectorMath.ExpOrZero, float.NaN)));
        Assert.True(float.IsNaN(One(VectorMath.PowerOfTwoOrZero, float.NaN)));
        Assert.Equal(1, One(VectorMath.ExpOrZero, 0));
    }

    [Fact]
    public void Sigmoid_tanh_and_normal_cdf_keep_their_stated_errors()
    {
        Assert.InRange(WorstError(VectorMath.Sigmoid, x => 1 / (1 + Math.Exp(-x)), -80, 80, relative: true), 0, 2.5e-7);
        Assert.InRange(WorstError(VectorMath.Tanh, Math.Tanh, -20, 20, relative: true), 0, 2.5e-7);
        Assert.InRange(WorstError(VectorMath.Tanh, Math.Tanh, -1e-3, 1e-3, relative: true), 0, 2.5e-7);
        Assert.InRange(WorstError(x => VectorMath.NormalCdf(x, out _), x => 0.5 * (1 + VectorMath.Erf(x / Math.Sqrt(2))), -10, 10,
            relative: false), 0, 2.5e-7);
    }

    [Theory] // values of the error function to 15 digits
    [InlineData(0.1, 0.112462916018285), InlineData(0.5, 0.520499877813047), InlineData(1, 0.842700792949715),
        InlineData(2, 0.995322265018953)]
    [InlineData(2.4, 0.999311486103355), InlineData(2.6, 0.999763965583471), InlineData(-3, -0.999977909503001), InlineData(0, 0)]
    public void Erf_matches_tabulated_values(double x, double expected) => Assert.Equal(expected, VectorMath.Erf(x), 5e-15);
}
