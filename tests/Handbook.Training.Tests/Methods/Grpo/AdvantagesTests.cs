using Handbook.Training.Methods;
using Handbook.Training.Methods.Grpo;

namespace Handbook.Training.Tests.Methods.Grpo;

public sealed class AdvantagesTests
{
    [Fact] // by hand: group (1, 0): mean 0.5, std √(0.5) = 0.70710678; group (1, 1): nothing to compare
    public void Rewards_are_compared_within_their_group()
    {
        var metrics = new MetricSums();

        var advantages = Advantages.Of([1, 0, 1, 1], 2, RewardScaling.Group, metrics);

        Assert.Equal(0.5 / (Math.Sqrt(0.5) + 1e-4), advantages[0], 1e-12);
        Assert.Equal([-advantages[0], 0, 0], advantages[1..]);
        var means = metrics.Means.ToDictionary();
        Assert.Equal((0.75, Math.Sqrt(0.5) / 2, 0.5), (means["reward"], means["reward_std"], means["frac_reward_zero_std"]));
    }

    [Fact] // by hand: all four rewards: mean 0.75, squares 0.1875 + 0.5625 = 0.75, std √(0.75/3) = 0.5
    public void Rewards_are_divided_by_the_spread_that_is_asked_for()
    {
        Assert.Equal([0.5, -0.5, 0, 0], Advantages.Of([1, 0, 1, 1], 2, RewardScaling.None));
        Assert.Equal(0.5 / (0.5 + 1e-4), Advantages.Of([1, 0, 1, 1], 2, RewardScaling.Batch)[0], 1e-12);
    }

    [Theory]
    [InlineData(RewardScaling.Group)]
    [InlineData(RewardScaling.Batch)]
    [InlineData(RewardScaling.None)]
    public void Advantages_of_a_group_cancel_and_do_not_see_a_constant(RewardScaling scaling)
    {
        for (var seed = 0; seed < 50; seed++)
        {
            var random = new Random(seed);
            double[] rewards = [.. Enumerable.Range(0, 12).Select(_ => random.NextDouble() * 10)];

            var advantages = Advantages.Of(rewards, 4, scaling);

            for (var g = 0; g < 12; g += 4)
                Assert.Equal(0, advantages.AsSpan(g, 4).ToArray().Sum(), 1e-9);
            var moved = Advantages.Of([.. rewards.Select(reward => reward + 7)], 4, scaling);
            Assert.All(advantages.Zip(moved), pair => Assert.Equal(pair.First, pair.Second, 1e-9));
        }
    }
}
