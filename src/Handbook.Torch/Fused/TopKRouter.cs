using Handbook.Torch.Kernels;

namespace Handbook.Torch.Fused;

/// <summary>Chooses each token's experts and how much each of them counts. Shazeer et al. 2017, arXiv:1701.06538; as in Mixtral, arXiv:2401.04088, §2.1.</summary>
/// <remarks>
/// <code>
/// p = softmax( logits );   S = the K largest;   w_e = p_e / Σ_S p      or w_e = p_e where nothing is scaled
/// </code>
/// The gradient of a loss over the spread (<see cref="RouterTally"/>) joins that of w on the way back: so it needs no pass of its own, and is right
/// where the backward pass begins with a derivative of 1.
/// </remarks>
public sealed unsafe class TopKRouter : AutogradNode
{
    private readonly Routing _routing;
    private readonly bool _normalize;
    private readonly RouterTally? _tally;
    private Tensor _logits = null!;

    private TopKRouter(Routing routing, bool normalize, RouterTally? tally) => (_routing, _normalize, _tally) = (routing, normalize, tally);

    /// <param name="logits">[N, E], float32 or float64, contiguous.</param>
    /// <param name="perToken">K, at most E.</param>
    /// <param name="normalize">Whether a token's weights are scaled to sum to one.</param>
    /// <param name="tally">Receives how the tokens were spread; null for nobody.</param>
    /// <returns>w, [N, K], and whose it is.</returns>
    public static (Tensor Weights, Routing Routing) Forward(Tensor logits, int perToken, bool normalize, RouterTally? tally = null)
    {
        using var scope = TensorScope.Enter();
        var (tokens, experts) = ((int)logits.Size(0), (int)logits.Size(1));
        var chosen = new int[tokens * perToken];
        TopKRouter node;
        Tensor weights;
        using (GradMode.Disabled())
        {
            weights = Tensor.Empty(logits.DType, Device.Cpu, tokens, perToken);
            if (logits.DType == DType.Float64)
                Choose<double>(logits, perToken, normalize, chosen, weights, tally);
            else
                Choose<float>(logits, perToken, normalize, chosen, weights, tally);
            node = new TopKRouter(new Routing(chosen, perToken, experts), normalize, tally);
        }
        if (IsNeeded(logits))
        {
            node._logits = node.Save(logits);
            node.Attach([logits], weights);
        }
        return (scope.Keep(weights), node._routing);
    }

    private static void Choose<T>(Tensor logits, int perToken, bool normalize, int[] chosen, Tensor weights, RouterTally? tally) where T : unmanaged
    {
        var experts = (int)logits.Size(1);
        var p = new double[experts];
        tally?.Taken.AsSpan().Clear();
        tally?.Probability.AsSpan().Clear();
        for (var t = 0; t < logits.Size(0); t++)
        {
            var row = logits.Pointer<T>() + (long)t * experts;
            Softmax(row, p);
            var own = chosen.AsSpan(t * perToken, perToken);
            Largest(row, experts, own);
            var sum = 1.0;
            if (normalize)
            {
                sum = 0;
                foreach (var e in own)
                    sum += p[e];
            }
            for (var k = 0; k < perToken; k++)
                Lanes.Set(weights.Pointer<T>(), (long)t * perToken + k, p[own[k]] / sum);
            if (tally is null)
                continue;
            foreach (var e in own)
                tally.Taken[e] += tally.Weights[t];
            for (var e = 0; e < experts; e++)
                tally.Probability[e] += tally.Weights[t] * p[e];
        }
    }

    private static void Softmax<T>(T* row, double[] p) where T : unmanaged
    {
        var (largest, sum) = (double.NegativeInfinity, 0.0);
        for (var e = 0; e < p.Length; e++)
            largest = Math.Max(largest, Lanes.Get(row, e));
        for (var e = 0; e < p.Length; e++)
            sum += p[e] = Math.Exp(Lanes.Get(row, e) - largest);
        for (var e = 0; e < p.Length; e++)
            p[e] /= sum;
    }

    /// <summary>The places of the largest values, largest first; of equal ones the first. Compared as logits, which differ where probabilities have become equal.</summary>
    private static void Largest<T>(T* row, int count, Span<int> places) where T : unmanaged
    {
        for (var k = 0; k < places.Length; k++)
        {
            var best = -1;
            for (var e = 0; e < count; e++)
                if (!places[..k].Contains(e) && (best < 0 || Lanes.Get(row, e) > Lanes.Get(row, best)))
                    best = e;
            places[k] = best;
        }
    }

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        var dlogits = _logits.EmptyLike();
        var dweights = gradients[0]?.Contiguous();
        if (_logits.DType == DType.Float64)
            Backward<double>(dweights, dlogits);
        else
            Backward<float>(dweights, dlogits);
        return [dlogits];
    }

    private void Backward<T>(Tensor? dweights, Tensor dlogits) where T : unmanaged
    {
        var (experts, perToken) = ((int)_logits.Size(1), _routing.PerToken);
        var spread = _tally?.Derivatives();
        var (p, dp, scaled) = (new double[experts], new double[experts], new double[experts]);
        for (var t = 0; t < _logits.Size(0); t++)
        {
            Softmax(_logits.Pointer<T>() + (long)t * experts, p);
            // dp by all probabilities; through a scaled weight only the chosen ones matter, and their softmax is the weight itself
            Array.Clear(dp);
            Array.Clear(scaled);
            var own = _routing.Expert.AsSpan(t * perToken, perToken);
            if (dweights is not null)
            {
                double sum = 0, mean = 0;
                foreach (var e in own)
                    sum += p[e];
                for (var k = 0; k < perToken; k++)
                {
                    var dw = Lanes.Get(dweights.Pointer<T>(), (long)t * perToken + k);
                    (_normalize ? scaled : dp)[own[k]] = dw;
                    mean += p[own[k]] / sum * dw;
                }
                if (_normalize)
                    foreach (var e in own)
                        scaled[e] = p[e] / sum * (scaled[e] - mean);
            }
            var average = 0.0;
            for (var e = 0; e < experts; e++)
            {
                dp[e] += spread is null ? 0 : _tally!.Weights[t] * spread[e];
                average += p[e] * dp[e];
            }
            for (var e = 0; e < experts; e++)
                Lanes.Set(dlogits.Pointer<T>(), (long)t * experts + e, scaled[e] + p[e] * (dp[e] - average));
        }
    }
}
