using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Tests;

/// <summary>libtorch's meta device, whose tensors have shapes but no memory, stands for a device that we have no kernel for.</summary>
public sealed class DeviceTests : IDisposable
{
    private static readonly Device s_meta = new(14, -1);

    private readonly List<Parameter> _weights = [];

    private static Tensor Nowhere(params long[] shape) => Tensor.Empty(DType.Float32, s_meta, shape);

    private Parameter Weight(params long[] shape)
    {
        _weights.Add(new("weight", Nowhere(shape), trainable: false));
        return _weights[^1];
    }

    public void Dispose() => _weights.ForEach(weight => weight.Dispose());

    public static TheoryData<string> Operations() => [.. All.Keys];

    private static Dictionary<string, Action<DeviceTests>> All { get; } = new()
    {
        ["NormForward"] = test => AddNorm.Rms(Nowhere(3, 4), null, test.Weight(4), 1e-5, DType.Float32),
        ["ActivationForward"] = test => GatedActivation.Forward(Nowhere(3, 4), Activation.Silu, gated: true),
        ["EmbeddingForward"] = test => TokenEmbedding.Forward(new[] { 0 }, new[] { 0 }, test.Weight(3, 4), null, DType.Float32),
        ["SelectRows"] = test => RowSelect.Forward(Nowhere(3, 4), new[] { 0 }),
        ["RowLinear"] = test => ((WeightOperand)Nowhere(5, 4)).RowByRow(Nowhere(3, 4), null, DType.Float32),
        ["AttentionForward"] = test => RotaryAttention.Forward(Nowhere(2, 12), new() { Heads = 1, KeyHeads = 1, HeadSize = 4, Scale = 1 },
            new(SegmentTable.Create([0], [2], [-1])), new[] { 0, 1 }, null),
        ["RouterForward"] = test => TopKRouter.Forward(Nowhere(3, 4), new(2)),
        ["ExpertScatter"] = test => ExpertDispatch.Forward(Nowhere(1, 4), new([0], 1, 2)),
        ["CrossEntropy"] = test => LinearLogProb.LogProbs(Nowhere(2, 4), test.Weight(5, 4), new[] { 0, 1 }, new()),
    };

    [Theory, MemberData(nameof(Operations))]
    public void An_operation_without_a_kernel_names_itself_and_the_device(string name)
    {
        using var scope = TensorScope.Enter();
        var failure = Assert.Throws<TorchException>(() => All[name](this));
        Assert.StartsWith($"{name} has no kernel for tensors on {s_meta}; it has one for: ", failure.Message);
        Assert.EndsWith("for: cpu, cuda", failure.Message);
    }

    [Fact]
    public void Numbers_of_the_host_are_copied_to_a_device_once()
    {
        var before = Tensor.LiveCount;
        Mirrored<int> numbers = new[] { 3, 1, 4 };
        using (TensorScope.Enter())
        {
            var (first, second) = (numbers.On(Device.Cpu), numbers.On(Device.Cpu));
            Assert.Equal([3, 1, 4], first.ToArray<int>());
            unsafe
            {
                Assert.True(first.Data == second.Data);
            }
        }
        Assert.Equal(3, numbers.Count);
        Assert.Equal(before, Tensor.LiveCount);
    }

    [Fact]
    public void Numbers_of_a_device_come_to_the_host_when_it_asks()
    {
        using var scope = TensorScope.Enter();
        var numbers = new Mirrored<int>(Tensor.From([5, 6]));
        Assert.False(numbers.IsOnHost);
        Assert.Equal([5, 6], RowSelect.Forward(Tensor.From(Enumerable.Range(0, 8).ToArray(), 8, 1), numbers).ToArray<int>());
        Assert.True(numbers.IsOnHost);
        Assert.Throws<ArgumentException>(() => new Mirrored<int>(Tensor.From([1.0])));
    }
}
