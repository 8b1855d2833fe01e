using Handbook.Testing;
using Handbook.Torch.Cuda;
using Handbook.Torch.Kernels;
using Handbook.Torch.Tests.Kernels;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>The text of <c>attention.cu</c> on the CPU against attention by its definition.</summary>
public sealed unsafe class AttentionTests
{
    // a prompt with two answers, one of which goes on in two ways, and a row beside them
    private static readonly int[] s_lengths = [34, 3, 33, 2, 1, 5], s_parents = [-1, 0, 0, 2, 2, -1];

    [Theory]
    [InlineData(2, 1, 5, 0, 0, false, false, 0), InlineData(1, 1, 7, 20, 0, false, true, 0), InlineData(2, 2, 3, 0, 3, true, false, 10),
        InlineData(1, 1, 12, 33, 5, true, true, 4)]
    public void Trees_agree_with_the_definition(int heads, int keyHeads, int size, int window, double cap, bool slopes, bool sinks,
        int valueSize)
    {
        var shape = AttentionCase.Sized(AttentionCase.Sized(heads, keyHeads, size, window, cap), slopes, valueSize);
        var of = AttentionCase.Tree(shape, 7, s_lengths, s_parents, spread: 2, sinks: sinks);
        // one of them under all schedules, and without each barrier
        Compare<float>(of, 3e-6, isThorough: heads == 2 && keyHeads == 1);
        Compare<BFloat16>(of, sinks ? 0.05 : 0.01, isThorough: false);       // a sink's gradient is a sum over rounded rows
    }

    [Fact, Trait("speed", "slow")]
    public void Large_heads_in_half_precision_agree_with_the_definition() => Compare<Half>(AttentionCase.Tree(
        AttentionCase.Sized(AttentionCase.Sized(2, 1, 256, 50), false, 136), 8, [70, 10], [-1, 0], sinks: true), 0.002, isThorough: false);

    private static void Compare<T>(AttentionCase of, double tolerance, bool isThorough) where T : unmanaged
    {
        var actual = Emulated.Everywhere(() => Emulate<T>(of), allBarriers: isThorough, schedules: isThorough ? 20 : 2);
        new AttentionCase.Results(actual[0], actual[1], actual[2], actual[3], actual[4], actual[5])
            .AssertClose(of.Plain(), tolerance, typeof(T).Name);
    }

    private static double[][] Emulate<T>(AttentionCase of) where T : unmanaged
    {
        var (shape, n) = (of.Shape, of.Tokens);
        using Rows<T> q = new(of.Query), k = new(of.Key), v = new(of.Value), dy = new(of.OutputGradient), o = new(dy.Count),
            dq = new(of.Query.Length), dk = new(of.Key.Length), dv = new(of.Value.Length);
        using Rows<T> keyValues = new(of.Key.Length + of.Value.Length);
        using Rows<float> lse = new(n * shape.Heads), dots = new(n * shape.Heads), dsinks = new(shape.Heads),
            sinks = new(of.Sinks ?? new double[shape.Heads]);
        int keyWidth = shape.KeyHeads * shape.HeadSize, valueWidth = shape.KeyHeads * shape.ValueSize, width = keyWidth + valueWidth;
        for (var i = 0; i < n; i++)
        {
            k.Span.Slice(i * keyWidth, keyWidth).CopyTo(keyValues.Span[(i * width)..]);
            v.Span.Slice(i * valueWidth, valueWidth).CopyTo(keyValues.Span[(i * width + keyWidth)..]);
        }
        var segments = new CudaSegments(of.Table);
        fixed (float* slopes = shape.DistanceSlopes)
        fixed (int* queryBlocks = segments.QueryBlocks.Host, queryLists = segments.QueryLists.Host, keyBlocks = segments.KeyBlocks.Host,
            keyLists = segments.KeyLists.Host)
        {
            var mixed = shape.Heads * shape.ValueSize;
            var a = new CudaAttentionArguments<T>
            {
                Query = q.Pointer,
                QueryStride = shape.Heads * shape.HeadSize,
                Key = keyValues.Pointer,
                Value = keyValues.Pointer + keyWidth,
                KeyStride = width,
                Output = o.Pointer,
                OutputStride = mixed,
                LogSumExp = lse.Pointer,
                Sinks = of.Sinks is null ? null : sinks.Pointer,
                Slopes = slopes,
                Tokens = n,
            };
            Emulated.Run(CudaAttention.Forward(shape, a, queryBlocks, segments.QueryBlockCount, queryLists));
            Emulated.Run(CudaAttention.Dots(shape, a, dy.Pointer, mixed, dots.Pointer));
            Emulated.Run(CudaAttention.QueryBackward(shape, a, dy.Pointer, mixed, dots.Pointer, dq.Pointer, a.QueryStride, queryBlocks,
                segments.QueryBlockCount, queryLists));
            Emulated.Run(CudaAttention.KeyBackward(shape, a, dy.Pointer, mixed, dots.Pointer, dk.Pointer, keyWidth, keyBlocks,
                segments.KeyBlockCount, keyLists, ofValues: false));
            Emulated.Run(CudaAttention.KeyBackward(shape, a, dy.Pointer, mixed, dots.Pointer, dv.Pointer, valueWidth, keyBlocks,
                segments.KeyBlockCount, keyLists, ofValues: true));
            if (of.Sinks is not null)
                Emulated.Run(CudaAttention.SinkBackward(lse.Pointer, dots.Pointer, sinks.Pointer, dsinks.Pointer, shape.Heads, n));
        }
        return [o.ToArray(), lse.ToArray(), dq.ToArray(), dk.ToArray(), dv.ToArray(), dsinks.ToArray()];
    }

    [Fact]
    public void Two_halves_of_the_keys_become_the_whole()
    {
        Merge<float>(2e-6);
        Merge<BFloat16>(0.01);
    }

    private static void Merge<T>(double tolerance) where T : unmanaged
    {
        // the second half is of tokens 2, 0 and 4 of five
        const int tokens = 5, heads = 2, size = 70;
        int[] rows = [2, 0, 4];
        double[] a = Some.Rounded<T>(Some.Normal(1, tokens * heads * size)), b = Some.Rounded<T>(Some.Normal(2, rows.Length * heads * size));
        double[] first = [0.5, 3, double.NegativeInfinity, 2, 30, -2, 3, double.NegativeInfinity, 2, 1], second = [1, 2, 3,
            double.NegativeInfinity, double.NegativeInfinity, -80];
        var actual = Emulated.Everywhere(() =>
        {
            using Rows<T> output = new(a), more = new(b);
            using Rows<float> lse = new(first), others = new(second);
            fixed (int* which = rows)
                Emulated.Run(CudaAttention.Merge(output.Pointer, heads * size, lse.Pointer, tokens, more.Pointer, heads * size, others.Pointer,
                    which, rows.Length, heads, size));
            return [output.ToArray(), lse.ToArray()];
        });
        for (var i = 0; i < a.Length; i++)
        {
            var (token, head) = (i / (heads * size), i / size % heads);
            var (at, which) = (head * tokens + token, Array.IndexOf(rows, token));
            double p = Math.Exp(first[at]), q = which < 0 ? 0 : Math.Exp(second[head * rows.Length + which]);
            var own = which < 0 ? 0 : b[which * heads * size + i % (heads * size)];
            Some.Close([which < 0 ? a[i] : p + q == 0 ? 0 : (p * a[i] + q * own) / (p + q)], [actual[0][i]], tolerance);
            Lazily.True(Math.Log(p + q) == actual[1][at] || Math.Abs(Math.Log(p + q) - actual[1][at]) < 1e-6, $"{at}: {actual[1][at]}");
        }
    }

    [Fact]
    public void Blocks_of_a_tree_know_what_they_see_and_who_sees_them()
    {
        var segments = new CudaSegments(SegmentTable.Create([0, 40, 43], [40, 3, 2], [-1, 0, 0]));
        Assert.Equal([0, 32, 0, 0, 1, 32, 8, 32, 0, 1, 40, 3, 40, 1, 2, 43, 2, 40, 3, 2], segments.QueryBlocks.Host);
        Assert.Equal([0, 40, 0, 0, 40, 0, 40, 3, 40, 0, 40, 0, 43, 2, 40, 0, 0, 0], segments.QueryLists.Host);
        Assert.Equal([0, 32, 0, 0, 3, 32, 8, 32, 0, 3, 40, 3, 40, 3, 1, 43, 2, 40, 4, 1], segments.KeyBlocks.Host);
        Assert.Equal([0, 40, 0, 40, 3, 40, 43, 2, 40, 40, 3, 40, 43, 2, 40, 0, 0, 0], segments.KeyLists.Host);
    }
}
