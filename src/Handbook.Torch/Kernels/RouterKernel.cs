using Handbook.Torch.Fused;

namespace Handbook.Torch.Kernels;

/// <summary>The choice of experts by <see cref="RouterRule"/>, and its gradient, in float64 row by row.</summary>
/// <remarks>T is float or double.</remarks>
internal static unsafe class RouterKernel
{
    private const int PieceTokens = 64;

    // What a normalised sum is never below, as in the published code.
    private const double Least = 1e-20;

    /// <summary>Logits of a stream, and what is made of them.</summary>
    public readonly struct Choice<T> where T : unmanaged
    {
        public required RouterRule Rule { get; init; }

        /// <summary>[N, E].</summary>
        public required T* Logits { get; init; }

        /// <summary>b, [E]; null for none.</summary>
        public required T* Correction { get; init; }

        public required int Tokens { get; init; }

        public required int Experts { get; init; }

        /// <summary>w, [N, K]; written by forward.</summary>
        public required T* Weights { get; init; }

        /// <summary>[N·K]; written by forward.</summary>
        public required int* Chosen { get; init; }
    }

    /// <summary>Chooses and weighs, and tallies how much each expert is visited and said to be likely.</summary>
    public static void Forward<T>(in Choice<T> choice, RouterTally? tally) where T : unmanaged
    {
        var pieces = (choice.Tokens + PieceTokens - 1) / PieceTokens;
        // each piece tallies by itself, so that the order of the sums does not depend on threads
        var sums = tally is null ? [] : new double[pieces * 2 * choice.Experts];
        fixed (double* partial = sums)
            ThreadTeam.Run(pieces, new ForwardBody<T>(choice, tally, partial));
        if (tally is null)
            return;
        tally.Taken.AsSpan().Clear();
        tally.Probability.AsSpan().Clear();
        for (var piece = 0; piece < pieces; piece++)
            for (var e = 0; e < choice.Experts; e++)
            {
                tally.Taken[e] += sums[piece * 2 * choice.Experts + e];
                tally.Probability[e] += sums[(piece * 2 + 1) * choice.Experts + e];
            }
    }

    /// <summary>Writes ∂loss/∂logits.</summary>
    /// <param name="choice">As forward left it.</param>
    /// <param name="dweights">[N, K]; null where none arrived.</param>
    /// <param name="dspread">Derivatives by the tally's likelihoods, [E]; null where none arrived.</param>
    /// <param name="counts">How much each token counts there, [N].</param>
    /// <param name="dlogits">[N, E].</param>
    public static void Backward<T>(in Choice<T> choice, T* dweights, double[]? dspread, float[]? counts, T* dlogits) where T : unmanaged =>
        ThreadTeam.Run((choice.Tokens + PieceTokens - 1) / PieceTokens, new BackwardBody<T>(choice, dweights, dspread, counts, dlogits));

    private static void Values<T>(in Choice<T> choice, int token, Span<double> v) where T : unmanaged
    {
        var row = choice.Logits + (long)token * choice.Experts;
        if (choice.Rule.IsSigmoid)
        {
            for (var e = 0; e < v.Length; e++)
                v[e] = 1 / (1 + Math.Exp(-Lanes.Get(row, e)));
            return;
        }
        var (largest, sum) = (double.NegativeInfinity, 0.0);
        for (var e = 0; e < v.Length; e++)
            largest = Math.Max(largest, Lanes.Get(row, e));
        for (var e = 0; e < v.Length; e++)
            sum += v[e] = Math.Exp(Lanes.Get(row, e) - largest);
        for (var e = 0; e < v.Length; e++)
            v[e] /= sum;
    }

    private readonly struct ForwardBody<T>(Choice<T> choice, RouterTally? tally, double* partial) : IParallelBody where T : unmanaged
    {
        public void Invoke(int index)
        {
            var (experts, perToken) = (choice.Experts, choice.Rule.PerToken);
            var numbers = Scratch.Get<double>(Scratch.Slot.Rows, 2L * experts + choice.Rule.Groups);
            Span<double> v = new(numbers, experts), merit = new(numbers + experts, experts),
                ofGroups = new(numbers + 2 * experts, choice.Rule.Groups);
            for (var t = index * PieceTokens; t < Math.Min(choice.Tokens, (index + 1) * PieceTokens); t++)
            {
                Values(choice, t, v);
                var own = new Span<int>(choice.Chosen + (long)t * perToken, perToken);
                Merits(t, v, merit, ofGroups);
                Largest(merit, own);
                var sum = 1.0;
                if (choice.Rule.Normalizes)
                {
                    sum = choice.Rule.IsSigmoid ? Least : 0;
                    foreach (var e in own)
                        sum += v[e];
                }
                for (var k = 0; k < perToken; k++)
                    Lanes.Set(choice.Weights, (long)t * perToken + k, v[own[k]] / sum * choice.Rule.Scale);
                if (tally is null)
                    continue;
                double* taken = partial + index * 2L * experts, likely = taken + experts;
                foreach (var e in own)
                    taken[e] += tally.Weights[t];
                var all = Sum(choice.Rule, v);
                for (var e = 0; e < experts; e++)
                    likely[e] += tally.Weights[t] * v[e] / all;
            }
        }

        /// <summary>What experts are chosen by. Logits where nothing is added: they differ where probabilities have become equal.</summary>
        private void Merits(int token, Span<double> v, Span<double> merit, Span<double> ofGroups)
        {
            var row = choice.Logits + (long)token * choice.Experts;
            for (var e = 0; e < v.Length; e++)
                merit[e] = choice.Rule.IsSigmoid || choice.Correction != null
                    ? v[e] + (choice.Correction == null ? 0 : Lanes.Get(choice.Correction, e)) : Lanes.Get(row, e);
            if (choice.Rule.Groups == 1)
                return;
            var size = v.Length / choice.Rule.Groups;
            for (var g = 0; g < ofGroups.Length; g++)
            {
                var (best, second) = (double.NegativeInfinity, double.NegativeInfinity);
                foreach (var m in merit.Slice(g * size, size))
                    (best, second) = m > best ? (m, best) : (best, Math.Max(second, m));
                ofGroups[g] = best + second;
            }
            Span<int> kept = stackalloc int[choice.Rule.GroupsPerToken];
            Largest(ofGroups, kept);
            for (var g = 0; g < ofGroups.Length; g++)
                if (!kept.Contains(g))
                    merit.Slice(g * size, size).Clear();
        }

        /// <summary>The places of the largest values, largest first; of equal ones the first.</summary>
        private static void Largest(ReadOnlySpan<double> values, Span<int> places)
        {
            var count = 0;
            for (var e = 0; e < values.Length; e++)
            {
                var at = count;
                // A value that is no number stands behind all others.
                while (at > 0 && (values[e] > values[places[at - 1]] || double.IsNaN(values[places[at - 1]]) && !double.IsNaN(values[e])))
                    at--;
                if (at == places.Length)
                    continue;
                count = Math.Min(count + 1, places.Length);
                for (var i = count - 1; i > at; i--)
                    places[i] = places[i - 1];
                places[at] = e;
            }
        }
    }

    /// <summary>What likelihoods are parts of: 1 after a softmax.</summary>
    private static double Sum(RouterRule rule, ReadOnlySpan<double> v)
    {
        if (!rule.IsSigmoid)
            return 1;
        var sum = Least;
        foreach (var value in v)
            sum += value;
        return sum;
    }

    private readonly struct BackwardBody<T>(Choice<T> choice, T* dweights, double[]? dspread, float[]? counts, T* dlogits)
        : IParallelBody where T : unmanaged
    {
        public void Invoke(int index)
        {
            var experts = choice.Experts;
            var numbers = Scratch.Get<double>(Scratch.Slot.Rows, 3L * experts);
            Span<double> v = new(numbers, experts), dv = new(numbers + experts, experts), scaled = new(numbers + 2 * experts, experts);
            for (var t = index * PieceTokens; t < Math.Min(choice.Tokens, (index + 1) * PieceTokens); t++)
            {
                Values(choice, t, v);
                dv.Clear();
                scaled.Clear();
                if (dweights != null)
                    OfWeights(t, v, dv, scaled);
                if (dspread is not null)
                    OfSpread(t, v, dv);
                var average = 0.0;
                for (var e = 0; e < experts && !choice.Rule.IsSigmoid; e++)
                    average += v[e] * dv[e];
                for (var e = 0; e < experts; e++)
                    Lanes.Set(dlogits, (long)t * experts + e, scaled[e] + (choice.Rule.IsSigmoid ? v[e] * (1 - v[e]) * dv[e]
                        : v[e] * (dv[e] - average)));
            }
        }

        /// <summary>Through the weights of the chosen: by v, or where they are normalised after a softmax by the logits at once, for the
        /// softmax of the chosen alone is the weight itself, however small v are.</summary>
        private void OfWeights(int t, Span<double> v, Span<double> dv, Span<double> scaled)
        {
            var (rule, perToken) = (choice.Rule, choice.Rule.PerToken);
            var own = new Span<int>(choice.Chosen + (long)t * perToken, perToken);
            double sum = rule.IsSigmoid ? Least : 0, mean = 0;
            foreach (var e in own)
                sum += v[e];
            for (var k = 0; k < perToken && rule.Normalizes; k++)
                mean += v[own[k]] / sum * Slope(t, k);
            for (var k = 0; k < perToken; k++)
            {
                var (e, slope) = (own[k], Slope(t, k));
                if (!rule.Normalizes)
                    dv[e] = slope;
                else if (rule.IsSigmoid)
                    dv[e] = (slope - mean) / sum;
                else
                    scaled[e] = v[e] / sum * (slope - mean);
            }
        }

        private double Slope(int t, int k) => Lanes.Get(dweights, (long)t * choice.Rule.PerToken + k) * choice.Rule.Scale;

        private void OfSpread(int t, Span<double> v, Span<double> dv)
        {
            var (all, mean) = (Sum(choice.Rule, v), 0.0);
            for (var e = 0; e < v.Length && choice.Rule.IsSigmoid; e++)
                mean += v[e] / all * dspread![e];
            for (var e = 0; e < v.Length; e++)
                dv[e] += counts![t] * (dspread![e] - mean) / all;
        }
    }
}
