using Handbook.Testing;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Tests.Kernels;

/// <summary>A flat batch with random queries, keys, values and output gradient, and attention by its definition to hold kernels
/// against.</summary>
internal sealed unsafe class AttentionCase
{
    public required int[] Start { get; init; }
    public required int[] Length { get; init; }
    public required int[] Parent { get; init; }
    public required AttentionShape Shape { get; init; }

    /// <summary>Elements between the slices of query, key and value in one row, and behind the last.</summary>
    public int Gap { get; init; }

    public required double[] Query { get; init; }
    public required double[] Key { get; init; }
    public required double[] Value { get; init; }
    public required double[] OutputGradient { get; init; }

    /// <summary>A score of each head without a value; null for none.</summary>
    public double[]? Sinks { get; init; }

    public int Tokens => Length.Sum();

    public SegmentTable Table => SegmentTable.Create(Start, Length, Parent);

    public static AttentionShape Sized(int heads, int keyHeads, int size, int window = 0, double softCap = 0) => new()
    {
        Heads = heads,
        KeyHeads = keyHeads,
        HeadSize = size,
        Scale = 1 / Math.Sqrt(size),
        Window = window,
        SoftCap = softCap,
    };

    /// <summary>The same with a slope over the distance for each head, and with values of another size.</summary>
    public static AttentionShape Sized(AttentionShape shape, bool slopes, int valueSize = 0) => shape with
    {
        DistanceSlopes = slopes ? [.. Enumerable.Range(1, shape.Heads).Select(h => 0.5f / h)] : null,
        ValueSize = valueSize,
    };

    /// <summary>Separate rows of the given lengths.</summary>
    public static AttentionCase Flat(AttentionShape shape, int seed, params int[] lengths) =>
        Tree(shape, seed, lengths, [.. lengths.Select(_ => -1)]);

    public static AttentionCase Tree(AttentionShape shape, int seed, int[] lengths, int[] parents, double spread = 1, int gap = 0,
        bool sinks = false)
    {
        var random = new Random(seed);
        var start = new int[lengths.Length];
        for (var i = 1; i < lengths.Length; i++)
            start[i] = start[i - 1] + lengths[i - 1];
        var tokens = lengths.Sum();
        return new()
        {
            Start = start,
            Length = lengths,
            Parent = parents,
            Shape = shape,
            Gap = gap,
            Query = Numbers(tokens * shape.Heads * shape.HeadSize, spread),
            Key = Numbers(tokens * shape.KeyHeads * shape.HeadSize, 1),
            Value = Numbers(tokens * shape.KeyHeads * shape.ValueSize, 1),
            OutputGradient = Numbers(tokens * shape.Heads * shape.ValueSize, 1),
            Sinks = sinks ? Numbers(shape.Heads, 1) : null,
        };

        // Multiples of 1/64 below 2 in size: exact in bfloat16, so that every element type starts from the same numbers.
        double[] Numbers(int count, double scale) => [.. Enumerable.Range(0, count).Select(_ => random.Next(-127, 128) / 64.0 * scale)];
    }

    /// <summary>Runs the kernel with query, key and value as slices of one buffer, and likewise their gradients.</summary>
    public Results Run<T>() where T : unmanaged
    {
        int tokens = Tokens, wide = Shape.Heads * Shape.HeadSize, narrow = Shape.KeyHeads * Shape.HeadSize;
        int mixed = Shape.Heads * Shape.ValueSize, values = Shape.KeyHeads * Shape.ValueSize;
        int stride = wide + narrow + values + 3 * Gap, keyAt = wide + Gap, valueAt = wide + narrow + 2 * Gap, outputStride = mixed + Gap;
        T[] inputs = new T[tokens * stride + 1], inputGradients = new T[tokens * stride + 1], output = new T[tokens * outputStride + 1],
            outputGradient = new T[tokens * outputStride + 1];
        double[] logSumExp = new double[tokens * Shape.Heads + 1], sinkNumbers = new double[Shape.Heads],
            sinkSums = new double[Shape.Heads];
        fixed (T* input = inputs, inputGradient = inputGradients, y = output, dy = outputGradient)
        fixed (double* sums = logSumExp, sinks = sinkNumbers, sinkGradients = sinkSums)
        {
            new Span<T>(inputGradient, inputGradients.Length).Fill(Poison<T>());
            new Span<T>(y, output.Length).Fill(Poison<T>());
            Scatter(Query, input, stride, wide);
            Scatter(Key, input + keyAt, stride, narrow);
            Scatter(Value, input + valueAt, stride, values);
            Scatter(OutputGradient, dy, outputStride, mixed);
            for (var h = 0; h < Sinks?.Length; h++)
                SetReal<T>(sinks, h, Sinks[h]);
            var arguments = new AttentionArguments<T>
            {
                Query = new(input, stride),
                Key = new(input + keyAt, stride),
                Value = new(input + valueAt, stride),
                Output = new(y, outputStride),
                LogSumExp = sums,
                Sinks = Sinks is null ? null : sinks,
            };
            var table = Table;
            AttentionKernel.Forward(table, Shape, arguments);
            AttentionKernel.Backward(table, Shape, arguments, new AttentionGradients<T>
            {
                Output = new(dy, outputStride),
                Query = new(inputGradient, stride),
                Key = new(inputGradient + keyAt, stride),
                Value = new(inputGradient + valueAt, stride),
            });
            if (Sinks is not null)
                AttentionKernel.SinkBackward<T>(tokens, Shape, arguments.Output, new(dy, outputStride), sums, sinks, sinkGradients);
            double[] lse = [.. Enumerable.Range(0, tokens * Shape.Heads).Select(i => Real<T>(logSumExp, i))];
            for (var i = 0; i < tokens; i++)
                for (var g = 0; g < Gap; g++)
                {
                    Assert.Equal(Lanes.Get(&inputGradient[tokens * stride], 0), Lanes.Get(inputGradient, (long)i * stride + wide + g));
                    Assert.Equal(Lanes.Get(&inputGradient[tokens * stride], 0), Lanes.Get(y, (long)i * outputStride + mixed + g));
                }
            return new(Gather(y, outputStride, mixed), lse, Gather(inputGradient, stride, wide),
                Gather(inputGradient + keyAt, stride, narrow), Gather(inputGradient + valueAt, stride, values),
                [.. Enumerable.Range(0, Shape.Heads).Select(h => Real<T>(sinkSums, h))]);
        }

        static T Poison<TAny>() where TAny : unmanaged
        {
            T value = default;
            Lanes.Set(&value, 0, 12345.0);
            return value;
        }

        void Scatter(double[] source, T* target, int rowStride, int row)
        {
            for (var i = 0; i < source.Length; i++)
                Lanes.Set(target, (long)(i / row) * rowStride + i % row, source[i]);
        }

        double[] Gather(T* source, int rowStride, int row)
        {
            var gathered = new double[tokens * row];
            for (var i = 0; i < gathered.Length; i++)
                gathered[i] = Lanes.Get(source, (long)(i / row) * rowStride + i % row);
            return gathered;
        }
    }

    // Log-sum-exps and sinks are double where the elements are, and else float.
    private static double Real<T>(double[] numbers, int at)
    {
        fixed (double* all = numbers)
            return typeof(T) == typeof(double) ? all[at] : ((float*)all)[at];
    }

    private static void SetReal<T>(double* numbers, int at, double value)
    {
        if (typeof(T) == typeof(double))
            numbers[at] = value;
        else
            ((float*)numbers)[at] = (float)value;
    }

    /// <summary>By definition: all N × N scores, visibility by walking from parent to parent.</summary>
    public Results Plain()
    {
        int tokens = Tokens, size = Shape.HeadSize, valueSize = Shape.ValueSize, group = Shape.Heads / Shape.KeyHeads;
        var (sees, places) = Visibility();
        double[] output = new double[OutputGradient.Length], lse = new double[tokens * Shape.Heads], dq = new double[Query.Length],
            dk = new double[Key.Length], dv = new double[Value.Length], dsinks = new double[Shape.Heads];
        for (var head = 0; head < Shape.Heads; head++)
            for (var i = 0; i < tokens; i++)
            {
                var seen = Enumerable.Range(0, tokens).Where(j => sees[i, j]).ToArray();
                var q = (i * Shape.Heads + head) * size;
                var keys = seen.Select(j => (j * Shape.KeyHeads + head / group) * size).ToArray();
                var values = seen.Select(j => (j * Shape.KeyHeads + head / group) * valueSize).ToArray();
                var y = (i * Shape.Heads + head) * valueSize;
                var raw = keys.Select((k, j) => Shape.Scale * Dot(Query, q, Key, k, size)
                    + (Shape.DistanceSlopes?[head] ?? 0) * (double)(places[seen[j]] - places[i])).ToArray();
                var scores = raw.Select(s => Shape.SoftCap > 0 ? Shape.SoftCap * Math.Tanh(s / Shape.SoftCap) : s).ToArray();
                var top = scores.Max();
                var log = top + Math.Log(scores.Sum(s => Math.Exp(s - top)) + (Sinks is null ? 0 : Math.Exp(Sinks[head] - top)));
                lse[head * tokens + i] = log;
                var p = scores.Select(s => Math.Exp(s - log)).ToArray();
                for (var j = 0; j < keys.Length; j++)
                    for (var e = 0; e < valueSize; e++)
                    {
                        output[y + e] += p[j] * Value[values[j] + e];
                        dv[values[j] + e] += p[j] * OutputGradient[y + e];
                    }
                var dp = values.Select(v => Dot(OutputGradient, y, Value, v, valueSize)).ToArray();
                var mean = p.Zip(dp, (a, b) => a * b).Sum();
                dsinks[head] -= Sinks is null ? 0 : Math.Exp(Sinks[head] - log) * mean;
                for (var j = 0; j < keys.Length; j++)
                {
                    var tanh = Shape.SoftCap > 0 ? Math.Tanh(raw[j] / Shape.SoftCap) : 0;
                    var ds = p[j] * (dp[j] - mean) * (1 - tanh * tanh) * Shape.Scale;
                    for (var e = 0; e < size; e++)
                    {
                        dq[q + e] += ds * Key[keys[j] + e];
                        dk[keys[j] + e] += ds * Query[q + e];
                    }
                }
            }
        return new(output, lse, dq, dk, dv, dsinks);

        static double Dot(double[] a, int i, double[] b, int j, int count)
        {
            var total = 0.0;
            for (var e = 0; e < count; e++)
                total += a[i + e] * b[j + e];
            return total;
        }
    }

    /// <summary>Who sees whom, and the place of each token in its chain.</summary>
    private (bool[,] Sees, int[] Places) Visibility()
    {
        var segment = new int[Tokens];
        var position = new int[Tokens];
        for (var s = 0; s < Start.Length; s++)
            for (var i = 0; i < Length[s]; i++)
            {
                segment[Start[s] + i] = s;
                position[Start[s] + i] = i + (Parent[s] < 0 ? 0 : position[Start[Parent[s]] + Length[Parent[s]] - 1] + 1);
            }
        var sees = new bool[Tokens, Tokens];
        for (var i = 0; i < Tokens; i++)
            for (var j = 0; j < Tokens; j++)
            {
                var above = segment[i];
                while (above >= 0 && above != segment[j])
                    above = Parent[above];
                sees[i, j] = above >= 0 && position[j] <= position[i] && (Shape.Window == 0 || position[j] > position[i] - Shape.Window);
            }
        return (sees, position);
    }

    /// <summary>Output [N, H, E], log-sum-exp [H, N], and the gradients.</summary>
    internal sealed record Results(double[] Output, double[] LogSumExp, double[] Query, double[] Key, double[] Value,
        double[] Sinks)
    {
        public (string Name, double[] Values)[] All =>
            [("output", Output), ("log-sum-exp", LogSumExp), ("query gradient", Query), ("key gradient", Key), ("value gradient", Value),
            ("sink gradient", Sinks)];

        /// <summary>Differences are at most <paramref name="relative"/> of the largest value of the same tensor.</summary>
        public void AssertClose(Results expected, double relative, string what = "")
        {
            foreach (var ((name, actual), (_, wanted)) in All.Zip(expected.All))
            {
                var bound = relative * Math.Max(1e-3, wanted.Length == 0 ? 0 : wanted.Max(Math.Abs));
                for (var i = 0; i < wanted.Length; i++)
                    Lazily.True(Math.Abs(actual[i] - wanted[i]) <= bound,
                        $"{what} {name}[{i}] is {actual[i]:R}, should be {wanted[i]:R} within {bound:E1}");
            }
        }

        public void AssertSameBits(Results other)
        {
            foreach (var ((name, mine), (_, theirs)) in All.Zip(other.All))
                Assert.True(mine.AsSpan().SequenceEqual(theirs), $"{name} differs");
        }
    }
}
