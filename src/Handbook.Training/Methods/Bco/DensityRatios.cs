using Handbook.Base;
using Handbook.Data;
using Handbook.Models;
using Handbook.Torch;

namespace Handbook.Training.Methods.Bco;

/// <summary>BCO's weights of bad answers: how much more often their prompts stand before good answers than before bad ones.</summary>
/// <remarks>
/// <code>
/// w(x) = clip( p(x | good) / p(x | bad), least, most )        Jung et al. 2024, arXiv:2404.04656, §4.2
/// </code>
/// The ratio is the odds of a <see cref="LogisticClassifier"/> over embeddings of prompts: the mean of the final hidden states of the model
/// before training over a prompt's tokens, as they are before an answer. A row without a prompt weighs 1.
/// </remarks>
internal sealed class DensityRatios
{
    private const int GroupSize = 256;

    /// <summary>By training row; 1 for good answers.</summary>
    public double[] Train { get; private set; } = [];

    /// <summary>By held-out row; 1 for good answers.</summary>
    public double[] HeldOut { get; private set; } = [];

    /// <summary>The least weight of a bad answer in training.</summary>
    public double Least { get; private set; } = 1;

    /// <summary>The greatest weight of a bad answer in training.</summary>
    public double Greatest { get; private set; } = 1;

    /// <summary>The mean weight of a bad answer in training.</summary>
    public double Mean { get; private set; } = 1;

    /// <summary>Learns from the training rows, and weighs the rows of both sets.</summary>
    /// <param name="model">The model before training.</param>
    /// <param name="least">Least weight.</param>
    /// <param name="most">Greatest weight.</param>
    /// <param name="maxTokens">Most tokens that go through the network at once.</param>
    /// <param name="done">Told the number of further rows that are read.</param>
    /// <exception cref="InputException">All answers are good, or all are bad.</exception>
    public void Compute(Decoder model, ITokenRows train, ITokenRows? heldOut, double least, double most, int maxTokens,
        Action<int>? done = null, CancellationToken cancel = default)
    {
        var points = Embed(model, train, maxTokens, done, cancel, out var isGood);
        int[] known = [.. Enumerable.Range(0, points.Length).Where(i => points[i] is not null)];
        var good = known.Count(i => isGood[i]);
        if (good == 0 || good == known.Length)
            throw new InputException($"use_density_ratio compares prompts of good and of bad answers, but all {known.Length} training "
                + $"rows with a prompt are {(good == 0 ? "bad" : "good")}",
                fix: "check the label column, or set use_density_ratio: false");
        var classifier = LogisticClassifier.Fit([.. known.Select(i => points[i]!)], [.. known.Select(i => isGood[i])]);
        Train = Weights(points, isGood);
        if (Enumerable.Range(0, Train.Length).Where(i => !isGood[i]).Select(i => Train[i]).ToArray() is { Length: > 0 } bad)
            (Least, Greatest, Mean) = (bad.Min(), bad.Max(), bad.Average());
        if (heldOut is not null)
            HeldOut = Weights(Embed(model, heldOut, maxTokens, done, cancel, out var isGoodThere), isGoodThere);

        double[] Weights(float[]?[] points, bool[] isGood) =>
            [.. points.Select((point, i) => point is null || isGood[i] ? 1 : Math.Clamp(classifier.Odds(point), least, most))];
    }

    /// <summary>The mean hidden state over each row's prompt; null for a row without one.</summary>
    private static float[]?[] Embed(Decoder model, ITokenRows rows, int maxTokens, Action<int>? done, CancellationToken cancel,
        out bool[] isGood)
    {
        using var mode = GradMode.Disabled();
        var points = new float[rows.Count][];
        isGood = new bool[rows.Count];
        for (var start = 0; start < rows.Count; start += GroupSize)
        {
            cancel.ThrowIfCancellationRequested();
            var (numbers, prompts) = (new List<int>(), new List<TokenRow>());
            for (var i = start; i < Math.Min(start + GroupSize, rows.Count); i++)
            {
                var row = rows.Read(i);
                isGood[i] = row.Segments.Any(segment => segment.Role == SegmentRole.Chosen);
                if (row.Segments.FirstOrDefault(segment => segment.Role == SegmentRole.Prompt) is { Ids.Length: > 0 } prompt)
                {
                    numbers.Add(i);
                    prompts.Add(new() { Segments = [prompt] });
                }
            }
            foreach (var bin in BatchLoader.Bins(new TokenRowList(prompts), [.. Enumerable.Range(0, prompts.Count)], maxTokens))
            {
                using var scope = TensorScope.Enter();
                var hidden = model.Hidden(bin.Stream).To(DType.Float32);
                var (values, width) = (hidden.ToArray<float>(), (int)hidden.Size(1));
                foreach (var segment in bin.Batch.Segments)
                    points[numbers[segment.Row]] = MeanOf(values, segment, width);
            }
            done?.Invoke(Math.Min(GroupSize, rows.Count - start));
        }
        return points;
    }

    private static float[] MeanOf(float[] values, Segment segment, int width)
    {
        var sum = new double[width];
        for (var t = segment.Start; t < segment.Start + segment.Length; t++)
            for (var d = 0; d < width; d++)
                sum[d] += values[(t * width) + d];
        return Array.ConvertAll(sum, s => (float)(s / segment.Length));
    }
}
