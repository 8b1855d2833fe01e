using Handbook.Torch.Kernels;

namespace Handbook.Generation;

/// <summary>The working memory of draws on one thread, and the selection of the likeliest tokens.</summary>
internal sealed class DrawScratch
{
    private float[] _work = [];

    public float[] Weights { get; private set; } = [];

    public float[] Penalised { get; private set; } = [];

    /// <summary>Sum of each chunk of weights.</summary>
    public float[] Sums { get; private set; } = [];

    /// <summary>Largest weight of each chunk.</summary>
    public float[] Peaks { get; private set; } = [];

    /// <summary>Tokens that may be drawn, in their order in the vocabulary.</summary>
    public int[] Ids { get; private set; } = [];

    /// <summary>Their weights.</summary>
    public float[] Values { get; private set; } = [];

    public static int Chunks(int vocabulary) => (vocabulary + DrawKernel.Chunk - 1) / DrawKernel.Chunk;

    public void Fit(int vocabulary)
    {
        if (Weights.Length >= vocabulary)
            return;
        (Weights, Penalised, Ids, Values, _work) = (new float[vocabulary], new float[vocabulary], new int[vocabulary], new float[vocabulary], new float[vocabulary]);
        (Sums, Peaks) = (new float[Chunks(vocabulary)], new float[Chunks(vocabulary)]);
    }

    /// <summary>A weight that at least <paramref name="count"/> tokens reach; 0 where the chunks do not tell.</summary>
    public float TopPeak(int count, int vocabulary)
    {
        var chunks = Chunks(vocabulary);
        if (count >= chunks)
            return 0;
        Array.Copy(Peaks, _work, chunks);
        return Threshold(_work.AsSpan(0, chunks), count, byMass: false).Value;
    }

    /// <summary>Takes the tokens of at least this weight; those of weight 0 are never drawn.</summary>
    /// <returns>Their number.</returns>
    public int Collect(ReadOnlySpan<float> weights, float bound)
    {
        var count = 0;
        for (int start = 0, chunk = 0; start < weights.Length; start += DrawKernel.Chunk, chunk++)
        {
            if (Peaks[chunk] < bound)
                continue;
            var end = Math.Min(weights.Length, start + DrawKernel.Chunk);
            for (var i = start; i < end; i++)
                if (weights[i] >= bound && weights[i] > 0)
                    (Ids[count], Values[count++]) = (i, weights[i]);
        }
        return count;
    }

    /// <summary>Keeps the likeliest of the collected tokens until their number, or their weight together, reaches the target; of equal ones the first.</summary>
    /// <returns>Their number, at least 1.</returns>
    public int Keep(int count, double target, bool byMass)
    {
        if (!byMass && target >= count)
            return count;
        Array.Copy(Values, _work, count);
        var (threshold, equals) = Threshold(_work.AsSpan(0, count), target, byMass);
        var kept = 0;
        for (var i = 0; i < count; i++)
        {
            if (Values[i] < threshold || Values[i] == threshold && equals-- <= 0)
                continue;
            (Ids[kept], Values[kept++]) = (Ids[i], Values[i]);
        }
        return kept;
    }

    /// <summary>The smallest weight among those that reach the target together, largest first, and how many of exactly this weight are among them.</summary>
    /// <remarks>Hoare's selection with a measure: each round throws away the part that cannot hold the threshold.</remarks>
    private static (float Value, int Equal) Threshold(Span<float> values, double target, bool byMass)
    {
        var above = 0.0;
        var smallest = (Value: 0f, Equal: int.MaxValue);
        while (values.Length > 0)
        {
            var pivot = Median(values[0], values[values.Length / 2], values[^1]);
            var (greater, equal, measure) = (0, 0, 0.0);
            // larger ones to the front, equal ones behind them
            for (var i = 0; i < values.Length; i++)
            {
                var value = values[i];
                if (value < pivot)
                    continue;
                values[i] = values[greater + equal];
                values[greater + equal] = value;
                if (value == pivot)
                {
                    equal++;
                    continue;
                }
                (values[greater], values[greater + equal]) = (value, values[greater]);
                greater++;
                measure += byMass ? value : 1;
            }
            var unit = byMass ? pivot : 1.0;
            if (above + measure >= target && greater > 0)
            {
                values = values[..greater];
                continue;
            }
            if (above + measure + equal * unit >= target)
                return (pivot, Math.Clamp((int)Math.Ceiling((target - above - measure) / unit), 1, equal));
            above += measure + equal * unit;
            smallest = (pivot, equal);
            values = values[(greater + equal)..];
        }
        return smallest;        // rounding: all of them together do not quite reach the target
    }

    private static float Median(float a, float b, float c) => Math.Max(Math.Min(a, b), Math.Min(Math.Max(a, b), c));
}
