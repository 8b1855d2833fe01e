using Handbook.Torch.Fused;
using Handbook.Torch.Reference;

namespace Handbook.Torch.Tests.Fused;

public sealed class ExpertTests
{
    [Theory, InlineData(1, 1, 1, true), InlineData(7, 4, 2, true), InlineData(70, 8, 3, true), InlineData(7, 4, 2, false), InlineData(5,
        3, 3, true)]
    public void The_weights_of_chosen_experts_agree_with_ordinary_operators(int tokens, int experts, int perToken, bool normalize)
    {
        var router = new Agree
        {
            Fused = x => [TopKRouter.Forward(x[0].Value, perToken, normalize).Weights],
            Plain = x => [Plain.Route(x[0].Value, TopKRouter.Forward(x[0].Value.Detach(), perToken, normalize).Routing, normalize,
                new float[tokens]).Weights],
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
        var tally = new RouterTally([2, 0.5f], 4);
        var (weights, routing, spread) = TopKRouter.Forward(Tensor.From([.. row, .. row.Reverse()], 2, 4), 2, normalize: true, tally);
        Assert.Equal([2, 1, 1, 2], routing.Expert);
        Assert.Equal([0, 0, 1, 1], routing.Row);
        Assert.Equal([0, 2, 2, 0], routing.Count);
        foreach (var (expected, actual) in new[] { 2 / 3.0, 1 / 3.0, 2 / 3.0, 1 / 3.0 }.Zip(weights.ToArray<double>()))
            Assert.Equal(expected, actual, 1e-15);
        Assert.Equal([0, 2.5, 2.5, 0], tally.Taken);
        Assert.Equal([0.3125, 0.75, 1.125, 0.3125], tally.Probability.Select(p => Math.Round(p, 12)));
        Assert.Equal(tally.Probability, spread!.ToArray<double>());
    }

    [Theory, InlineData(1, 1, 1, 1), InlineData(6, 3, 2, 5), InlineData(70, 5, 2, 37)]
    public void Rows_go_to_their_experts_and_come_back_as_their_weighted_sum(int tokens, int experts, int perToken, int width)
    {
        var random = new Random(tokens);
        // expert 0 gets nobody where there are others to go to
        int[] chosen = [.. Enumerable.Range(0, tokens).SelectMany(_ => Enumerable.Range(experts > perToken ? 1 : 0, experts > perToken
            ? experts - 1 : experts).OrderBy(_ => random.Next()).Take(perToken))];
        var routing = new Routing(chosen, perToken, experts);
        var visit = new Agree
        {
            Fused = x => [ExpertCombine.Forward(Array.ConvertAll(ExpertDispatch.Forward(x[0].Value, routing), rows => rows is null
                ? null : rows * rows), x[1].Value, routing)],
            Plain = x => [Plain.Combine(Array.ConvertAll(Plain.Dispatch(x[0].Value, routing), rows => rows is null ? null
                : rows * rows), x[1].Value, routing)],
        }.With(Role.Product, 1, tokens, width).With(Role.Stream, 1, tokens, perToken);
        visit.Check();
        if (tokens < 10)
            visit.CheckDifferences();
    }
}
