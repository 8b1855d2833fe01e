using Handbook.Torch.Kernels;

namespace Handbook.Generation;

/// <summary>Draws the next token of one answer.</summary>
/// <remarks>
/// Order: repetition penalty, temperature, top-k, top-p, draw. The draws come from SplitMix64 over (seed, stream), so an answer does not depend on
/// which others are in the batch. The vocabulary is never sorted: a threshold is selected among the few tokens that can matter.
/// </remarks>
public sealed class Sampler(SamplingOptions options, long stream, IEnumerable<int> prompt)
{
    [ThreadStatic] private static DrawScratch? s_scratch;

    private readonly HashSet<int> _seen = options.RepetitionPenalty == 1 ? [] : [.. prompt];
    private SplitMix _random = new(SplitMix.Mix(SplitMix.Mix((ulong)options.Seed) ^ (ulong)stream));

    /// <param name="logits">[V].</param>
    /// <returns>The token, and its log-probability under the logits as they are.</returns>
    public (int Token, double LogProb) Next(ReadOnlySpan<float> logits)
    {
        var scratch = s_scratch ??= new();
        scratch.Fit(logits.Length);
        var max = DrawKernel.Max(logits);
        var plain = options.RepetitionPenalty == 1;
        var drawn = plain ? logits : Penalised(logits, scratch.Penalised.AsSpan(0, logits.Length));
        var peak = plain ? max : DrawKernel.Max(drawn);
        var (token, total) = options.Temperature == 0
            ? (drawn.IndexOf(peak), double.NaN)
            : Draw(drawn, peak, scratch);
        if (!plain || options.Temperature != 1)
            total = DrawKernel.Exponentials(logits, max, 1, default, default, default);
        if (double.IsNaN(total))
            throw new InputException("the model's logits are not numbers", why: "weights that are not finite, or a token outside the training", fix: "check the model with another prompt, or train with a lower learning_rate");
        if (!plain)
            _seen.Add(token);
        return (token, logits[token] - max - Math.Log(total));
    }

    private ReadOnlySpan<float> Penalised(ReadOnlySpan<float> logits, Span<float> copy)
    {
        logits.CopyTo(copy);
        var penalty = (float)options.RepetitionPenalty;
        foreach (var token in _seen)
            if (token < copy.Length)
                copy[token] = copy[token] > 0 ? copy[token] / penalty : copy[token] * penalty;
        return copy;
    }

    private (int Token, double Total) Draw(ReadOnlySpan<float> logits, float max, DrawScratch scratch)
    {
        var weights = scratch.Weights.AsSpan(0, logits.Length);
        var total = DrawKernel.Exponentials(logits, max, (float)(1 / options.Temperature), weights, scratch.Sums, scratch.Peaks);
        if (double.IsNaN(total))
            return (0, total);
        var u = (_random.Next() >> 11) * (1.0 / (1UL << 53));
        var few = options.TopK > 0 && options.TopK < logits.Length || options.TopP < 1;
        return (few ? FromBest(weights, total, u, scratch) : FromAll(weights, total * u, scratch), total);
    }

    private static int FromAll(ReadOnlySpan<float> weights, double target, DrawScratch scratch)
    {
        var chunk = 0;
        for (var chunks = DrawScratch.Chunks(weights.Length); chunk < chunks - 1 && target >= scratch.Sums[chunk]; chunk++)
            target -= scratch.Sums[chunk];
        var last = -1;
        var end = Math.Min(weights.Length, (chunk + 1) * DrawKernel.Chunk);
        for (var i = chunk * DrawKernel.Chunk; i < end; i++)
        {
            if (weights[i] == 0)
                continue;
            last = i;
            if ((target -= weights[i]) < 0)
                break;
        }
        // Rounding may lead to a chunk where nothing is likely: then the likeliest token of all.
        return last >= 0 ? last : weights.IndexOf(1f);
    }

    private int FromBest(ReadOnlySpan<float> weights, double total, double u, DrawScratch scratch)
    {
        var byCount = options.TopK > 0 && options.TopK < weights.Length;
        var count = scratch.Collect(weights, byCount
            ? scratch.TopPeak(options.TopK, weights.Length)
            // tokens below this are too few to hold more than 1 − p together
            : (float)((1 - options.TopP) * total / weights.Length));
        if (byCount)
            count = scratch.Keep(count, options.TopK, byMass: false);
        var mass = 0.0;
        for (var i = 0; i < count; i++)
            mass += scratch.Values[i];
        if (options.TopP < 1)
        {
            count = scratch.Keep(count, options.TopP * (byCount ? mass : total), byMass: true);
            mass = 0;
            for (var i = 0; i < count; i++)
                mass += scratch.Values[i];
        }
        var target = u * mass;
        for (var i = 0; i < count; i++)
            if ((target -= scratch.Values[i]) < 0)
                return scratch.Ids[i];
        return scratch.Ids[count - 1];
    }
}
