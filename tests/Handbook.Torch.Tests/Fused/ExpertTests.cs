using Handbook.Testing;
using Handbook.Torch.Fused;
using Handbook.Torch.Reference;

namespace Handbook.Torch.Tests.Fused;

public sealed class ExpertTests
{
    [Theory, InlineData(1, 1, 1, true), InlineData(7, 4, 2, true), InlineData(70, 8, 3, true), InlineData(7, 4, 2, false), InlineData(5,
        3, 3, true), InlineData(7, 4, 2, true, 2, 2.5), InlineData(7, 6, 2, false, 1, 0.5), InlineData(90, 6, 3, true, 3, 2)]
    public void The_weights_of_chosen_experts_agree_with_ordinary_operators(int tokens, int experts, int perToken, bool normalize,
        int groups = 0, double scale = 1)
    {
        var rule = new RouterRule(perToken)
        {
            Normalizes = normalize,
            IsSigmoid = groups > 0,
            Scale = scale,
            Groups = Math.Max(1, groups),
            GroupsPerToken = Math.Max(1, groups - 1)
        };
        float[] counts = [.. Enumerable.Range(0, tokens).Select(t => t % 3f)];
        var router = new Agree
        {
            Fused = x =>
            {
                var (weights, _, spread) = TopKRouter.Forward(x[0].Value, rule, new RouterTally(counts, experts));
                return [weights, spread!];
            },
            Plain = x =>
            {
                var (weights, spread) = Plain.Route(x[0].Value, TopKRouter.Forward(x[0].Value.Detach(), rule).Routing, rule, counts);
                return [weights, spread];
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
        var tally = new RouterTally([2, 0.5f], 4);
        var (weights, routing, spread) = TopKRouter.Forward(Tensor.From([.. row, .. row.Reverse()], 2, 4),
            new(2) { Normalizes = true }, tally);
        Assert.Equal([2, 1, 1, 2], routing.Expert);
        Assert.Equal([2, 0, 1, 3], routing.Row);
        Assert.Equal([0, 0, 2, 4], routing.Start);
        Assert.Equal([0, 1, 0, 1], routing.Tokens());
        Assert.Equal([0, 2, 2, 0], routing.Count);
        foreach (var (expected, actual) in new[] { 2 / 3.0, 1 / 3.0, 2 / 3.0, 1 / 3.0 }.Zip(weights.ToArray<double>()))
            Assert.Equal(expected, actual, 1e-15);
        Assert.Equal([0, 2.5, 2.5, 0], tally.Taken);
        Assert.Equal([0.3125, 0.75, 1.125, 0.3125], tally.Probability.Select(p => Math.Round(p, 12)));
        Lazily.Same(tally.Probability, spread!.ToArray<double>());
    }

    [Fact] // by hand: σ of the logits are ½, ¾, ⅗, ⅘, ⅔, ⅓; in groups of two the best pairs are 1.25, 1.4 and 1
    public void Groups_and_corrections_decide_who_is_chosen_but_not_what_it_counts()
    {
        using var scope = TensorScope.Enter();
        double[] values = [0.5, 0.75, 0.6, 0.8, 2 / 3.0, 1 / 3.0];
        var logits = Tensor.From(Array.ConvertAll(values, v => Math.Log(v / (1 - v))), 1, 6);
        var rule = new RouterRule(2) { IsSigmoid = true, Normalizes = true, Scale = 3, Groups = 3, GroupsPerToken = 1 };
        Check([3, 2], [0.8, 0.6], TopKRouter.Forward(logits, rule));
        // the third group becomes the best one, its second expert the better one
        Check([5, 4], [1 / 3.0, 2 / 3.0], TopKRouter.Forward(logits, rule, correction: Tensor.From([0.0, 0, 0, 0, 0.1, 0.5])));
        // another group's experts count as 0, more than what is corrected below it
        Check([3, 0], [0.8, 0.5], TopKRouter.Forward(logits, rule, correction: Tensor.From([-5.0, -5, -0.7, 0, -5, -5])));

        void Check(int[] chosen, double[] scores, (Tensor Weights, Routing Routing, Tensor? Spread) found)
        {
            Assert.Equal(chosen, found.Routing.Expert);
            foreach (var (score, weight) in scores.Zip(found.Weights.ToArray<double>()))
                Assert.Equal(3 * score / scores.Sum(), weight, 1e-12);
        }
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
            Fused = x => [ExpertCombine.Forward(Squares(ExpertDispatch.Forward(x[0].Value, routing)), x[1].Value, routing)],
            Plain = x => [Plain.Combine(Squares(Plain.Dispatch(x[0].Value, routing)), x[1].Value, routing)],
        }.With(Role.Product, 1, tokens, width).With(Role.Stream, 1, tokens, perToken);
        visit.Check();
        if (tokens < 10)
            visit.CheckDifferences();
    }

    private static Tensor Squares(Tensor rows) => rows * rows;
}
