using Handbook.Base;
using Handbook.Torch.Cuda;
using Handbook.Torch.Devices;

namespace Handbook.Torch.Tests.Devices;

public sealed class ComputeDeviceTests
{
    private static readonly CudaCard[] s_cards = [new(0, "First", 90, 80L << 30, 132, 1 << 17), new(1, "Second", 80, 40L << 30, 108, 1 << 17)];

    [Fact]
    public void A_process_takes_the_card_of_its_number_on_the_host()
    {
        Assert.Equal("First (cuda:0, 85.9 GB)", ComputeDevice.Gpu(0, 2, s_cards)?.ToString());
        Assert.Equal((Device.Cuda(1), "Second", 40L << 30), ComputeDevice.Gpu(1, 2, s_cards) is { } second ? (second.Device, second.Name, second.Memory) : default);
    }

    [Fact]
    public void Nothing_is_claimed_of_a_card_that_was_never_tried() =>
        Assert.Equal(Installation.Proof, ComputeDevice.Gpu(0, 2, s_cards)!.Proof);

    [Fact]
    public void Without_a_card_there_is_none() => Assert.Null(ComputeDevice.Gpu(0, 0, []));

    [Fact] // where the driver cannot be asked libtorch may still see its cards
    public void A_card_that_only_libtorch_sees_is_called_by_its_number() => Assert.Equal("cuda:0 (cuda:0)", ComputeDevice.Gpu(0, 1, [])!.ToString());

    [Fact]
    public void More_processes_than_cards_are_refused_with_the_way_out()
    {
        var refusal = Assert.Throws<InputException>(() => ComputeDevice.Gpu(2, 2, s_cards));
        Assert.Equal("process 3 of this host has no GPU: there are 2", refusal.What);
        Assert.Contains("--use_cpu=true", refusal.Fix);
    }

    [Fact]
    public void The_CPU_has_a_kernel_for_everything_and_needs_nothing_prepared()
    {
        ComputeDevice.Processor.Prepare(tf32: true, deterministic: true);
        Assert.Empty(ComputeDevice.Processor.Lacks);
        Assert.Equal("the CPU", ComputeDevice.Processor.ToString());
    }
}
