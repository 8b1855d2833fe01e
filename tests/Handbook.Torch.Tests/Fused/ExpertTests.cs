using Handbook.Torch.Fused;

namespace Handbook.Torch.Tests.Fused;

public sealed class ExpertTests
{
    [Theory, InlineData(1, 1, 1, true), InlineData(7, 4, 2, true), InlineData(70, 8, 3, true), InlineData(7, 4, 2, false), InlineData(5, 3, 3, true)]
    public void The_weights_of_chosen_experts_agree_with_ordinary_operators(int tokens, int experts, int perToken, bool normalize)
    {
        var router = new Agree
        {
            Fused = x => [TopKRouter.Forward(x[0].Value, perToken, normalize).Weights],
            Plain = x =>
            {
                var (_, routing) = TopKRouter.Forward(x[0].Value.Detach(), perToken, normalize);
                var p = x[0].Value.Softmax(1).Gather(1, Tensor.From(Array.ConvertAll(routing.Expert, e => (long)e), tokens, perToken));
                return [normalize ? p / p.Sum(1, keepDim: true) : p];
            },
        }.With(Role.Stream, 1.5, tokens, experts);
        router.Check();
        if (tokens < 10)
            router.CheckDifferences();
    }

    [Fact] // by hand: the logits are logarithms of 1, 2, 4, 1, so p = ⅛, ¼, ½, ⅛; the best two are 2 and 1
    public void The_best_experts_are_chosen_and_tallied_by_weight()
    {
        using var scope = TensorScope.Enter();
        double[] row = [0, Math.Log(2), Math.Log(4), 0];
        var tally = new RouterTally([2, 0.5f], 4, () => [0, 0, 0, 0]);
        var (weights, routing) = TopKRouter.Forward(Tensor.From([.. row, .. row.Reverse()], 2, 4), 2, normalize: true, tally);
        Assert.Equal([2, 1, 1, 2], routing.Expert);
        Assert.Equal([0, 0, 1, 1], routing.Row);
        Assert.Equal([0, 2, 2, 0], routing.Count);
        foreach (var (expected, actual) in new[] { 2 / 3.0, 1 / 3.0, 2 / 3.0, 1 / 3.0 }.Zip(weights.ToArray<double>()))
            Assert.Equal(expected, actual, 1e-15);
        Assert.Equal([0, 2.5, 2.5, 0], tally.Taken);
        Assert.Equal([0.3125, 0.75, 1.125, 0.3125], tally.Probability.Select(p => Math.Round(p, 12)));
    }

    [Fact]
    public void A_loss_over_the_tally_joins_the_gradient()
    {
        double[] slope = [0.3, -1.2, 0.8, 0.1];
        double[] values = [.. Enumerable.Range(0, 12).Select(i => Math.Sin(3 * i))];
        float[] counts = [2, 0, 1];
        using var scope = TensorScope.Enter();
        var logits = Tensor.From(values, 3, 4);
        logits.RequiresGrad = true;
        var (weights, _) = TopKRouter.Forward(logits, 2, normalize: true, new RouterTally(counts, 4, () => slope));
        (weights * Tensor.From([1.0, 2, 3, 4, 5, 6], 3, 2)).Sum().Backward();
        Kernels.Some.Gradient(Total, values, logits.Grad!.ToArray<double>());

        double Total(double[] at)
        {
            using var inner = TensorScope.Enter();
            var tally = new RouterTally(counts, 4, () => slope);
            var (w, _) = TopKRouter.Forward(Tensor.From(at, 3, 4), 2, normalize: true, tally);
            return w.ToArray<double>().Select((x, i) => x * (i + 1)).Sum() + tally.Probability.Zip(slope, (p, s) => p * s).Sum();
        }
    }

    [Theory, InlineData(1, 1, 1, 1), InlineData(6, 3, 2, 5), InlineData(70, 5, 2, 37)]
    public void Rows_go_to_their_experts_and_come_back_as_their_weighted_sum(int tokens, int experts, int perToken, int width)
    {
        var random = new Random(tokens);
        // expert 0 gets nobody where there are others to go to
        int[] chosen = [.. Enumerable.Range(0, tokens).SelectMany(_ => Enumerable.Range(experts > perToken ? 1 : 0, experts > perToken ? experts - 1 : experts).OrderBy(_ => random.Next()).Take(perToken))];
        var routing = new Routing(chosen, perToken, experts);
        var visit = new Agree
        {
            Fused = x => [ExpertCombine.Forward(Array.ConvertAll(ExpertDispatch.Forward(x[0].Value, routing), rows => rows is null ? null : rows * rows), x[1].Value, routing)],
            Plain = x => [(x[0].Value * x[0].Value) * x[1].Value.Sum(1, keepDim: true)],
        }.With(Role.Product, 1, tokens, width).With(Role.Stream, 1, tokens, perToken);
        visit.Check();
        if (tokens < 10)
            visit.CheckDifferences();
    }
}
