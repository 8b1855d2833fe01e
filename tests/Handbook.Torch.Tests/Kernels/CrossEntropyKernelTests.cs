using Handbook.Torch.Kernels;

namespace Handbook.Torch.Tests.Kernels;

public sealed unsafe class CrossEntropyKernelTests
{
    private sealed record Options(bool Gradient = true, double Smoothing = 0, double Scale = 1, double Cap = 0);

    private sealed record Result(double[] Logits, double[] LogProb, double[] LogSumExp, double[] Entropy, double[] Mean, int[] ArgMax);

    private static Result Run<T>(double[] logits, int stride, int[] targets, double[] weights, int vocabulary, Options options) where T
        : unmanaged
    {
        var n = targets.Length;
        using var data = new Rows<T>(logits);
        using var target = new Rows<int>(n);
        targets.CopyTo(target.Span);
        using Rows<double> weight = new(weights), logProb = new(n), lse = new(n), entropy = new(n), mean = new(n);
        using var argMax = new Rows<int>(n);
        CrossEntropyKernel.Run(new CrossEntropyRows<T>
        {
            Logits = data.Pointer,
            RowStride = stride,
            Rows = n,
            Vocabulary = vocabulary,
            Targets = target.Pointer,
            Weights = weight.Pointer,
            Gradient = options.Gradient,
            LabelSmoothing = options.Smoothing,
            Scale = options.Scale,
            SoftCap = options.Cap,
            LogProb = logProb.Pointer,
            LogSumExp = lse.Pointer,
            Entropy = entropy.Pointer,
            MeanLogit = mean.Pointer,
            ArgMax = argMax.Pointer,
        });
        return new(data.ToArray(), logProb.ToArray(), lse.ToArray(), entropy.ToArray(), mean.ToArray(), argMax.Span.ToArray());
    }

    [Fact] // by hand: softmax of (0, ln 2, ln 5) is (1, 2, 5)/8
    public void A_row_worked_by_hand()
    {
        var result = Run<double>([0, Math.Log(2), Math.Log(5)], 3, [1], [2.0], 3, new());
        Some.Close([Math.Log(0.25)], result.LogProb, 1e-15);
        Some.Close([2 / 8.0, 2 * (2 / 8.0 - 1), 2 * 5 / 8.0], result.Logits, 1e-15);
        Some.Close([Math.Log(8)], result.LogSumExp, 1e-15);
        Assert.Equal(2, result.ArgMax[0]);
    }

    [Theory]
    [InlineData(1), InlineData(2), InlineData(7), InlineData(16), InlineData(33), InlineData(257), InlineData(4095), InlineData(4097),
        InlineData(32003)]
    public void Float_and_bfloat16_agree_with_the_plain_float64_version(int vocabulary)
    {
        foreach (var options in new Options[] { new(), new(Gradient: false), new(Smoothing: 0.1), new(Scale: 0.25), new(Cap: 3),
            new(Smoothing: 0.2, Scale: 2, Cap: 5), new(Gradient: false, Cap: 3) })
        {
            Compare<float>(vocabulary, options);
            Compare<BFloat16>(vocabulary, options);
        }
    }

    private static void Compare<T>(int vocabulary, Options options) where T : unmanaged
    {
        const int n = 4;
        var stride = vocabulary + 5;
        var logits = Some.Rounded<T>(Some.Normal(vocabulary, n * stride, 3));
        int[] targets = [vocabulary - 1, 0, -1, vocabulary / 2];
        double[] weights = [0.7, 0, 1, -1.5];
        var expected = Run<double>(logits, stride, targets, weights, vocabulary, options);
        var actual = Run<T>(logits, stride, targets, weights, vocabulary, options);
        // 3e-6: the logits and soft caps are float32 (an error of 1e-7 of 10), and so are the sums of up to 4096 terms in 32 chains.
        Some.Close(expected.LogProb, actual.LogProb, 3e-6);
        Some.Close(expected.LogSumExp, actual.LogSumExp, 3e-6);
        Some.Close(expected.Entropy, actual.Entropy, 2e-5);
        Some.Close(expected.Mean, actual.Mean, 2e-6);
        Some.Close(expected.Logits, actual.Logits, 2e-7, Math.Max(1e-5, Some.Step<T>()));
        if (options.Cap == 0)
            Assert.Equal(expected.ArgMax, actual.ArgMax);
    }

    [Theory, InlineData(0, 1, 0), InlineData(0.1, 0.5, 0), InlineData(0.3, 2, 4)]
    public void Gradient_matches_finite_differences(double smoothing, double scale, double cap)
    {
        const int vocabulary = 5;
        int[] targets = [3, 0];
        double[] weights = [1.3, -0.4];
        var logits = Some.Normal(3, 10);
        var options = new Options(Smoothing: smoothing, Scale: scale, Cap: cap);
        var gradient = Run<double>(logits, vocabulary, targets, weights, vocabulary, options).Logits;
        Some.Gradient(Loss, logits, gradient);

        double Loss(double[] x)
        {
            var r = Run<double>(x, vocabulary, targets, weights, vocabulary, options with { Gradient = false });
            return Enumerable.Range(0,
                2).Sum(i => weights[i] * ((1 - smoothing) * -r.LogProb[i] + smoothing * (r.LogSumExp[i] - r.Mean[i])));
        }
    }

    [Fact]
    public void Without_a_gradient_the_logits_stay_as_they_are()
    {
        var logits = Some.Rounded<float>(Some.Normal(1, 100));
        Assert.Equal(logits, Run<float>(logits, 50, [3, 4], [1, 1], 50, new(Gradient: false)).Logits);
        Assert.Equal(logits, Run<float>(logits, 50, [3, 4], [1, 1], 50, new(Gradient: false, Cap: 2)).Logits);
    }

    [Fact]
    public void Columns_beyond_the_vocabulary_are_neither_read_nor_written()
    {
        double[] logits = [1, 2, 3, double.NaN, double.NaN, 4, 5, 6, double.NaN, double.NaN];
        var result = Run<float>(logits, 5, [0, 1], [1, 1], 3, new());
        Assert.All(result.LogProb, x => Assert.True(double.IsFinite(x)));
        Assert.True(double.IsNaN(result.Logits[3]) && double.IsNaN(result.Logits[9]));
    }

    [Theory, InlineData(1), InlineData(1.3), InlineData(0.7), InlineData(0.69314718055994530942)]
    public void Minus_infinity_is_a_probability_of_zero(double scale)
    {
        var options = new Options(Scale: scale);
        var logits = Some.Normal(5, 6000);
        for (var i = 0; i < 5000; i++)
            logits[i] = double.NegativeInfinity;                                // a whole block and a part of the next
        var result = Run<float>(logits, 6000, [5500], [1], 6000, options);
        var open = Run<float>(logits[5000..], 1000, [500], [1], 1000, options);
        Assert.Equal(open.LogProb[0], result.LogProb[0], 1e-6);
        Assert.Equal(open.Entropy[0], result.Entropy[0], 1e-5);
        Some.Close(new double[5000], result.Logits[..5000], 0);
        Some.Close(open.Logits, result.Logits[5000..], 1e-6);

        var forbidden = Run<float>(logits, 6000, [17], [1], 6000, options);
        Assert.Equal(double.NegativeInfinity, forbidden.LogProb[0]);
        Assert.Equal((float)-scale, forbidden.Logits[17]);
    }

    [Theory, InlineData(double.NaN), InlineData(double.PositiveInfinity)]
    public void A_row_with_nan_or_infinity_gives_nan_and_its_neighbours_do_not(double bad)
    {
        var logits = Some.Normal(6, 3 * 5000);
        logits[5000 + 4500] = bad;
        var result = Run<float>(logits, 5000, [1, 2, 3], [1, 1, 1], 5000, new());
        Assert.True(double.IsNaN(result.LogProb[1]) && double.IsNaN(result.LogSumExp[1]));
        Assert.All(result.Logits[5000..10000], x => Assert.True(double.IsNaN(x)));
        Assert.True(double.IsFinite(result.LogProb[0]) && double.IsFinite(result.LogProb[2]));
        Assert.All(result.Logits[..5000].Concat(result.Logits[10000..]), x => Assert.True(double.IsFinite(x)));
    }

    [Fact]
    public void A_row_of_minus_infinity_alone_gives_nan()
    {
        var result = Run<float>([.. Enumerable.Repeat(double.NegativeInfinity, 20)], 20, [1], [1], 20, new());
        Assert.True(double.IsNaN(result.LogProb[0]));
        Assert.All(result.Logits, x => Assert.True(double.IsNaN(x)));
    }

    [Fact]
    public void ArgMax_is_the_first_of_equal_logits()
    {
        var logits = new double[9000];
        logits[8500] = logits[4300] = logits[4200] = 1;
        Assert.Equal(4200, Run<float>(logits, 9000, [0], [1], 9000, new()).ArgMax[0]);
        Assert.Equal(0, Run<BFloat16>(new double[40], 40, [0], [1], 40, new()).ArgMax[0]);
    }

    [Fact]
    public void A_target_outside_the_vocabulary_is_refused_with_its_row()
    {
        var failure = Assert.Throws<ArgumentException>(() => Run<float>(new double[6], 3, [0, 3], [1, 1], 3, new()));
        Assert.StartsWith("target 3 in row 1 is outside the vocabulary of 3", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_bits_do_not_depend_on_the_number_of_threads()
    {
        var logits = Some.Normal(8, 16 * 9001, 4);
        int[] targets = [.. Enumerable.Range(0, 16)];
        double[] weights = [.. Enumerable.Repeat(0.1, 16)];
        var many = Run<float>(logits, 9001, targets, weights, 9001, new());
        var one = Threads.One(() => Run<float>(logits, 9001, targets, weights, 9001, new()));
        Assert.Equal(one.Logits, many.Logits);
        Assert.Equal(one.LogProb, many.LogProb);
    }
}
