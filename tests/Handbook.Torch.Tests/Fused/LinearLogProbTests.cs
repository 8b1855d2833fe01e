using Handbook.Torch.Fused;
using Handbook.Torch.Reference;

namespace Handbook.Torch.Tests.Fused;

public sealed class LinearLogProbTests
{
    private static int[] Targets(int rows, int vocabulary) =>
        [.. Enumerable.Range(0, rows).Select(i => (i * 7919 + vocabulary - 1) % vocabulary)];

    private static double[] Weights(int rows) => Kernels.Some.Normal(17, rows);

    private static Agree WeightedLoss(int rows, int width, int vocabulary, HeadOptions options) => new Agree
    {
        Fused = x => [LinearLogProb.WeightedLoss(x[0].Value, x[1].Parameter!, Targets(rows, vocabulary), Weights(rows), options)],
        Plain = x => [(Plain.Loss(x[0].Value, x[1].Value, Targets(rows, vocabulary),
            options) * Tensor.From(Weights(rows))).Sum().Reshape(1)],
    }.With(Role.Product, 1, rows, width).With(Role.Weight, 0.5, vocabulary, width);

    private static Agree LogProbs(int rows, int width, int vocabulary, HeadOptions options) => new Agree
    {
        Fused = x => [LinearLogProb.LogProbs(x[0].Value, x[1].Parameter!, Targets(rows, vocabulary), options)],
        Plain = x => [-Plain.Loss(x[0].Value, x[1].Value, Targets(rows, vocabulary), options)],
    }.With(Role.Product, 1, rows, width).With(Role.Weight, 0.5, vocabulary, width);

    [Theory] // rows, width, vocabulary: from one of each to more rows than a chunk holds
    [InlineData(1, 1, 1), InlineData(1, 1, 7), InlineData(5, 3, 2), InlineData(3, 8, 4099), InlineData(70, 4, 1003)]
    public void Number_24_both_forms_agree_with_ordinary_operators(int rows, int width, int vocabulary)
    {
        foreach (var options in new HeadOptions[] { new(), new() { Scale = 0.5, SoftCap = 3 } })
        {
            LogProbs(rows, width, vocabulary, options).Check();
            WeightedLoss(rows, width, vocabulary, options).Check();
        }
        WeightedLoss(rows, width, vocabulary, new() { LabelSmoothing = 0.1 }).Check();
    }

    [Fact]
    public void A_large_vocabulary_is_worked_through_in_chunks() => WeightedLoss(300, 2, 32003, new()).Check();

    [Fact]
    public void Number_23_gradients_match_finite_differences()
    {
        LogProbs(3, 4, 7, new() { Scale = 0.7, SoftCap = 2 }).CheckDifferences();
        WeightedLoss(3, 4, 7, new() { LabelSmoothing = 0.2 }).CheckDifferences();
    }
}
