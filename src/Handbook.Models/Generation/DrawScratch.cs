using Handbook.Torch.Kernels;

namespace Handbook.Models.Generation;

/// <summary>The tokens that may be drawn: those above a weight, and the first few of exactly this weight.</summary>
/// <param name="Weight">Smallest weight.</param>
/// <param name="Equal">How many of exactly this weight.</param>
internal readonly record struct Threshold(float Weight, int Equal);

/// <summary>The working memory of draws on one thread, and the selection of the likeliest tokens.</summary>
internal sealed class DrawScratch
{
    /// <summary>So few are sorted.</summary>
    private const int Few = 64;

    private readonly List<float> _between = [];
    private float[] _weights = [];
    private float[] _sums = [];
    private float[] _peaks = [];
    private int _vocabulary;

    /// <summary>The logits after the repetition penalty.</summary>
    public float[] Penalised { get; private set; } = [];

    private ReadOnlySpan<float> Weights => _weights.AsSpan(0, _vocabulary);

    public void Fit(int vocabulary)
    {
        _vocabulary = vocabulary;
        if (_weights.Length >= vocabulary)
            return;
        var chunks = (vocabulary + DrawKernel.Chunk - 1) / DrawKernel.Chunk;
        (_weights, Penalised, _sums, _peaks) = (new float[vocabulary], new float[vocabulary], new float[chunks], new float[chunks]);
    }

    /// <summary>Takes the weights of a row of logits: exp( (logit − max)·factor ).</summary>
    /// <returns>Their sum.</returns>
    public double Weigh(ReadOnlySpan<float> logits, float max, float factor) =>
        DrawKernel.Exponentials(logits, max, factor, _weights, _sums, _peaks);

    /// <summary>The likeliest tokens whose number, or weight together, reaches a target; of equal ones the first.</summary>
    /// <param name="target">At least 1, or greater than 0.</param>
    /// <param name="byMass">Whether weights are added up.</param>
    /// <param name="within">Only what this lets through is looked at.</param>
    /// <remarks>The line is halved down by counting what lies above it, without moving anything; the few tokens that are left
    /// between are sorted.</remarks>
    public Threshold Select(double target, bool byMass, Threshold within)
    {
        // Weights lie in (0, 1], where bit patterns are ordered as the numbers are.
        var (low, high) = (Math.Max(1, BitConverter.SingleToInt32Bits(within.Weight)), BitConverter.SingleToInt32Bits(1f) + 1);
        var (lowCount, above) = (DrawKernel.Above(Weights, BitConverter.Int32BitsToSingle(low)).Count, (Count: 0, Mass: 0.0));
        while (high - low > 1 && lowCount - above.Count > Few)
        {
            var middle = low + (high - low) / 2;
            var reached = DrawKernel.Above(Weights, BitConverter.Int32BitsToSingle(middle));
            if ((byMass ? reached.Mass : reached.Count) >= target)
                (low, lowCount) = (middle, reached.Count);
            else
                (high, above) = (middle, reached);
        }
        Between(BitConverter.Int32BitsToSingle(low), BitConverter.Int32BitsToSingle(high));
        var (sum, i) = (byMass ? above.Mass : above.Count, 0);
        for (; i < _between.Count && sum < target
            && !(_between[i] == within.Weight && i - _between.IndexOf(within.Weight) >= within.Equal); i++)
            sum += byMass ? _between[i] : 1;
        if (i == 0)
            return new(BitConverter.Int32BitsToSingle(high), int.MaxValue);
        var last = _between[i - 1];
        return new(last, i - _between.IndexOf(last));
    }

    /// <summary>Draws among what a threshold lets through.</summary>
    /// <param name="mass">Their weight together.</param>
    /// <param name="u">From 0 to 1.</param>
    public int Draw(Threshold threshold, double mass, double u)
    {
        var (target, equal, last) = (u * mass, threshold.Equal, -1);
        var all = threshold.Weight == 0;
        for (int start = 0, chunk = 0; start < _vocabulary; start += DrawKernel.Chunk, chunk++)
        {
            if (all && target >= _sums[chunk])
            {
                target -= _sums[chunk];
                continue;
            }
            if (_peaks[chunk] < threshold.Weight || _peaks[chunk] == 0)
                continue;
            var end = Math.Min(_vocabulary, start + DrawKernel.Chunk);
            for (var i = start; i < end; i++)
            {
                var weight = _weights[i];
                if (weight < threshold.Weight || weight == 0 || weight == threshold.Weight && equal-- <= 0)
                    continue;
                last = i;
                if ((target -= weight) < 0)
                    return i;
            }
        }
        return last >= 0 ? last : Weights.IndexOf(1f);      // rounding led behind the last one
    }

    /// <summary>What a threshold lets through, together.</summary>
    public double Mass(Threshold threshold)
    {
        var above = DrawKernel.Above(Weights, MathF.BitIncrement(threshold.Weight));
        return above.Mass + (double)threshold.Weight * Math.Min(threshold.Equal,
            DrawKernel.Above(Weights, threshold.Weight).Count - above.Count);
    }

    private void Between(float low, float high)
    {
        _between.Clear();
        for (int start = 0, chunk = 0; start < _vocabulary; start += DrawKernel.Chunk, chunk++)
        {
            if (_peaks[chunk] < low)
                continue;
            foreach (var weight in Weights[start..Math.Min(_vocabulary, start + DrawKernel.Chunk)])
                if (weight >= low && weight < high)
                    _between.Add(weight);
        }
        _between.Sort((a, b) => b.CompareTo(a));
    }
}
