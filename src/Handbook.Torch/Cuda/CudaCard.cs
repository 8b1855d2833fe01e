using System.Globalization;

namespace Handbook.Torch.Cuda;

/// <summary>A GPU as its driver describes it.</summary>
/// <param name="Index">Its number, from 0, among those that <c>CUDA_VISIBLE_DEVICES</c> leaves.</param>
/// <param name="Name">Its product name.</param>
/// <param name="Capability">Compute capability times ten: 80, 86, 89, 90.</param>
/// <param name="Memory">Bytes in all.</param>
/// <param name="Multiprocessors">How many.</param>
/// <param name="SharedMemory">Bytes of shared memory that one block may have, where it asks for them.</param>
internal sealed record CudaCard(int Index, string Name, int Capability, long Memory, int Multiprocessors, int SharedMemory)
{
    /// <summary>Whether its matrix units take bfloat16.</summary>
    public bool MultipliesBFloat16 => Capability >= 80;

    /// <summary>Whether its matrix units take 8-bit floats.</summary>
    public bool MultipliesFloat8 => Capability >= 89;

    /// <summary>Compute capability as NVIDIA writes it, e.g. 9.0.</summary>
    public string CapabilityText => string.Create(CultureInfo.InvariantCulture, $"{Capability / 10}.{Capability % 10}");
}
