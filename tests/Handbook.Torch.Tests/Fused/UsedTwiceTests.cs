using Handbook.Torch.Fused;

namespace Handbook.Torch.Tests.Fused;

/// <summary>
/// A backward function returns a gradient or adds it up; one that did both would double it where an operand is used more than once.
/// </summary>
public sealed class UsedTwiceTests
{
    private const double Rounding = 1e-12;      // float64 sums in another order

    private static readonly int[] s_targets = [1, 4, 0];

    public static TheoryData<string> Operations() => [.. Forms.Keys];

    private static Dictionary<string, Func<Tensor, Parameter, Tensor>> Forms { get; } = new()
    {
        ["log-probabilities"] = (x, head) => LinearLogProb.LogProbs(x, head, s_targets, new()).Sum(),
        ["weighted loss"] = (x, head) => LinearLogProb.WeightedLoss(x, head, s_targets, [0.3, -0.2, 1.1], new()).Sum(),
        ["rows"] = (x, head) => LinearLogProb.LogProbs(RowSelect.Forward(x, new[] { 2, 0 }), head, new[] { 3, 2 }, new()).Sum(),
        ["known gradient"] = (x, head) =>
        {
            var logProbs = LinearLogProb.LogProbs(x, head, s_targets, new());
            return KnownGradient.Of(logProbs, logProbs.Sum().ToScalar(), [1, 1, 1]);
        },
    };

    [Theory, MemberData(nameof(Operations))]
    public void Number_23_two_uses_in_one_pass_give_twice_the_gradient(string name)
    {
        var (once, headOnce) = Gradients(name, (f, x, head) => f(x, head).Backward());
        var (twice, headTwice) = Gradients(name, (f, x, head) =>
        {
            f(x, head).Backward();
            f(x, head).Backward();
        });
        var (joined, headJoined) = Gradients(name, (f, x, head) => (f(x, head) + f(x, head)).Sum().Backward());
        for (var i = 0; i < once.Length; i++)
        {
            Assert.Equal(2 * once[i], twice[i], Rounding);
            Assert.Equal(2 * once[i], joined[i], Rounding);
        }
        for (var i = 0; i < headOnce.Length; i++)
        {
            Assert.Equal(2 * headOnce[i], headTwice[i], Rounding);
            Assert.Equal(2 * headOnce[i], headJoined[i], Rounding);
        }
        Assert.Contains(once, g => g != 0);
    }

    private static (double[] Hidden, double[] Head) Gradients(string name, Action<Func<Tensor, Parameter, Tensor>, Tensor, Parameter> run)
    {
        using var scope = TensorScope.Enter();
        var random = new Random(3);
        var hidden = Tensor.From([.. Enumerable.Range(0, 12).Select(_ => random.NextDouble() - 0.5)], 3, 4);
        hidden.RequiresGrad = true;
        var head = new Operand(Role.Weight, [.. Enumerable.Range(0, 20).Select(_ => random.NextDouble() - 0.5)], [5, 4], Precision.Float64);
        run(Forms[name], hidden, head.Parameter!);
        var result = (hidden.Grad!.ToArray<double>(), head.Parameter!.Gradient!.ToArray<double>());
        head.Parameter!.Dispose();
        return result;
    }
}
