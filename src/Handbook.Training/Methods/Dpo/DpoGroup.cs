using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Methods.Dpo;

/// <summary>The scores of a pair.</summary>
/// <param name="Chosen">L(y_w), reduced.</param>
/// <param name="Rejected">L(y_l), reduced.</param>
/// <param name="ChosenReference">The reference's L(y_w).</param>
/// <param name="RejectedReference">The reference's L(y_l).</param>
/// <param name="ChosenLength">Tokens of the chosen answer.</param>
/// <param name="RejectedLength">Tokens of the rejected answer.</param>
internal readonly record struct DpoPair(
    double Chosen, double Rejected, double ChosenReference, double RejectedReference, int ChosenLength, int RejectedLength)
{
    public double ChosenRatio => Chosen - ChosenReference;

    public double RejectedRatio => Rejected - RejectedReference;
}

/// <summary>The pairs of one evaluation, with the loss and its derivatives by their scores as the losses of a mix add to them.</summary>
/// <param name="pairs">The pairs.</param>
/// <param name="count">Pairs of the whole group: what the mean divides by.</param>
internal sealed class DpoGroup(DpoPair[] pairs, int count)
{
    public DpoPair[] Pairs => pairs;

    /// <summary>ω of each pair; 1 without weighting.</summary>
    public double[] Weights { get; } = [.. Enumerable.Repeat(1.0, pairs.Length)];

    public double Loss { get; set; }

    public double[] ChosenDerivative { get; } = new double[pairs.Length];

    public double[] RejectedDerivative { get; } = new double[pairs.Length];

    /// <summary>What each chosen token's derivative has besides its answer's: that of the likelihood term.</summary>
    public double[] ChosenTokenDerivative { get; } = new double[pairs.Length];

    /// <summary>Adds a loss to the mean.</summary>
    /// <param name="index">Whose ω it has.</param>
    /// <param name="weight">Its weight in the mix.</param>
    /// <param name="loss">The loss, with derivatives by a chosen and a rejected answer's score.</param>
    /// <param name="chosen">Which pair's chosen answer the first derivative is for.</param>
    /// <param name="rejected">Which pair's rejected answer the second derivative is for.</param>
    public void Add(int index, double weight, Dual loss, int chosen, int rejected)
    {
        var share = weight * Weights[index] / count;
        Loss += share * loss.Value;
        ChosenDerivative[chosen] += share * loss.First;
        RejectedDerivative[rejected] += share * loss.Second;
    }

    /// <summary><c>aot</c>: the policy's margins against the reference's, both sorted. arXiv:2406.05882.</summary>
    public void AddPairedTransport(double weight, Func<Dual, Dual> loss)
    {
        var policy = Order(pair => pair.Chosen - pair.Rejected);
        var reference = Order(pair => pair.ChosenReference - pair.RejectedReference);
        for (var k = 0; k < pairs.Length; k++)
        {
            var (p, r) = (policy[k], reference[k]);
            var margin = Dual.Variable1(pairs[p].Chosen) - Dual.Variable2(pairs[p].Rejected);
            Add(k, weight, loss(margin - (pairs[r].ChosenReference - pairs[r].RejectedReference)), p, p);
        }
    }

    /// <summary><c>aot_unpaired</c>: the chosen answers' log-ratios against the rejected ones', both sorted.</summary>
    public void AddUnpairedTransport(double weight, Func<Dual, Dual> loss)
    {
        var chosen = Order(pair => pair.ChosenRatio);
        var rejected = Order(pair => pair.RejectedRatio);
        for (var k = 0; k < pairs.Length; k++)
        {
            var (c, r) = (chosen[k], rejected[k]);
            Add(k, weight, loss(Dual.Variable1(pairs[c].ChosenRatio) - Dual.Variable2(pairs[r].RejectedRatio)), c, r);
        }
    }

    /// <summary><c>kto_pair</c>: each answer as in KTO, against the mean log-ratio of the other half, z = max(0, mean ρ), through which the
    /// gradient flows.</summary>
    /// <remarks>As the release that had it (TRL 0.8.6); a pair's loss is the mean of its two answers' losses.</remarks>
    public void AddKtoPair(double weight, double beta)
    {
        double chosenMean = pairs.Average(pair => pair.ChosenRatio), rejectedMean = pairs.Average(pair => pair.RejectedRatio);
        double chosenZ = Math.Max(0, chosenMean), rejectedZ = Math.Max(0, rejectedMean);
        double throughChosenZ = 0, throughRejectedZ = 0;
        for (var i = 0; i < pairs.Length; i++)
        {
            var good = PairLosses.KtoDesirable(Dual.Variable1(pairs[i].ChosenRatio), Dual.Variable2(rejectedZ), beta);
            var bad = PairLosses.KtoUndesirable(Dual.Variable1(pairs[i].RejectedRatio), Dual.Variable2(chosenZ), beta);
            Add(i, weight / 2, new Dual(good.Value + bad.Value, good.First, bad.First), i, i);
            var share = weight / 2 * Weights[i] / count;
            throughRejectedZ += share * good.Second;
            throughChosenZ += share * bad.Second;
        }
        for (var i = 0; i < pairs.Length; i++)
        {
            if (chosenMean > 0)
                ChosenDerivative[i] += throughChosenZ / pairs.Length;
            if (rejectedMean > 0)
                RejectedDerivative[i] += throughRejectedZ / pairs.Length;
        }
    }

    // equal values keep their order, so the same rows give the same gradient
    private int[] Order(Func<DpoPair, double> key) => [.. Enumerable.Range(0, pairs.Length).OrderBy(i => key(pairs[i]))];
}
