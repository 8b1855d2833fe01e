using Handbook.Base;
using Handbook.Torch.Cuda;
using Handbook.Torch.Tests.Kernels;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>The text of <c>sampling.cu</c> on the CPU against draws by the definition.</summary>
public sealed unsafe class SamplingTests
{
    private sealed record Options(double Temperature, int TopK, double TopP, double MinP);

    private static readonly Options[] s_options = [new(1, 0, 1, 0), new(0, 0, 1, 0), new(0.7, 5, 1, 0), new(1.3, 0, 0.6, 0), new(1, 0, 1, 0.2),
        new(0.8, 7, 0.7, 0.05), new(1, 3, 0.99, 0), new(1, 1, 1, 0)];

    [Theory, InlineData(40, false), InlineData(40, true), InlineData(700, false), InlineData(700, true)]
    public void Tokens_are_drawn_as_the_definition_says(int vocabulary, bool ties)
    {
        var rows = (vocabulary < 100 ? 3 : 1) * s_options.Length;
        var logits = Some.Rounded<float>(Some.Normal(1, rows * vocabulary, 2));
        if (ties)
            logits = [.. logits.Select(x => Math.Round(x))];
        var actual = Draw(logits, vocabulary, rows, Enumerable.Range(0, rows).Select(row => s_options[row % s_options.Length]).ToArray(),
            isThorough: vocabulary > 100 && ties);
        for (var row = 0; row < rows; row++)
        {
            var x = logits[(row * vocabulary)..((row + 1) * vocabulary)];
            var options = s_options[row % s_options.Length];
            var random = new SplitMix((ulong)row * 977);
            var u = (random.Next() >> 11) * (1.0 / (1UL << 53));
            Assert.Equal(Defined(x, options, u), (int)actual[0][row]);
            Assert.Equal(x[(int)actual[0][row]] - x.Max() - Math.Log(x.Sum(v => Math.Exp(v - x.Max()))), actual[1][row], 2e-6);
            var after = new SplitMix((ulong)row * 977);
            if (options.Temperature > 0)
                after.Skip(1);
            Assert.Equal(after.Next(), new SplitMix(BitConverter.DoubleToUInt64Bits(actual[2][row])).Next());
        }
    }

    private static double[][] Draw(double[] logits, int vocabulary, int rows, Options[] options, bool isThorough) => Emulated.Everywhere(() =>
    {
        using Rows<float> x = new(logits), weights = new(rows * vocabulary), temperatures = new([.. options.Select(o => o.Temperature)]),
            minP = new([.. options.Select(o => o.MinP)]);
        using Rows<double> topP = new([.. options.Select(o => o.TopP)]), logProbs = new(rows);
        var (topK, tokens) = (options.Select(o => o.TopK).ToArray(), new int[rows]);
        var states = Enumerable.Range(0, rows).Select(row => (ulong)row * 977).ToArray();
        fixed (int* k = topK, to = tokens)
        fixed (ulong* state = states)
            Emulated.Run(CudaSampling.Draw(x.Pointer, vocabulary, vocabulary, weights.Pointer, state, temperatures.Pointer, k, topP.Pointer,
                minP.Pointer, to, logProbs.Pointer, rows));
        return [[.. tokens.Select(t => (double)t)], logProbs.ToArray(), [.. states.Select(BitConverter.UInt64BitsToDouble)]];
    }, allBarriers: isThorough, schedules: isThorough ? 20 : 3);

    /// <summary>By sorting: the likeliest first, of equal ones the first of the vocabulary.</summary>
    private static int Defined(double[] logits, Options options, double u)
    {
        var best = logits.Max();
        if (options.Temperature == 0)
            return Array.IndexOf(logits, best);
        var factor = (float)(1 / options.Temperature);
        double[] weights = [.. logits.Select(x => (double)MathF.Exp((float)(x - best) * factor))];
        int[] order = [.. Enumerable.Range(0, weights.Length).OrderByDescending(i => weights[i])];      // stable
        if (options.TopK > 0)
            order = order[..Math.Min(options.TopK, order.Length)];
        if (options.TopP < 1)
        {
            var (target, sum, count) = (options.TopP * order.Sum(i => weights[i]), 0.0, 0);
            while (sum < target)
                sum += weights[order[count++]];
            order = order[..count];
        }
        if (options.MinP > 0)
            order = [.. order.Where(i => weights[i] >= (float)options.MinP)];
        Array.Sort(order);
        var left = u * order.Sum(i => weights[i]);
        foreach (var i in order)
            if ((left -= weights[i]) < 0)
                return i;
        return order[^1];
    }

    [Fact]
    public void Logits_that_are_no_numbers_draw_nothing()
    {
        var actual = Draw([1, double.NaN, 2, 3, double.PositiveInfinity, 4, 1, 2, double.NegativeInfinity], 3, 3, [s_options[0], s_options[2], s_options[0]], false);
        Assert.Equal((-1, -1, true), ((int)actual[0][0], (int)actual[0][1], actual[0][2] is 0 or 1));
        Assert.True(double.IsNaN(actual[1][0]));
    }
}
