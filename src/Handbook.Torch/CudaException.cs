namespace Handbook.Torch;

/// <summary>A kernel did not compile, or NVIDIA's driver refused a call; the message names the kernel or the call, with what it was given.
/// </summary>
public sealed class CudaException : Exception
{
    /// <param name="status">The driver's number of the error; 0 where it was not the driver's.</param>
    internal CudaException(string message, int status = 0) : base(message) => Status = status;

    /// <summary>The driver's number of the error (<c>CUresult</c>); 0 where it was not the driver's.</summary>
    public int Status { get; }

    /// <summary>Whether the card has not enough memory left.</summary>
    public bool IsOutOfMemory => Status == 2;
}
