using System.Text.Json;
using Handbook.Data;
using Handbook.Models;
using Handbook.Recipes;
using Handbook.Tests.Methods.Grpo;
using Handbook.Torch;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Grpo;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Methods.Rewards;
using Handbook.Training.Tests.Contract;

namespace Handbook.Tests.Methods;

/// <summary>Whole steps where policy and reference could not disagree more: log-ratios of ±10,000, margins of 0, answers of one token, in
/// every element type.</summary>
[Collection("tensors")]
public sealed class ExtremeStepTests
{
    private static readonly (DType Weights, DType Compute)[] s_types = [(DType.Float64, DType.Float64), (DType.Float32, DType.Float32),
        (DType.Float32, DType.BFloat16)];

    public static TheoryData<TrainingMethod, string> Objectives() => PreferenceContractTests.Objectives();

    [Theory, MemberData(nameof(Objectives))] // peers.md 4.3, 13
    public void Number_13_a_step_of_extreme_log_ratios_is_finite_in_every_type(TrainingMethod method, string options)
    {
        using var config = JsonDocument.Parse(options);
        foreach (var (weights, compute) in s_types)
            foreach (var sharpness in (double[])[1, 4000])       // with 4,000 the policy's own log-probabilities are 0 and some −10,000
            {
                using var policy = Policy(weights, compute, sharpness);
                var objective = PreferenceObjective.Create(PreferenceCase.Recipe(method, null, config.RootElement));
                foreach (var (chosen, rejected) in (ReadOnlySpan<(double, double)>)[(0, 0), (-1e4, 0), (0, -1e4), (-1e4, -1e4)])
                {
                    var metrics = Check(policy, new PreferenceMethod("test", objective), Rows(method, new(chosen, rejected, rejected)),
                        $"{options} in {compute}, sharpness {sharpness}, reference {chosen} and {rejected}");
                    // it is as extreme as it says
                    Assert.Equal(sharpness > 1,
                        metrics.Any(metric => metric.Name.StartsWith("logps/", StringComparison.Ordinal) && metric.Mean < -2000));
                }
            }
    }

    [Theory]
    [InlineData(GrpoAggregation.Dapo), InlineData(GrpoAggregation.Grpo), InlineData(GrpoAggregation.DrGrpo),
        InlineData(GrpoAggregation.Bnpo)]
    public void Number_13_a_step_over_samples_that_the_policy_has_left_is_finite_in_every_type(GrpoAggregation aggregation)
    {
        foreach (var (weights, compute) in s_types)
            foreach (var level in Enum.GetValues<RatioLevel>())
                foreach (var score in (double[])[0, -1e4])
                {
                    using var policy = Policy(weights, compute, 4000);
                    TokenSegment[] answers = [Sample([5]), Sample([6, 7]), Sample([8])];
                    var rows = new TokenRowList([new TokenRow
                    {
                        Segments = [new(SegmentRole.Prompt, -1, new[] { 3, 4 }, new byte[2]), .. answers],
                        Samples = [.. answers.Select((answer, i) => new SampleScore(i - 1, true, All(answer, score), All(answer, -score)))],
                    }]);
                    Check(policy, GrpoMethodTests.Method(new GrpoLoss { Aggregation = aggregation, Level = level, Beta = 0.1 }, 1), rows,
                        $"{aggregation} by {level} in {compute}, old {score}");
                }

        static TokenSegment Sample(int[] ids) => new(SegmentRole.Sample, 0, ids, Enumerable.Repeat((byte)1, ids.Length).ToArray());

        static double[] All(TokenSegment answer, double value) => [.. Enumerable.Repeat(value, answer.Ids.Length)];
    }

    [Fact]
    public void Number_13_a_step_of_extreme_rewards_is_finite_in_every_type()
    {
        foreach (var (weights, compute) in s_types)
            foreach (var sharpness in (double[])[0, 1, 4000])        // 0: no reward differs from any other
            {
                using var model = Policy(weights, compute, sharpness, ModelHead.Score);
                Check(model, new RewardMethod(0.01), Rows(TrainingMethod.Reward, null), $"rewards in {compute}, sharpness {sharpness}");
            }
    }

    private static (string Name, double Mean)[] Check(Decoder model, ITrainingMethod method, ITokenRows rows, string what)
    {
        var (loss, metrics, norm) = PreferenceCase.Step(model, method, rows);
        Assert.True(double.IsFinite(loss), $"{what}: the loss is {loss}");
        Assert.All(metrics.Means, metric => Assert.True(double.IsFinite(metric.Mean), $"{what}: {metric.Name} is {metric.Mean}"));
        // a derivative at the edge of float32 may have a norm beyond it; a number it must be
        Assert.False(double.IsNaN(norm), $"{what}: the gradient's norm is not a number");
        return [.. metrics.Means];
    }

    /// <summary>A model whose head is multiplied: at 0 all tokens are alike, at 4,000 one is certain.</summary>
    private static Decoder Policy(DType weights, DType compute, double sharpness, ModelHead kind = ModelHead.Language)
    {
        var model = Tiny.Model("llama", 1, weights, compute, kind);
        var head = kind == ModelHead.Score ? model.Parameters["score.weight"] : model.Head;
        using (var scope = TensorScope.Enter())
        using (GradMode.Disabled())
            head.Value.Detach().CopyFrom(head.Value.Detach() * sharpness);
        model.Parameters.RefreshCompute();
        return model;
    }

    /// <summary>A pair of one-token answers, one of longer ones, and one whose answers are the same.</summary>
    private static TokenRowList Rows(TrainingMethod method, ReferenceScore? reference)
    {
        (int[] Prompt, int[] Good, int[] Bad)[] pairs = [([3, 4], [5], [6]), ([7], [8, 9, 10], [11, 2]), ([3], [12], [12])];
        return new(method is TrainingMethod.Kto or TrainingMethod.Bco
            ? [.. pairs.SelectMany(pair => new[] { PreferenceCase.Unpaired(pair.Prompt, pair.Good, true, pair.Bad),
                PreferenceCase.Unpaired(pair.Prompt, pair.Bad, false, pair.Good) }).Select(row => row with { Reference = reference })]
            : [.. pairs.Select(pair => PreferenceCase.Pair(pair.Prompt, pair.Good, pair.Bad,
                promptLoss: method == TrainingMethod.Orpo) with { Reference = reference })]);
    }
}
