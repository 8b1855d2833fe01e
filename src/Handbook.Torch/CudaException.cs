namespace Handbook.Torch;

/// <summary>A kernel did not compile, or NVIDIA's driver refused a call; the message names the kernel or the call, with what it was given.
/// </summary>
public sealed class CudaException(string message, Exception? inner = null) : Exception(message, inner);
