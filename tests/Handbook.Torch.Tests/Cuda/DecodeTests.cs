using Handbook.Torch.Cpu;
using Handbook.Torch.Cuda;
using Handbook.Torch.Devices;
using Handbook.Torch.Kernels;
using Handbook.Torch.Tests.Kernels;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>The text of <c>decode.cu</c> on the CPU against attention over caches there.</summary>
[Trait("needs", "nvrtc")]
public sealed class DecodeTests
{
    private sealed class EmulatorQueue : ICudaQueue
    {
        public void Launch(CudaLaunch launch, Device device) => Emulated.Run(launch);
    }

    private const int Layers = 2, Layer = 1;

    /// <summary>A prompt of 130 tokens that two sequences begin with, with 3 and 20 tokens of their own, of which 1 and 4 are new; and a
    /// sequence that has its 9 tokens alone, all new.</summary>
    /// <param name="cut">Puts the prompt into two blocks.</param>
    private static double[][] Run(DeviceKernels kernels, AttentionShape shape, DType type, bool sinks, bool cut)
    {
        using var scope = TensorScope.Enter();
        var each = shape.HeadSize + shape.ValueSize;
        CacheBlock Block(int seed, int capacity, int tokens) => new(Values(seed, type, Layers, shape.KeyHeads, capacity * each), capacity, tokens);
        CacheBlock prompt = Block(1, 133, 130), own = Block(2, 32, 3), other = Block(3, 20, 20), alone = Block(4, 16, 9);
        CacheBlock[] before = cut ? [Part(prompt, 0, 40), Part(prompt, 40, 90)] : [prompt];
        var plan = new CachePlan([[.. before, own], [.. before, other], [alone]], [0, 1, 5, 14]);
        var rows = Values(5, type, 14, shape.Heads * shape.HeadSize + shape.KeyHeads * each + 3);
        var output = Tensor.Zeros(type, 14, shape.Heads * shape.ValueSize);
        kernels.AttentionDecode(plan, Layer, shape, rows, output, sinks ? Values(6, DType.Float32, shape.Heads) : null);
        return [.. ((Tensor[])[output, own.Memory, other.Memory, alone.Memory]).Select(tensor => tensor.ToArray<double>())];

        CacheBlock Part(CacheBlock whole, int first, int count)
        {
            var (keys, values) = (whole.Memory.Narrow(2, 0, whole.Capacity * shape.HeadSize).Reshape(Layers, shape.KeyHeads, whole.Capacity,
                shape.HeadSize), whole.Memory.Narrow(2, whole.Capacity * shape.HeadSize, whole.Capacity * shape.ValueSize).Reshape(Layers,
                shape.KeyHeads, whole.Capacity, shape.ValueSize));
            return new(Tensor.Cat([keys.Narrow(2, first, count).Reshape(Layers, shape.KeyHeads, -1),
                values.Narrow(2, first, count).Reshape(Layers, shape.KeyHeads, -1)], 2), count, count);
        }
    }

    private static Tensor Values(int seed, DType type, params long[] shape) =>
        Tensor.From(Some.Normal(seed, (int)shape.Aggregate(1L, (a, b) => a * b)), shape).To(type);

    [Theory]
    [InlineData(2, 1, 5, 0, 0, false, false, 0, DType.Float32), InlineData(2, 2, 40, 20, 3, true, true, 0, DType.Float32),
        InlineData(3, 1, 8, 0, 0, false, true, 130, DType.BFloat16), InlineData(2, 2, 8, 0, 0, false, false, 0, DType.Float32, 50)]
    public void New_tokens_attend_over_their_caches_as_on_the_cpu(int heads, int keyHeads, int size, int window, double cap, bool slopes,
        bool sinks, int valueSize, DType type, int chunk = 0)
    {
        var shape = AttentionCase.Sized(AttentionCase.Sized(heads, keyHeads, size, window, cap), slopes, valueSize) with { Chunk = chunk };
        var gpu = new CudaKernels(new EmulatorQueue(), Device.Cpu, () => null);
        var isThorough = heads == 2 && keyHeads == 1;
        var expected = Run(new CpuKernels(), shape, type, sinks, cut: false);
        var actual = Emulated.Everywhere(() => Run(gpu, shape, type, sinks, cut: false), isThorough, isThorough ? 20 : 2);
        Some.Close(expected[0], actual[0], type == DType.Float32 ? 3e-6 : 0.01);
        for (var i = 1; i < expected.Length; i++)
            Assert.Equal(expected[i], actual[i]);
        // not a bit depends on how the prompt is cut
        Assert.Equal(actual[0], Run(gpu, shape, type, sinks, cut: true)[0]);
        Assert.Equal(expected[0], Run(new CpuKernels(), shape, type, sinks, cut: true)[0]);
    }

    [Fact]
    public void Numbers_of_a_plan_say_where_every_token_is()
    {
        using var scope = TensorScope.Enter();
        CacheBlock prompt = new(Tensor.Zeros(DType.Float32, 1, 1, 80), 10, 4), own = new(Tensor.Zeros(DType.Float32, 1, 1, 40), 5, 3),
            other = new(Tensor.Zeros(DType.Float32, 1, 1, 40), 5, 1);
        var plan = new CachePlan([[prompt, own], [prompt, other]], [0, 2, 3]);
        Assert.Equal([5, 0, 2, 1, 6, 0, 2, 2, 4, 2, 2, 0], plan.Rows.Host);
        Assert.Equal([0, 1, 0, 2], plan.Lists.Host);
        Assert.Equal([10, 4, 5, 3, 5, 1], plan.Table.Host.Where((_, i) => i % 3 != 0));
        Assert.Equal((3, 2, 2), (plan.Tokens, plan.Count, plan.Prefixes));
        Assert.Contains("part of the cache", Assert.Throws<ArgumentException>(() => new CachePlan([[other]], [0, 2])).Message);
    }
}
