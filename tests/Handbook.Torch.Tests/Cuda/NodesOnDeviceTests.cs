using Handbook.Torch.Tests.Fused;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>Every node with its gradients, on the stand-in for a GPU and on the CPU.</summary>
[Trait("needs", "nvrtc")]
public sealed class NodesOnDeviceTests
{
    [Theory, MemberData(nameof(EveryNodeTests.NamesOnDevices), MemberType = typeof(EveryNodeTests))]
    public void Every_node_goes_on_a_device_as_on_the_cpu(string name) => EveryNodeTests.Operation(name).CheckDevice(StandInDevice.Need());

    [Fact, Trait("speed", "slow")]
    public void Logits_that_come_in_chunks_do_so_too() => Every_node_goes_on_a_device_as_on_the_cpu(EveryNodeTests.InChunks);
}
