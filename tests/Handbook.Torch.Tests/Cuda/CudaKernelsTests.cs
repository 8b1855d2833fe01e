using Handbook.Base;
using Handbook.Torch.Cpu;
using Handbook.Torch.Cuda;
using Handbook.Torch.Devices;
using Handbook.Torch.Fused;
using Handbook.Torch.Tests.Kernels;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>The operations of a GPU on the emulator, whose memory is the host's, beside those of the CPU.</summary>
[Trait("needs", "nvrtc")]
public sealed class CudaKernelsTests
{
    private sealed class EmulatorQueue : ICudaQueue
    {
        public void Launch(CudaLaunch launch, Device device) => Emulated.Run(launch);
    }

    private static readonly DeviceKernels s_cpu = new CpuKernels();

    private readonly DeviceKernels _gpu;

    public CudaKernelsTests()
    {
        EmulatedLibrary.Need();
        _gpu = new CudaKernels(new EmulatorQueue(), Device.Cpu, () => null);
    }

    private static Tensor Normal(int seed, DType type, params long[] shape) => Tensor.From(Some.Normal(seed, (int)shape.Aggregate(1L, (a, b) => a * b)), shape).To(type);

    // Runs an operation on both; what it wrote agrees.
    private void Agree(double tolerance, Func<DeviceKernels, Tensor[]> run)
    {
        var (expected, actual) = (run(s_cpu), run(_gpu));
        for (var i = 0; i < expected.Length; i++)
            Some.Close(expected[i].To(DType.Float64).ToArray<double>(), actual[i].To(DType.Float64).ToArray<double>(), tolerance, tolerance);
    }

    [Theory]
    [InlineData(DType.Float32, false, 2e-6), InlineData(DType.BFloat16, false, 8e-3), InlineData(DType.Float32, true, 2e-6)]
    public void Norms_agree_with_the_cpu(DType type, bool layer, double tolerance)
    {
        using var scope = TensorScope.Enter();
        Tensor residual = Normal(1, DType.Float32, 5, 24), delta = Normal(2, type, 5, 24), weight = Normal(3, DType.Float32, 24),
            dy = Normal(4, type, 5, 24), incoming = Normal(5, DType.Float32, 5, 24);
        Agree(tolerance, kernels =>
        {
            Tensor New(params long[] shape) => Tensor.Zeros(DType.Float32, shape);
            Tensor sum = New(5, 24), rstd = New(5), dsum = New(5, 24), dw = New(24), db = New(24), y = Tensor.Zeros(type, 5, 24);
            var mean = layer ? New(5) : null;
            kernels.NormForward(new()
            {
                Residual = residual,
                Delta = delta,
                Weight = weight,
                Bias = layer ? weight : null,
                Epsilon = 1e-5,
                Offset = 0,
                Turns = 1,
                Sum = sum,
                Output = y,
                InverseDeviation = rstd,
                Mean = mean
            });
            kernels.NormBackward(new()
            {
                OutputGradient = dy,
                ResidualGradient = incoming,
                Sum = sum,
                Weight = weight,
                Offset = 0,
                Turns = 1,
                InverseDeviation = rstd,
                Mean = mean,
                SumGradient = dsum,
                DeltaGradient = null,
                WeightGradient = dw,
                BiasGradient = layer ? db : null
            });
            return [sum, y, rstd, dsum, dw, db];
        });
    }

    [Fact]
    public void Activations_dropout_and_conversions_agree_with_the_cpu()
    {
        using var scope = TensorScope.Enter();
        Tensor x = Normal(1, DType.Float32, 3, 16), dy = Normal(2, DType.Float32, 3, 8), narrow = Normal(3, DType.BFloat16, 20);
        Agree(4e-6, kernels =>
        {
            Tensor y = Tensor.Zeros(DType.Float32, 3, 8), dx = Tensor.Zeros(DType.Float32, 3, 16), masked = Tensor.Zeros(DType.Float32, 3, 16),
                wide = Tensor.Zeros(DType.Float32, 20) + 1, rounded = x.Clone();
            kernels.ActivationForward(Activation.Silu, gated: true, default, x, y);
            kernels.ActivationBackward(Activation.Silu, gated: true, default, dy, x, dx);
            kernels.Dropout(x, new long[] { 7, 8, 9 }, 0.25, add: false, masked);
            kernels.Accumulate(narrow, wide, add: true);
            kernels.Accumulate(wide, masked.Reshape(48).Narrow(0, 0, 20), add: true);
            kernels.RoundToBFloat16(rounded);
            return [y, dx, masked, wide, rounded];
        });
    }

    [Fact]
    public void Squares_add_up_to_those_of_the_cpu()
    {
        using var scope = TensorScope.Enter();
        var x = Normal(1, DType.Float32, 70000);
        ExactSum cpu = new(), gpu = new();
        s_cpu.AddSquares(x, cpu);
        _gpu.AddSquares(x, gpu);
        Assert.Equal(cpu.Value, gpu.Value, 1e-6 * cpu.Value);
    }

    [Fact]
    public void Embeddings_and_picked_rows_agree_with_the_cpu()
    {
        using var scope = TensorScope.Enter();
        Tensor table = Normal(1, DType.BFloat16, 6, 16), places = Normal(2, DType.BFloat16, 4, 16), dy = Normal(3, DType.Float32, 5, 16);
        Mirrored<int> ids = new[] { 3, 0, 3, 5, 1 }, positions = new[] { 0, 1, 2, 3, 0 }, rows = new[] { 4, 2 };
        Agree(1e-6, kernels =>
        {
            Tensor y = Tensor.Zeros(DType.Float32, 5, 16), dtable = Tensor.Zeros(DType.Float32, 6, 16) + 1, picked = Tensor.Zeros(DType.Float32, 2, 16),
                spread = Tensor.Zeros(DType.Float32, 5, 16);
            kernels.EmbeddingForward(ids, positions, table, places, 2, y);
            kernels.EmbeddingBackward(dy, ids, 0.5, dtable, padding: 1);
            kernels.SelectRows(dy, rows, picked);
            kernels.SpreadRows(picked, rows, spread);
            return [y, dtable, picked, spread];
        });
        Assert.Throws<ArgumentOutOfRangeException>(() => _gpu.SelectRows(dy, new[] { 5 }, dy));
        Assert.Throws<ArgumentOutOfRangeException>(() => _gpu.EmbeddingForward(new[] { 6 }, positions, table, null, 1, dy));
    }

    [Fact]
    public void What_has_no_kernel_says_for_which_tensors()
    {
        using var scope = TensorScope.Enter();
        var x = Tensor.Zeros(DType.Float64, 2, 4);
        Assert.Equal("an activation of float64[2, 4] on cuda", Assert.Throws<NotSupportedException>(() =>
            _gpu.ActivationForward(Activation.Silu, false, default, x, x)).Message);
        Assert.Equal("RowLinear has no kernel for tensors on meta; it has one for: cpu, cuda", Assert.Throws<TorchException>(() =>
            DeviceKernels.Of(Device.Meta).RowLinear(x, x, null, x)).Message);
    }

    [Fact]
    public void A_launch_compiles_its_text_once_for_each_card_and_goes_into_the_stream_of_libtorch()
    {
        var compiler = CudaCheck.Compiler();
        using var stand = new StandInDriver();
        var queue = new CudaQueue(stand.Driver, compiler, device => 40 + device.Index);
        stand.Declare("round_to_bf16", 8, 8);
        using var scope = TensorScope.Enter();
        var x = Tensor.Zeros(DType.Float32, 4096);
        unsafe
        {
            foreach (var card in (int[])[0, 0, 1])
                queue.Launch(CudaPointwise.RoundToBFloat16(x.Pointer<float>(), x.Count), Device.Cuda(card));
            Assert.Equal(2, stand.Calls.Count(call => call.StartsWith("load ", StringComparison.Ordinal)));
            var arguments = $"{Convert.ToHexStringLower(BitConverter.GetBytes((long)x.Data))} 0010000000000000";
            Assert.Equal([$"round_to_bf16 <<<2 1 1, 256 1 1, 0, 40>>> {arguments}", $"round_to_bf16 <<<2 1 1, 256 1 1, 0, 40>>> {arguments}",
                $"round_to_bf16 <<<2 1 1, 256 1 1, 0, 41>>> {arguments}"], stand.Calls.Where(call => call.Contains("<<<", StringComparison.Ordinal)));
        }
    }
}
