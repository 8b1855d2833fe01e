using Handbook.Base;
using Handbook.Torch.Kernels;

namespace Handbook.Models.Generation;

/// <summary>Draws the next token of one answer.</summary>
/// <remarks>
/// Order: repetition penalty, temperature, top-k, top-p, min-p, draw. The draws come from SplitMix64 over (seed, stream), so an answer does
/// not depend on which others are in the batch. The vocabulary is never sorted: <see cref="DrawScratch.Select"/>.
/// </remarks>
internal sealed class Sampler(SamplingOptions options, long stream, IEnumerable<int> prompt)
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
            total = DrawKernel.SumOfExponentials(logits, max);
        if (double.IsNaN(total))
            throw new InputException("the model's logits are not numbers",
                why: "weights that are not finite, or a token outside the training",
                fix: "check the model with another prompt, or train with a lower learning_rate");
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
        var total = scratch.Weigh(logits, max, (float)(1 / options.Temperature));
        if (double.IsNaN(total))
            return (0, total);
        var (threshold, mass) = (default(Threshold), total);
        if (options.TopK > 0 && options.TopK < logits.Length)
        {
            threshold = scratch.Select(options.TopK, byMass: false, threshold);
            mass = scratch.Mass(threshold);
        }
        if (options.TopP < 1)
        {
            threshold = scratch.Select(options.TopP * mass, byMass: true, threshold);
            mass = scratch.Mass(threshold);
        }
        if (options.MinP > threshold.Weight)        // the likeliest token has the weight 1
        {
            threshold = new((float)options.MinP, int.MaxValue);
            mass = scratch.Mass(threshold);
        }
        return (scratch.Draw(threshold, mass, (_random.Next() >> 11) * (1.0 / (1UL << 53))), total);
    }
}
