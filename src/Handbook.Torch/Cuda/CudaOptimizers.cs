using Handbook.Torch.Kernels;

namespace Handbook.Torch.Cuda;

/// <summary>Launches of <c>optimizers.cu</c>: steps over flat buckets, with states as numbers or as codes, and the norm of gradients.</summary>
/// <remarks>What the parameters mean is said at <see cref="OptimizerKernel"/> and <see cref="CodedStateKernel"/>. <c>factor</c> is a number
/// on the device that gradients are multiplied by besides, null for 1: so a clipped step needs no answer from the device.</remarks>
internal static unsafe class CudaOptimizers
{
    /// <summary>Elements whose squares one block adds up.</summary>
    public const int SquaresPiece = 65536;

    private const string Program = "optimizers";
    private const int Threads = 256, PerThread = 8, WarpSize = 32;

    public static CudaLaunch Step<TRule, T>(TRule rule, T* parameters, T* gradients, T* state1, T* state2, BFloat16* copy, long count,
        double gradientScale, float* factor) where TRule : struct, IOptimizerRule where T : unmanaged
    {
        var n = rule.Numbers;
        return new(CudaProgram.Of<T>(Program), "optimizer_step", new(CudaGrid.Blocks(count, Threads * PerThread)), Threads,
            [(int)n.Rule, CudaArgument.At(parameters), CudaArgument.At(gradients), CudaArgument.At(state1), CudaArgument.At(state2), copy, count,
                (float)gradientScale, factor, n.A, n.B, n.C, n.D, n.E, n.F, n.G, n.H]);
    }

    /// <param name="values1">What the codes of the first state mean, ascending, [256]; those of the second likewise.</param>
    public static CudaLaunch Step<TRule>(TRule rule, float* parameters, float* gradients, byte* codes1, float* scales1, float* values1,
        byte* codes2, float* scales2, float* values2, BFloat16* copy, long count, double gradientScale, float* factor)
        where TRule : struct, IOptimizerRule
    {
        var n = rule.Numbers;
        return new(CudaProgram.Of<float>(Program), "coded_step",
            new(CudaGrid.Blocks(CudaGrid.Blocks(count, CodedStateKernel.Block), Threads / WarpSize)), Threads,
            [(int)n.Rule, parameters, gradients, codes1, scales1, values1, codes2, scales2, values2, copy, count, (float)gradientScale, factor,
                n.A, n.B, n.C, n.D, n.E, n.F, n.G, n.H]);
    }

    /// <summary>The squares of each piece, added up.</summary>
    /// <param name="parts">[⌈count / <see cref="SquaresPiece"/>⌉].</param>
    public static CudaLaunch Squares<T>(T* x, long count, double* parts) where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "squares", new(CudaGrid.Blocks(count, SquaresPiece)), Threads, [CudaArgument.At(x), count, parts]);

    /// <summary>total = the sum of the parts, or total += it.</summary>
    public static CudaLaunch AddSquares(double* parts, long count, double* total, bool add) =>
        new(CudaProgram.Of<float>(Program), "add_squares", new(1), 1024, [parts, count, total, add ? 1 : 0]);

    /// <summary>norm = scale · √squares; factor = min(1, most / (norm + 1e-6)).</summary>
    public static CudaLaunch ClipFactor(double* squares, double scale, double most, float* norm, float* factor) =>
        new(CudaProgram.Of<float>(Program), "clip_factor", new(1), WarpSize, [squares, scale, most, norm, factor]);
}
