using Handbook.Base;
using Handbook.Torch.Kernels;

namespace Handbook.Models.Generation;

/// <summary>Draws the next token of one answer.</summary>
/// <remarks>
/// Order: repetition penalty, presence and frequency penalty, biases, constraint, temperature, top-k, top-p, min-p, draw. The draws come
/// from SplitMix64 over (seed, stream), so an answer does not depend on which others are in the batch. The vocabulary is never sorted:
/// <see cref="DrawScratch.Select"/>.
/// </remarks>
internal sealed class Sampler(SamplingOptions options, long stream, IEnumerable<int> prompt, ITokenConstraint? constraint = null)
{
    /// <summary>So small a logit is never drawn, and still a number.</summary>
    internal const float Never = -1e30f;

    [ThreadStatic] private static DrawScratch? s_scratch;

    private readonly HashSet<int> _seen = options.RepetitionPenalty == 1 ? [] : [.. prompt];
    private readonly Dictionary<int, int> _said = [];
    private readonly bool _plain = constraint is null
        && options is { RepetitionPenalty: 1, PresencePenalty: 0, FrequencyPenalty: 0, LogitBias.Count: 0 };
    private SplitMix _random = new(SplitMix.Mix(SplitMix.Mix((ulong)options.Seed) ^ (ulong)stream));

    /// <param name="logits">[V].</param>
    public DrawnToken Next(ReadOnlySpan<float> logits)
    {
        var scratch = s_scratch ??= new();
        scratch.Fit(logits.Length);
        var max = DrawKernel.Max(logits);
        var drawn = _plain ? logits : Changed(logits, scratch.Penalised.AsSpan(0, logits.Length));
        var peak = _plain ? max : DrawKernel.Max(drawn);
        var (token, total) = options.Temperature == 0
            ? (drawn.IndexOf(peak), double.NaN)
            : Draw(drawn, peak, scratch);
        if (!_plain || options.Temperature != 1)
            total = DrawKernel.SumOfExponentials(logits, max);
        if (double.IsNaN(total))
            throw new InputException("the model's logits are not numbers",
                why: "weights that are not finite, or a token outside the training",
                fix: "check the model with another prompt, or train with a lower learning_rate");
        if (!_plain)
            Said(token);
        return new(token, logits[token] - max - Math.Log(total), options.TopLogProbs == 0 ? []
            : Likeliest(logits, options.TopLogProbs, max, Math.Log(total)));
    }

    private void Said(int token)
    {
        _seen.Add(token);
        _said[token] = _said.GetValueOrDefault(token) + 1;
        constraint?.Take(token);
    }

    private Span<float> Changed(ReadOnlySpan<float> logits, Span<float> copy)
    {
        logits.CopyTo(copy);
        if (options.RepetitionPenalty != 1)
        {
            var penalty = (float)options.RepetitionPenalty;
            foreach (var token in _seen)
                if (token < copy.Length)
                    copy[token] = copy[token] > 0 ? copy[token] / penalty : copy[token] * penalty;
        }
        if (options.PresencePenalty != 0 || options.FrequencyPenalty != 0)
            foreach (var (token, count) in _said)
                copy[token] -= (float)(options.PresencePenalty + count * options.FrequencyPenalty);
        foreach (var (token, bias) in options.LogitBias)
            if (token < copy.Length)
                copy[token] += (float)bias;
        constraint?.Mask(copy);
        return copy;
    }

    /// <summary>The likeliest tokens, likeliest first; of equal ones the first.</summary>
    private static TokenScore[] Likeliest(ReadOnlySpan<float> logits, int count, float max, double logTotal)
    {
        var best = new List<(float Logit, int Token)>(count + 1);
        for (var token = 0; token < logits.Length; token++)
        {
            if (best.Count == count && logits[token] <= best[^1].Logit)
                continue;
            var at = best.Count;
            while (at > 0 && best[at - 1].Logit < logits[token])
                at--;
            best.Insert(at, (logits[token], token));
            if (best.Count > count)
                best.RemoveAt(count);
        }
        return [.. best.Select(one => new TokenScore(one.Token, one.Logit - max - logTotal))];
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
