using Handbook.Base;
using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Blocks;
using Handbook.Torch;
using Handbook.Torch.Fused;
using Handbook.Training.Distributed;

namespace Handbook.Training.Methods;

/// <summary>The loss that spreads tokens evenly over experts, on a group of rows. Fedus et al. 2021, arXiv:2101.03961, eq. 4–6.</summary>
/// <remarks>
/// <code>
/// f_e = Σ w_t [ t visits e ] / (L·W)     P_e = Σ w_t p_t,e / (L·W)     over all tokens t and routed layers together, W = Σ w_t
/// loss = E · Σ_e f_e · P_e               the gradient flows through P alone
/// </code>
/// As in the Python library (<c>load_balancing_loss_func</c>), which takes all layers together and every choice of a token as a visit. w_t
/// is the number of rows that a token stands for: a prompt that several answers share counts once for each, as if each had its own. Where
/// experts are weighed by σ of their logits, p are these over their sum (DeepSeek-AI 2024, arXiv:2412.19437, eq. 18–19).
/// Each process counts the tokens that it computes, be they whole rows or parts of them.
/// </remarks>
internal sealed class ExpertBalance : IDisposable
{
    private readonly Dictionary<TokenBatch, ExpertLoad> _loads = new(ReferenceEqualityComparer.Instance);
    private readonly int _experts;
    private readonly double _tokens;
    private ExactSum[] _others;                 // of the other workers: visits of each expert, then probabilities
    private readonly double _weight;

    /// <param name="config">A model with experts.</param>
    /// <param name="group">The rows over which tokens are to be spread.</param>
    /// <param name="weight">What the loss is multiplied by.</param>
    /// <param name="workers">Who has rows of the group; null for this worker alone.</param>
    public ExpertBalance(DecoderConfig config, LossGroup group, double weight, Workers? workers = null)
    {
        (_experts, _weight) = (config.Experts!.Count, weight);
        foreach (var bin in group.Bins)
        {
            var weights = Weights(bin.Batch);
            _loads[bin.Batch] = new(config.Layers, _experts, bin.Stream.Cut?.Weigh(weights) ?? weights);
        }
        _tokens = config.RoutedLayers * (workers ?? Workers.Alone).Sum(_loads.Values.Sum(load => load.Weight))[0];
        _others = [.. Enumerable.Range(0, 2 * _experts).Select(_ => new ExactSum())];
    }

    /// <summary>What the network tells of a batch.</summary>
    public ExpertLoad this[TokenBatch batch] => _loads[batch];

    /// <summary>The loss, once every batch is known.</summary>
    public double Value => _experts * Enumerable.Range(0, _experts).Sum(e => Taken(e) * Probability(e)) / (_tokens * _tokens);

    /// <summary>
    /// The gradient of weight · loss by all that the network said for a backward pass since the last call: numbers of value 0, to go back
    /// from.
    /// </summary>
    /// <remarks>f counts all tokens of the group, so each of its batches must have been read before.</remarks>
    internal IReadOnlyList<Tensor> TakeTerms()
    {
        double[]? derivatives = null;
        var terms = new List<Tensor>();
        foreach (var load in _loads.Values)
            foreach (var spread in load.TakeSpreads())
            {
                terms.Add(KnownGradient.Of(spread, 0, derivatives ??= Derivatives()));
                spread.Dispose();       // the graph holds on to what it needs
            }
        return terms;
    }

    /// <summary>∂(weight · loss) / ∂(Σ w p) of each expert.</summary>
    private double[] Derivatives() =>
        [.. Enumerable.Range(0, _experts).Select(e => _weight * _experts * Taken(e) / (_tokens * _tokens))];

    /// <summary>Hears how the other workers' tokens are spread; every worker calls it once all of its batches are known.</summary>
    public void Hear(Workers workers)
    {
        if (workers.Count == 1)
            return;
        var nobody = new ExactSum();
        ExactSum[] mine = [.. Enumerable.Range(0, _experts).Select(expert => Sum(nobody, load => load.Taken(expert))),
            .. Enumerable.Range(0, _experts).Select(expert => Sum(nobody, load => load.Probability(expert)))];
        _others = workers.Sum(mine);
        foreach (var (others, own) in _others.Zip(mine))
            foreach (var part in own.Parts)
                others.Add(-part);
    }

    private double Taken(int expert) => Sum(_others[expert], load => load.Taken(expert)).Value;

    private double Probability(int expert) => Sum(_others[_experts + expert], load => load.Probability(expert)).Value;

    // Exact, so that it is the same however the rows are shared out.
    private ExactSum Sum(ExactSum others, Func<ExpertLoad, double> of)
    {
        var sum = new ExactSum();
        sum.Add(others);
        foreach (var load in _loads.Values)
            sum.Add(of(load));
        return sum;
    }

    /// <summary>
    /// How many rows each token of a batch stands for: its answers. Another row's answer is no part of this one's loss and stands for none.
    /// </summary>
    internal static float[] Weights(TokenBatch batch)
    {
        var segments = batch.Segments;
        var (rows, isContinued) = (new int[segments.Length], new bool[segments.Length]);
        var weights = new float[batch.Count];
        for (var s = segments.Length - 1; s >= 0; s--)        // children stand behind their parents
        {
            if (!isContinued[s])
                rows[s] = segments[s].Role == SegmentRole.Mismatched ? 0 : 1;
            if (segments[s].Parent is >= 0 and var parent)
                (rows[parent], isContinued[parent]) = (rows[parent] + rows[s], true);
            weights.AsSpan(segments[s].Start, segments[s].Length).Fill(rows[s]);
        }
        return weights;
    }

    public void Dispose()
    {
        foreach (var load in _loads.Values)
            load.Dispose();
    }
}
