namespace Handbook.Torch.Cuda;

/// <summary>A compiled source: what the driver loads.</summary>
/// <param name="Source">File name of the source.</param>
/// <param name="Architecture">What it was compiled for.</param>
/// <param name="Image">A cubin; where <see cref="CudaArchitecture.IsVirtual"/>, PTX with a 0 at its end.</param>
/// <param name="Log">What the compiler remarked; empty where it had nothing to say.</param>
/// <param name="WasCached">Whether it came from the disk.</param>
internal sealed record CudaBinary(string Source, CudaArchitecture Architecture, byte[] Image, string Log, bool WasCached);
