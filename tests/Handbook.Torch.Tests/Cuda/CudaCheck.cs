using Handbook.Torch.Cuda;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>What tests of kernels for a GPU need and a machine may lack.</summary>
internal static class CudaCheck
{
    /// <summary>NVRTC; where there is none the calling test is skipped with the reason, and fails where <c>CI</c> is set.</summary>
    public static Nvrtc Compiler()
    {
        if (Nvrtc.Default is { } compiler)
            return compiler;
        var reason = $"no NVRTC (make setup-cuda-check fetches it): {Nvrtc.Problem}";
        Assert.SkipWhen(string.IsNullOrEmpty(Environment.GetEnvironmentVariable("CI")), reason);
        throw new InvalidOperationException(reason);
    }
}
