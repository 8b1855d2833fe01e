using Handbook.Base;
using Handbook.Torch.Devices;
using Handbook.Torch.Distributed;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>What libtorch says of GPUs where there is none: built for the CPU alone, or for CUDA without a card.</summary>
[Trait("needs", "nvrtc")]
public sealed class TorchCudaTests
{
    [Fact]
    public void A_libtorch_for_the_cpu_says_what_it_lacks()
    {
        Assert.SkipWhen(TorchCuda.Missing is null, "this libtorch was built for CUDA");
        Assert.Equal(0, TorchCuda.Count);
        var refused = Assert.Throws<InputException>(TorchCuda.Require);
        Assert.Equal("a GPU cannot be used: this libtorch computes on the CPU alone", refused.What);
        Assert.Equal("name one that was built for CUDA with LIBTORCH", refused.Fix);
        foreach (var ask in (Action[])[() => TorchCuda.Memory(Device.Cuda(0)), () => TorchCuda.Stream(Device.Cuda(0)), TorchCuda.Trim,
            () => TorchCuda.ResetPeak(Device.Cuda(0))])
            Assert.StartsWith("this libtorch computes on the CPU alone", Assert.Throws<TorchException>(ask).Message);
        Assert.Equal("this libtorch has no devices of kind CUDA", Assert.Throws<TorchException>(() => TorchCuda.Current).Message);
        Assert.Equal("this libtorch has no devices of kind CUDA", Assert.Throws<TorchException>(() => TorchCuda.Current = 0).Message);
        Assert.StartsWith("this libtorch computes on the CPU alone", Backend.Nccl.Missing);
    }

    [Fact]
    public void A_libtorch_for_cuda_without_a_card_says_so()
    {
        Assert.SkipWhen(TorchCuda.Missing is not null, TorchCuda.Missing ?? "");
        Assert.SkipWhen(TorchCuda.Count > 0, "there is a card");
        Assert.Contains("sees no GPU", Assert.Throws<InputException>(TorchCuda.Require).What);
        using var scope = TensorScope.Enter();
        Assert.Throws<TorchException>(() => Tensor.Zeros(DType.Float32, 2).To(Device.Cuda(0)));
        Assert.Throws<TorchException>(() => TorchCuda.Memory(Device.Cuda(0)));
        Assert.Null(Backend.Nccl.Missing);
    }

    [Fact]
    public void Pinned_memory_needs_a_card()
    {
        Assert.SkipWhen(TorchCuda.Count > 0, "there is a card");
        using var scope = TensorScope.Enter();
        var refused = Assert.Throws<TorchException>(() => Tensor.Zeros(DType.Float32, 2).Pinned());
        Assert.StartsWith("aten::pin_memory(float32[2]): ", refused.Message);
    }

    [Fact]
    public void Copies_that_do_not_wait_are_copies()
    {
        using var scope = TensorScope.Enter();
        var source = Tensor.From([1.0, 2.0]);
        var target = Tensor.Zeros(DType.Float64, 2);
        target.CopyFromNonBlocking(source);
        Assert.Equal([1.0, 2.0], target.ToArray<double>());
        Assert.Equal([1.0, 2.0], source.ToNonBlocking(Device.Cpu).ToArray<double>());
        TorchCuda.Synchronize(Device.Cpu);
    }

    [Theory]
    [InlineData(null, "2.6.0", true), InlineData("", "2.14.1+cu130", true), InlineData("backend:cudaMallocAsync", "2.6.0", false),
     InlineData(null, "1.13.1", false), InlineData(null, "2.0.1", false), InlineData(null, "2.1.0a0+git", true), InlineData(null, "?", false)]
    public void Segments_grow_in_place_unless_somebody_chose_otherwise(string? set, string version, bool chosen) =>
        Assert.Equal(chosen ? ("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True") : null, TorchCuda.AllocatorSettings(set, version));
}
