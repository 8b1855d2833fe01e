using Handbook.Torch.Cuda;
using Handbook.Torch.Devices;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>The stand-in itself: it refuses what a card refuses, and counts what a card makes wait.</summary>
[Trait("needs", "nvrtc")]
public sealed class StandInDeviceTests
{
    [Fact]
    public void Its_tensors_are_apart_from_those_of_the_cpu()
    {
        var device = StandInDevice.Need();
        using var scope = TensorScope.Enter();
        var here = Tensor.From([1.0, 2, 3, 4], 2, 2);
        var there = here.To(device);
        Assert.Equal(device, there.Device);
        Assert.Equal([7.0, 10, 15, 22], there.Mm(there).ToArray<double>());
        Assert.Equal([3.0, 7.0], (there + there).Sum(1).ToArray<double>().Select(x => x / 2));
        foreach (var mixed in (Action[])[() => there.Mm(here), () => there.AddInPlace(here), () => Tensor.Cat([there, here], 0)])
            Assert.Contains("on the same device", Assert.Throws<TorchException>(mixed).Message);
        there.Narrow(0, 1, 1).CopyFrom(here.Narrow(0, 0, 1));
        Assert.Equal([1.0, 2, 1, 2], there.ToArray<double>());
        Assert.Throws<InvalidOperationException>(() => there.AsSpan<double>().Length);
    }

    [Fact]
    public void A_tensor_of_the_host_is_refused_by_the_kernels_of_a_device()
    {
        var device = StandInDevice.Need();
        using var scope = TensorScope.Enter();
        var there = Tensor.Zeros(DType.Float32, device, 2, 4);
        Assert.StartsWith("float32[2, 4] is given to a kernel of", Assert.Throws<InvalidOperationException>(() =>
            DeviceKernels.Of(there).ActivationForward(Torch.Fused.Activation.Silu, false, default, there, Tensor.Zeros(DType.Float32, 2, 4))).Message);
    }

    [Fact]
    public void Waiting_is_counted()
    {
        var device = StandInDevice.Need();
        using var scope = TensorScope.Enter();
        var before = StandInDevice.Waits;
        var x = Tensor.From([1f, 2f]).ToNonBlocking(device);
        Assert.Equal(before, StandInDevice.Waits);
        _ = x.ToArray<float>();
        Assert.Equal(before + 1, StandInDevice.Waits);
    }

    [Fact]
    public void Every_operation_of_the_cpu_has_a_kernel_for_gpus() =>
        Assert.Empty(DeviceKernels.FusedOn(Device.Cpu).Except(DeviceKernels.FusedOn(Device.Cuda(0))));
}
