using Handbook.Torch.Cuda;
using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;
using Handbook.Torch.Tests.Kernels;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>The text of <c>router.cu</c> on the CPU against the router of the CPU.</summary>
public sealed unsafe class RouterTests
{
    [Theory]
    [InlineData(5, 6, 2, 1, 1, false, true, false), InlineData(70, 40, 3, 8, 3, false, false, true), InlineData(3, 130, 8, 1, 1, true, true, true),
        InlineData(4, 8, 8, 2, 1, false, false, true), InlineData(2, 33, 1, 11, 2, true, false, false)]
    public void Choices_weights_spread_and_gradients_are_those_of_the_cpu(int tokens, int experts, int perToken, int groups, int kept,
        bool isSigmoid, bool normalizes, bool corrected)
    {
        var rule = new RouterRule(perToken) { Groups = groups, GroupsPerToken = kept, IsSigmoid = isSigmoid, Normalizes = normalizes, Scale = 1.5 };
        var logits = Some.Rounded<float>(Some.Normal(1, tokens * experts, 2));
        for (var i = 0; i < experts; i += 3)
            logits[experts + i] = logits[experts];              // equal ones: the first is taken
        logits[2] = double.NaN;                                 // of the first token
        double[] correction = Some.Rounded<float>(Some.Normal(2, experts, 0.3)), slopes = Some.Rounded<float>(Some.Normal(3, tokens * perToken)),
            spread = Some.Normal(4, experts);
        float[] counts = [.. Some.Normal(5, tokens).Select(x => (float)Math.Abs(x))];
        var expected = Plain(rule, logits, corrected ? correction : null, slopes, spread, counts, experts);
        var actual = Emulated.Everywhere(() => Emulate(rule, logits, corrected ? correction : null, slopes, spread, counts, experts),
            allBarriers: tokens == 70, schedules: tokens == 70 ? 20 : 5);
        Assert.Equal(expected[0], actual[0]);
        for (var i = 1; i < expected.Length; i++)
            for (var j = 0; j < expected[i].Length; j++)
                Assert.True(expected[i][j].Equals(actual[i][j]) || Math.Abs(expected[i][j] - actual[i][j]) <= 2e-7 + 2e-7 * Math.Abs(expected[i][j]),
                    $"{i}, {j}: {expected[i][j]} and {actual[i][j]}");
    }

    private static double[][] Plain(RouterRule rule, double[] logits, double[]? correction, double[] slopes, double[] spread, float[] counts,
        int experts)
    {
        var tokens = counts.Length;
        using Rows<float> x = new(logits), b = new(correction ?? []), w = new(slopes.Length), dw = new(slopes), dx = new(logits.Length),
            bare = new(logits.Length), other = new(logits.Length);
        var (chosen, tally) = (new int[slopes.Length], new RouterTally(counts, experts));
        fixed (int* to = chosen)
        {
            var choice = new RouterKernel.Choice<float>
            {
                Rule = rule,
                Logits = x.Pointer,
                Correction = correction is null ? null : b.Pointer,
                Tokens = tokens,
                Experts = experts,
                Weights = w.Pointer,
                Chosen = to,
            };
            RouterKernel.Forward(choice, tally);
            RouterKernel.Backward(choice, dw.Pointer, spread, counts, dx.Pointer);
            RouterKernel.Backward(choice, dw.Pointer, null, null, bare.Pointer);
            RouterKernel.Backward(choice with { Rule = Other(rule) }, dw.Pointer, null, null, other.Pointer);
        }
        return [[.. chosen.Select(e => (double)e)], w.ToArray(), tally.Taken, tally.Probability, dx.ToArray(), bare.ToArray(), other.ToArray()];
    }

    private static double[][] Emulate(RouterRule rule, double[] logits, double[]? correction, double[] slopes, double[] spread, float[] counts,
        int experts)
    {
        var (tokens, pieces) = (counts.Length, (int)CudaRouter.Pieces(counts.Length));
        using Rows<float> x = new(logits), b = new(correction ?? []), w = new(slopes.Length), dw = new(slopes), dx = new(logits.Length),
            bare = new(logits.Length), other = new(logits.Length);
        using Rows<double> shares = new(logits.Length), parts = new(pieces * 2 * experts), ds = new(spread);
        var chosen = new int[slopes.Length];
        fixed (int* to = chosen)
        fixed (float* count = counts)
        {
            Emulated.Run(CudaRouter.Forward(x.Pointer, correction is null ? null : b.Pointer, w.Pointer, to, shares.Pointer, tokens, experts, rule));
            Emulated.Run(CudaRouter.Tally(to, shares.Pointer, count, parts.Pointer, tokens, experts, rule.PerToken));
            Emulated.Run(CudaRouter.Backward(x.Pointer, to, dw.Pointer, ds.Pointer, count, dx.Pointer, tokens, experts, rule));
            Emulated.Run(CudaRouter.Backward(x.Pointer, to, dw.Pointer, null, null, bare.Pointer, tokens, experts, rule));
            Emulated.Run(CudaRouter.Backward(x.Pointer, to, dw.Pointer, null, null, other.Pointer, tokens, experts, Other(rule)));
        }
        double Sum(int which, int expert) => Enumerable.Range(0, pieces).Sum(piece => parts[(2 * piece + which) * experts + expert]);
        return [[.. chosen.Select(e => (double)e)], w.ToArray(), [.. Enumerable.Range(0, experts).Select(e => Sum(0, e))],
            [.. Enumerable.Range(0, experts).Select(e => Sum(1, e))], dx.ToArray(), bare.ToArray(), other.ToArray()];
    }

    // Each barrier of the gradient is for one of the two.
    private static RouterRule Other(RouterRule rule) => rule with { Normalizes = !rule.Normalizes };

    [Fact]
    public void More_experts_than_a_warp_can_mark_are_refused()
    {
        Assert.Contains("up to 1024", Assert.Throws<NotSupportedException>(() => CudaRouter.Forward(null, null, null, null, null, 1, 1025, new(2))).Message);
        Assert.Contains("up to 32", Assert.Throws<NotSupportedException>(() => CudaRouter.Forward(null, null, null, null, null, 1, 64, new(33))).Message);
    }
}
