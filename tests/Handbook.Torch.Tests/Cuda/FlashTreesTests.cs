using Handbook.Torch.Cpu;
using Handbook.Torch.Cuda;
using Handbook.Torch.Devices;
using Handbook.Torch.Kernels;
using Handbook.Torch.Tests.Kernels;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>Prompts with answers through libtorch's attention over sequences, of which a stand-in computes what the schema says.</summary>
[Trait("needs", "nvrtc")]
public sealed class FlashTreesTests
{
    private const string Queries = "Tensor query, Tensor key, Tensor value", Sequences = "SymInt max_q, SymInt max_k, float dropout_p, bool is_causal";
    private const string Window = "float? scale=None, SymInt? window_size_left=None, SymInt? window_size_right=None";

    private sealed class EmulatorQueue : ICudaQueue
    {
        public void Launch(CudaLaunch launch, Device device) => Emulated.Run(launch);
    }

    private int _calls;

    /// <param name="padded">Gives the log-sum-exp as older releases do.</param>
    private FlashAttention StandIn(bool padded)
    {
        var forward = OperatorSchema.Parse($"aten::_flash_attention_forward({Queries}, Tensor? cum_seq_q, Tensor? cum_seq_k, {Sequences}, "
            + $"bool return_debug_mask, *, {Window}) -> (Tensor output, Tensor softmax_logsumexp, Tensor rng_state, Tensor unused, Tensor debug)");
        var backward = OperatorSchema.Parse($"aten::_flash_attention_backward(Tensor grad_out, {Queries}, Tensor out, Tensor logsumexp, "
            + $"Tensor cum_seq_q, Tensor cum_seq_k, {Sequences}, Tensor rng_state, Tensor unused, *, {Window}) -> (Tensor, Tensor, Tensor)");
        return new(new(forward, values => Forward(values, padded)), new(backward, values => Backward(values, padded)));
    }

    private static Tensor At(Value[] values, int place) => (Tensor)values[place].Reference!;

    // Of each sequence and head the scores, what is seen of them, and their log-sum-exp.
    private static IEnumerable<(int First, int Head, int KeyHead, int FirstKey, Tensor Q, Tensor K, Tensor V, Tensor Mask)> Parts(Tensor q,
        Tensor k, Tensor v, int[] starts, int[] keyStarts, bool causal, int window)
    {
        for (var s = 0; s + 1 < starts.Length; s++)
            for (var head = 0; head < q.Size(1); head++)
            {
                var (rows, columns, keyHead) = (starts[s + 1] - starts[s], keyStarts[s + 1] - keyStarts[s], head / (int)(q.Size(1) / k.Size(1)));
                Tensor Of(Tensor all, int first, int count, int which) => all.Narrow(0, first, count).Select(1, which).To(DType.Float64);
                var mask = new double[rows * columns];
                for (var i = 0; i < mask.Length; i++)
                {
                    var (place, key) = (i / columns + columns - rows, i % columns);
                    mask[i] = causal && key > place || window >= 0 && key < place - window ? double.NegativeInfinity : 0;
                }
                yield return (starts[s], head, keyHead, keyStarts[s], Of(q, starts[s], rows, head), Of(k, keyStarts[s], columns, keyHead),
                    Of(v, keyStarts[s], columns, keyHead), Tensor.From(mask, rows, columns));
            }
    }

    private static int WindowOf(Value value) => value.Describe() == "default" ? -1 : int.Parse(value.Describe());

    private Tensor[] Forward(Value[] values, bool padded)
    {
        _calls++;
        var (q, k, v) = (At(values, 0), At(values, 1), At(values, 2));
        var (starts, keyStarts) = (At(values, 3).ToArray<int>(), At(values, 4).ToArray<int>());
        var (output, lse) = (q.ZerosLike(), Lse(q, starts, values[5], padded));
        foreach (var part in Parts(q, k, v, starts, keyStarts, values[8].Describe() == "true", WindowOf(values[11])))
        {
            var scores = part.Q.Mm(part.K.T()) * double.Parse(values[10].Describe()) + part.Mask;
            var top = scores.ToArray<double>().Max();
            var sums = (scores - top).Exp().Sum(1).ToArray<double>().Select(sum => top + Math.Log(sum)).ToArray();
            output.Narrow(0, part.First, sums.Length).Select(1, part.Head).CopyFrom(scores.Softmax(1).Mm(part.V));
            Rows(lse, starts, part.First, part.Head, padded).CopyFrom(Tensor.From(sums));
        }
        return [output, lse, Tensor.From([0.0]), Tensor.From([0.0]), Tensor.From([0.0])];
    }

    private static Tensor Lse(Tensor q, int[] starts, Value longest, bool padded) => padded
        ? Tensor.Zeros(DType.Float32, starts.Length - 1, q.Size(1), long.Parse(longest.Describe())) : Tensor.Zeros(DType.Float32, q.Size(1), q.Size(0));

    private static Tensor Rows(Tensor lse, int[] starts, int first, int head, bool padded)
    {
        var sequence = Array.IndexOf(starts, first);
        var count = starts[sequence + 1] - first;
        return padded ? lse.Select(0, sequence).Select(0, head).Narrow(0, 0, count) : lse.Select(0, head).Narrow(0, first, count);
    }

    private Tensor[] Backward(Value[] values, bool padded)
    {
        _calls++;
        var (dy, q, k, v, output, lse) = (At(values, 0), At(values, 1), At(values, 2), At(values, 3), At(values, 4), At(values, 5));
        var (starts, keyStarts, scale) = (At(values, 6).ToArray<int>(), At(values, 7).ToArray<int>(), double.Parse(values[14].Describe()));
        Assert.Equal(padded ? 3 : 2, lse.Dims);
        var (dq, dk, dv) = (q.ZerosLike(), k.ZerosLike(), v.ZerosLike());
        foreach (var part in Parts(q, k, v, starts, keyStarts, values[11].Describe() == "true", WindowOf(values[15])))
        {
            var (rows, columns) = (part.Q.Size(0), part.K.Size(0));
            Tensor Of(Tensor all) => all.Narrow(0, part.First, rows).Select(1, part.Head).To(DType.Float64);
            var (g, o) = (Of(dy), Of(output));
            var p = (part.Q.Mm(part.K.T()) * scale + part.Mask - Rows(lse, starts, part.First, part.Head, padded).To(DType.Float64).Reshape(rows, 1)).Exp();
            var ds = p * (g.Mm(part.V.T()) - (g * o).Sum(1, keepDim: true)) * scale;
            dq.Narrow(0, part.First, rows).Select(1, part.Head).CopyFrom(ds.Mm(part.K));
            dk.Narrow(0, part.FirstKey, columns).Select(1, part.KeyHead).AddInPlace(ds.T().Mm(part.Q).To(dk.DType));
            dv.Narrow(0, part.FirstKey, columns).Select(1, part.KeyHead).AddInPlace(p.T().Mm(g).To(dv.DType));
        }
        return [dq, dk, dv];
    }

    [Theory]
    // a prompt with two answers and a row; rows alone with a window; two prompts, of which one stands behind its answers
    [InlineData(new[] { 0, 5, 8, 12 }, new[] { 5, 3, 4, 6 }, new[] { -1, 0, 0, -1 }, 0, false, 4),
        InlineData(new[] { 0, 5, 8, 12 }, new[] { 5, 3, 4, 6 }, new[] { -1, 0, 0, -1 }, 0, true, 4),
        InlineData(new[] { 0, 9, 11 }, new[] { 9, 2, 4 }, new[] { -1, -1, -1 }, 3, true, 2),
        InlineData(new[] { 7, 0, 12, 15 }, new[] { 5, 7, 3, 2 }, new[] { -1, 0, -1, 2 }, 0, false, 4)]
    public void Halves_merged_are_the_attention_of_the_cpu(int[] start, int[] length, int[] parent, int window, bool padded, int calls)
    {
        EmulatedLibrary.Need();
        using var scope = TensorScope.Enter();
        var (table, shape) = (SegmentTable.Create(start, length, parent), AttentionCase.Sized(4, 2, 8, window, 0));
        var gpu = new CudaKernels(new EmulatorQueue(), Device.Cpu, () => StandIn(padded));
        var expected = Run(new CpuKernels(), table, shape);
        var actual = Run(gpu, table, shape);
        Assert.Equal(calls, _calls);
        foreach (var (e, a) in expected.Zip(actual))
            Some.Close(e, a, 0.02 * (1 + e.Max(Math.Abs)));
    }

    private static double[][] Run(DeviceKernels kernels, SegmentTable table, AttentionShape shape)
    {
        Tensor Values(int seed, DType type, params long[] sizes) =>
            Tensor.From(Some.Normal(seed, (int)sizes.Aggregate(1L, (a, b) => a * b)), sizes).To(type);
        var (n, wide, narrow) = (table.Tokens, shape.Heads * shape.HeadSize, 2 * shape.KeyHeads * shape.HeadSize);
        Tensor qkv = Values(1, DType.BFloat16, n, wide + narrow), dy = Values(2, DType.BFloat16, n, wide), dqkv = qkv.ZerosLike(),
            output = Tensor.Zeros(DType.BFloat16, n, wide), lse = Tensor.Zeros(DType.Float32, shape.Heads, n);
        kernels.AttentionForward(table, shape, qkv.Narrow(1, 0, wide), qkv.Narrow(1, wide, narrow), output, lse, null);
        kernels.AttentionBackward(table, shape, qkv.Narrow(1, 0, wide), qkv.Narrow(1, wide, narrow), output, lse, dy, dqkv.Narrow(1, 0, wide),
            dqkv.Narrow(1, wide, narrow));
        return [.. ((Tensor[])[output, lse, dqkv]).Select(tensor => tensor.ToArray<double>())];
    }

    [Fact]
    public void Deeper_trees_and_answers_apart_are_left_to_the_own_kernel()
    {
        Assert.Null(FlashTrees.Of(SegmentTable.Create([0, 2, 4], [2, 2, 2], [-1, 0, 1])));
        Assert.Null(FlashTrees.Of(SegmentTable.Create([0, 2, 4, 6, 8], [2, 2, 2, 2, 2], [-1, -1, 0, 1, 0])));
        Assert.True(FlashTrees.Of(SegmentTable.Create([0, 2], [2, 2], [-1, -1]))!.IsFlat);
        Assert.False(FlashTrees.Of(SegmentTable.Create([0, 2], [2, 2], [-1, 0]))!.IsFlat);
    }
}
