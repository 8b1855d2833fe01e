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

    /// <summary>Separate rows of the given lengths.</summary>
    public static AttentionCase Flat(AttentionShape shape, int seed, params int[] lengths) =>
        Tree(shape, seed, lengths, [.. lengths.Select(_ => -1)]);

    public static AttentionCase Tree(AttentionShape shape, int seed, int[] lengths, int[] parents, double spread = 1, int gap = 0)
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
            Value = Numbers(tokens * shape.KeyHeads * shape.HeadSize, 1),
            OutputGradient = Numbers(tokens * shape.Heads * shape.HeadSize, 1),
        };

        // Multiples of 1/64 below 2 in size: exact in bfloat16, so that every element type starts from the same numbers.
        double[] Numbers(int count, double scale) => [.. Enumerable.Range(0, count).Select(_ => random.Next(-127, 128) / 64.0 * scale)];
    }

    /// <summary>Runs the kernel with query, key and value as slices of one buffer, and likewise their gradients.</summary>
    public Results Run<T>() where T : unmanaged
    {
        int tokens = Tokens, wide = Shape.Heads * Shape.HeadSize, narrow = Shape.KeyHeads * Shape.HeadSize;
        int stride = wide + 2 * narrow + 3 * Gap, keyAt = wide + Gap, valueAt = wide + narrow + 2 * Gap, outputStride = wide + Gap;
        T[] inputs = new T[tokens * stride + 1], inputGradients = new T[tokens * stride + 1], output = new T[tokens * outputStride + 1],
            outputGradient = new T[tokens * outputStride + 1];
        var logSumExp = new double[tokens * Shape.Heads + 1];
        fixed (T* input = inputs, inputGradient = inputGradients, y = output, dy = outputGradient)
        fixed (double* sums = logSumExp)
        {
            new Span<T>(inputGradient, inputGradients.Length).Fill(Poison<T>());
            new Span<T>(y, output.Length).Fill(Poison<T>());
            Scatter(Query, input, stride, wide);
            Scatter(Key, input + keyAt, stride, narrow);
            Scatter(Value, input + valueAt, stride, narrow);
            Scatter(OutputGradient, dy, outputStride, wide);
            var arguments = new AttentionArguments<T>
            {
                Query = new(input, stride),
                Key = new(input + keyAt, stride),
                Value = new(input + valueAt, stride),
                Output = new(y, outputStride),
                LogSumExp = sums,
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
            var lse = new double[tokens * Shape.Heads];
            for (var i = 0; i < lse.Length; i++)
                lse[i] = typeof(T) == typeof(double) ? sums[i] : ((float*)sums)[i];
            for (var i = 0; i < tokens; i++)
                for (var g = 0; g < Gap; g++)
                {
                    Assert.Equal(Lanes.Get(&inputGradient[tokens * stride], 0), Lanes.Get(inputGradient, (long)i * stride + wide + g));
                    Assert.Equal(Lanes.Get(&inputGradient[tokens * stride], 0), Lanes.Get(y, (long)i * outputStride + wide + g));
                }
            return new(Gather(y, outputStride, wide), lse, Gather(inputGradient, stride, wide),
                Gather(inputGradient + keyAt, stride, narrow), Gather(inputGradient + valueAt, stride, narrow));
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
            var values = new double[tokens * row];
            for (var i = 0; i < values.Length; i++)
                values[i] = Lanes.Get(source, (long)(i / row) * rowStride + i % row);
            return values;
        }
    }

    /// <summary>By definition: all N × N scores, visibility by walking from parent to parent.</summary>
    public Results Plain()
    {
        int tokens = Tokens, size = Shape.HeadSize, group = Shape.Heads / Shape.KeyHeads;
        var sees = Visibility();
        double[] output = new double[Query.Length], lse = new double[tokens * Shape.Heads], dq = new double[Query.Length],
            dk = new double[Key.Length], dv = new double[Key.Length];
        for (var head = 0; head < Shape.Heads; head++)
            for (var i = 0; i < tokens; i++)
            {
                var seen = Enumerable.Range(0, tokens).Where(j => sees[i, j]).ToArray();
                var q = (i * Shape.Heads + head) * size;
                var keys = seen.Select(j => (j * Shape.KeyHeads + head / group) * size).ToArray();
                var raw = keys.Select(k => Shape.Scale * Dot(Query, q, Key, k)).ToArray();
                var scores = raw.Select(s => Shape.SoftCap > 0 ? Shape.SoftCap * Math.Tanh(s / Shape.SoftCap) : s).ToArray();
                var top = scores.Max();
                var log = top + Math.Log(scores.Sum(s => Math.Exp(s - top)));
                lse[head * tokens + i] = log;
                var p = scores.Select(s => Math.Exp(s - log)).ToArray();
                for (var j = 0; j < keys.Length; j++)
                    for (var e = 0; e < size; e++)
                    {
                        output[q + e] += p[j] * Value[keys[j] + e];
                        dv[keys[j] + e] += p[j] * OutputGradient[q + e];
                    }
                var dp = keys.Select(k => Dot(OutputGradient, q, Value, k)).ToArray();
                var mean = p.Zip(dp, (a, b) => a * b).Sum();
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
        return new(output, lse, dq, dk, dv);

        double Dot(double[] a, int i, double[] b, int j)
        {
            var total = 0.0;
            for (var e = 0; e < size; e++)
                total += a[i + e] * b[j + e];
            return total;
        }
    }

    private bool[,] Visibility()
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
        return sees;
    }

    /// <summary>Output [N, H, E], log-sum-exp [H, N], and the gradients.</summary>
    internal sealed record Results(double[] Output, double[] LogSumExp, double[] Query, double[] Key, double[] Value)
    {
        public (string Name, double[] Values)[] All =>
            [("output", Output), ("log-sum-exp", LogSumExp), ("query gradient", Query), ("key gradient", Key), ("value gradient", Value)];

        /// <summary>Differences are at most <paramref name="relative"/> of the largest value of the same tensor.</summary>
        public void AssertClose(Results expected, double relative, string what = "")
        {
            foreach (var ((name, actual), (_, wanted)) in All.Zip(expected.All))
            {
                var bound = relative * Math.Max(1e-3, wanted.Length == 0 ? 0 : wanted.Max(Math.Abs));
                for (var i = 0; i < wanted.Length; i++)
                    Assert.True(Math.Abs(actual[i] - wanted[i]) <= bound,
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
