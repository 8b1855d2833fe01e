namespace Handbook.Generation;

/// <summary>Draws the next token of one row.</summary>
/// <remarks>
/// Order: repetition penalty, temperature, top-k, top-p, draw. The draws come from SplitMix64 over (seed, row), so a row's answer does not depend on
/// which other rows are in the batch.
/// </remarks>
public sealed class Sampler(SamplingOptions options, long row, IEnumerable<int> prompt)
{
    private readonly HashSet<int> _seen = options.RepetitionPenalty == 1 ? [] : [.. prompt];
    private SplitMix _random = new(SplitMix.Mix(SplitMix.Mix((ulong)options.Seed) ^ (ulong)row));
    private int[] _order = [];

    /// <param name="logits">[V]; changed.</param>
    /// <returns>The token, and its log-probability under the untouched logits.</returns>
    public (int Token, double LogProb) Next(Span<float> logits)
    {
        var normaliser = LogSumExp(logits);
        if (double.IsNaN(normaliser))
            throw new InputException("the model's logits are not numbers", why: "weights that are not finite, or a token outside the training", fix: "check the model with another prompt, or train with a lower learning_rate");
        Span<float> plain = options.RepetitionPenalty == 1 && (options.Temperature is 0 or 1) ? logits : logits.ToArray();
        Penalise(logits);
        var token = options.Temperature == 0 ? Best(logits) : Draw(logits);
        if (options.RepetitionPenalty != 1)
            _seen.Add(token);
        return (token, plain[token] - normaliser);
    }

    private void Penalise(Span<float> logits)
    {
        var penalty = (float)options.RepetitionPenalty;
        foreach (var token in _seen)
            if (token < logits.Length)
                logits[token] = logits[token] > 0 ? logits[token] / penalty : logits[token] * penalty;
    }

    private static int Best(ReadOnlySpan<float> logits) => System.Numerics.Tensors.TensorPrimitives.IndexOfMax(logits);

    private int Draw(Span<float> logits)
    {
        var inverse = (float)(1 / options.Temperature);
        if (inverse != 1)
            System.Numerics.Tensors.TensorPrimitives.Multiply(logits, inverse, logits);
        if (options.TopK == 0 && options.TopP >= 1)
            return DrawFromAll(logits);
        return DrawFromBest(logits);
    }

    private int DrawFromAll(ReadOnlySpan<float> logits)
    {
        var target = Uniform();
        var normaliser = LogSumExp(logits);
        var sum = 0.0;
        for (var i = 0; i < logits.Length; i++)
        {
            sum += Math.Exp(logits[i] - normaliser);
            if (sum > target)
                return i;
        }
        return Best(logits);        // rounding left the sum below 1
    }

    private int DrawFromBest(ReadOnlySpan<float> logits)
    {
        if (_order.Length != logits.Length)
            _order = new int[logits.Length];
        for (var i = 0; i < _order.Length; i++)
            _order[i] = i;
        var keys = new float[logits.Length];
        System.Numerics.Tensors.TensorPrimitives.Negate(logits, keys);
        Array.Sort(keys, _order);
        var kept = options.TopK > 0 ? Math.Min(options.TopK, _order.Length) : _order.Length;
        var most = -keys[0];
        var total = 0.0;
        for (var i = 0; i < kept; i++)
            total += Math.Exp(-keys[i] - most);
        // the smallest set whose probability reaches p; the token that crosses the line belongs to it
        var mass = 0.0;
        var count = 0;
        while (count < kept)
        {
            mass += Math.Exp(-keys[count++] - most);
            if (mass >= options.TopP * total)
                break;
        }
        var target = Uniform() * mass;
        var sum = 0.0;
        for (var i = 0; i < count; i++)
        {
            sum += Math.Exp(-keys[i] - most);
            if (sum > target)
                return _order[i];
        }
        return _order[0];
    }

    private static double LogSumExp(ReadOnlySpan<float> logits)
    {
        double most = System.Numerics.Tensors.TensorPrimitives.Max(logits);
        var sum = 0.0;
        foreach (var logit in logits)
            sum += Math.Exp(logit - most);
        return most + Math.Log(sum);
    }

    private double Uniform() => (_random.Next() >> 11) * (1.0 / (1UL << 53));
}
