using Handbook.Base;
using Handbook.Models.Generation;

namespace Handbook.Models.Tests.Generation;

public sealed class SamplerTests
{
    private const int Draws = 4000;

    // ln of the probabilities 0.5, 0.2, 0.15, 0.1, 0.05
    private static readonly float[] Logits = [.. new[] { 0.15, 0.5, 0.05, 0.2, 0.1 }.Select(p => (float)Math.Log(p))];

    [Fact]
    public void Temperature_0_takes_the_best() => Assert.Equal(1, Draw(new() { Temperature = 0 }, Logits).Token);

    [Fact] // by hand: ln 0.5
    public void The_log_probability_is_that_of_the_untouched_logits()
    {
        Assert.Equal(Math.Log(0.5), Draw(new() { Temperature = 0 }, Logits).LogProb, 1e-6);
        Assert.Equal(Math.Log(0.5), Draw(new() { Temperature = 0.01, TopK = 1, RepetitionPenalty = 3 }, Logits, 0, 2).LogProb, 1e-6);
    }

    [Fact]
    public void At_temperature_1_tokens_come_as_often_as_they_are_likely() => AssertShares(new(), [0.15, 0.5, 0.05, 0.2, 0.1]);

    [Fact] // by hand: squares 0.0225, 0.25, 0.0025, 0.04, 0.01 sum to 0.325
    public void Temperature_one_half_squares_the_probabilities() =>
        AssertShares(new() { Temperature = 0.5 }, [0.0692, 0.7692, 0.0077, 0.1231, 0.0308]);

    [Fact] // the two best, 0.5 and 0.2, of 0.7
    public void Top_k_keeps_the_best() => AssertShares(new() { TopK = 2 }, [0, 0.7143, 0, 0.2857, 0]);

    [Fact] // 0.5 + 0.2 = 0.7 < 0.75 ≤ 0.85: the token that crosses the line stays
    public void Top_p_keeps_the_smallest_set_that_reaches_it() => AssertShares(new() { TopP = 0.75 }, [0.1765, 0.5882, 0, 0.2353, 0]);

    [Fact]
    public void Top_p_always_keeps_the_best() => AssertShares(new() { TopP = 0.01 }, [0, 1, 0, 0, 0]);

    [Fact] // after top-k: 0.5/0.85 = 0.588, + 0.2/0.85 = 0.824 ≥ 0.6
    public void Top_p_counts_within_top_k() => AssertShares(new() { TopK = 3, TopP = 0.6 }, [0, 0.7143, 0, 0.2857, 0]);

    [Fact] // 0.3 · 0.5 = 0.15
    public void Min_p_keeps_what_has_that_share_of_the_best() => AssertShares(new() { MinP = 0.2999 }, [0.1765, 0.5882, 0, 0.2353, 0]);

    [Fact] // logits 1, 2, −1: the seen 2 becomes 2/4, the seen −1 becomes −4; the unseen 1 is the best
    public void What_was_said_becomes_less_likely()
    {
        var options = new SamplingOptions { Temperature = 0, RepetitionPenalty = 4 };
        Assert.Equal(0, Draw(options, [1, 2, -1], 1, 2).Token);
        // … but not for its log-probability
        Assert.Equal(2 - Math.Log(Math.E + Math.Exp(2) + Math.Exp(-1)), Draw(options, [1, 2, -1], 0, 2).LogProb, 1e-6);
    }

    [Fact] // 1, 0.9: at first 0, which then is halved
    public void What_the_answer_says_counts_as_said()
    {
        var sampler = new Sampler(new() { Temperature = 0, RepetitionPenalty = 2 }, 0, []);
        Assert.Equal(0, sampler.Next([1, 0.9f]).Token);
        Assert.Equal(1, sampler.Next([1, 0.9f]).Token);
        Assert.Equal(0, sampler.Next([1, 0.9f]).Token);     // 0.5 against 0.45
    }

    [Theory, InlineData(0, 0.9), InlineData(50, 1), InlineData(50, 0.7), InlineData(700, 1), InlineData(2000, 0.95), InlineData(1, 1),
        InlineData(0, 0.999)]
    public void A_large_vocabulary_is_narrowed_as_a_full_sort_would(int topK, double topP)
    {
        const int vocabulary = 3001;
        var random = new Random(topK + 7);
        var logits = Enumerable.Range(0, vocabulary)
            .Select(_ => (float)(3 * random.NextDouble() * random.NextDouble() * random.NextDouble() * 4)).ToArray();
        logits[17] = logits[2005] = logits[3000] = logits.Order().ElementAt(2980);      // ties
        var weights = logits.Select(x => Math.Exp(x)).ToArray();
        var sorted = Enumerable.Range(0, vocabulary).OrderByDescending(i => logits[i]).ThenBy(i => i).Take(topK > 0 ? topK : vocabulary)
            .ToArray();
        var (mass, kept) = (0.0, new HashSet<int>());
        var all = sorted.Sum(i => weights[i]);
        foreach (var token in sorted)
        {
            if (mass >= topP * all && topP < 1)
                break;
            kept.Add(token);
            mass += weights[token];
        }
        var sampler = new Sampler(new() { TopK = topK, TopP = topP }, 0, []);
        var counts = new Dictionary<int, int>();
        const int draws = 20000;
        for (var i = 0; i < draws; i++)
        {
            var token = sampler.Next(logits).Token;
            counts[token] = counts.GetValueOrDefault(token) + 1;
        }
        // Rounding may move the last token over the line.
        Assert.True(counts.Keys.Count(token => !kept.Contains(token)) <= 1, "tokens beyond the threshold were drawn");
        foreach (var token in kept.OrderByDescending(i => weights[i]).Take(5))
        {
            var share = weights[token] / mass;
            Assert.Equal(share, counts.GetValueOrDefault(token) / (double)draws, 5 * Math.Sqrt(share * (1 - share) / draws) + 1e-9);
        }
    }

    [Fact]
    public void Logits_that_are_no_numbers_stop_the_answer() =>
        Assert.Contains("not numbers", Assert.Throws<InputException>(() => Draw(new(), [1, float.NaN, 0])).What);

    [Theory]
    [InlineData("temperature is -1", -1.0, 1.0, 0, 1.0)]
    [InlineData("top-p is 0", 1.0, 0.0, 0, 1.0)]
    [InlineData("top-p is 1.5", 1.0, 1.5, 0, 1.0)]
    [InlineData("top-k is -2", 1.0, 1.0, -2, 1.0)]
    [InlineData("repetition-penalty is 0", 1.0, 1.0, 0, 0.0)]
    public void Values_out_of_range_are_named(string message, double temperature, double topP, int topK, double penalty)
    {
        var options = new SamplingOptions { Temperature = temperature, TopP = topP, TopK = topK, RepetitionPenalty = penalty };
        Assert.StartsWith(message, Assert.Throws<InputException>(options.Validate).What);
    }

    private static DrawnToken Draw(SamplingOptions options, float[] logits, params int[] prompt) =>
        new Sampler(options, 0, prompt).Next((float[])logits.Clone());

    // 4,000 draws with fixed seeds: four standard deviations of a share are at most 4·√(0.25/4000) = 0.032.
    private static void AssertShares(SamplingOptions options, double[] expected)
    {
        var counts = new int[expected.Length];
        var sampler = new Sampler(options, 0, []);
        for (var i = 0; i < Draws; i++)
            counts[sampler.Next((float[])Logits.Clone()).Token]++;
        for (var i = 0; i < expected.Length; i++)
        {
            Assert.Equal(expected[i], counts[i] / (double)Draws, 0.032);
            Assert.Equal(expected[i] == 0, counts[i] == 0);
        }
    }
}
