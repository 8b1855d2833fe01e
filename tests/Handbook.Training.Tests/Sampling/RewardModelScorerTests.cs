using System.Text.Json;
using Handbook.Models;
using Handbook.Training.Rewards;
using Handbook.Training.Sampling;
using Handbook.Training.Sampling.Scorers;
using Handbook.Training.Tests.Contract;
using Handbook.Training.Tests.Rewards;

namespace Handbook.Training.Tests.Sampling;

[Collection("tensors")]
public sealed class RewardModelScorerTests
{
    private static readonly JsonElement s_asked = JsonDocument.Parse("""[{"role": "user", "content": "ab"}]""").RootElement;

    [Fact] // 1e-10 in float64: a shared prompt changes the order of sums alone
    public void Answers_to_texts_and_conversations_get_the_scores_of_handbook_score()
    {
        using var alone = Model();
        using var scorer = new RewardModelScorer(Model());
        SampledAnswer[] answers =
        [
            new() { Messages = s_asked, Answer = "b", Place = "1" }, new() { Messages = s_asked, Answer = "bab", Place = "1" },
            new() { Text = "ab", Answer = "ba", Place = "2" }, new() { Text = "ab", Answer = "a", Place = "2" },
                new() { Text = "ab", Answer = "", Place = "2" },
            new() { Messages = s_asked, Answer = "a", Place = "3" },
        ];
        var scores = new double[answers.Length];

        scorer.Score(answers, (i, score) => scores[i] = score.Value, default);

        double[] expected = [.. alone.Score([alone.Row(s_asked, ["b", "bab"])]), .. alone.Score([alone.Row("ab", ["ba", "a", ""])]),
            .. alone.Score([alone.Row(s_asked, ["a"])])];
        Assert.All(expected.Zip(scores), p => Assert.Equal(p.First, p.Second, 1e-10));
        Assert.Equal(6, scores.Distinct().Count());
    }

    private static RewardModel Model() => new(Tiny.Model("llama", head: ModelHead.Score), ScoreRunTests.MakeTokenizer());
}
