namespace Handbook.Torch.Cuda;

/// <summary>Launches of <c>norms.cu</c>: RMS and layer norms with the addition to the residual stream, and back.</summary>
/// <remarks>What the parameters mean is said at <see cref="Kernels.RmsNormKernel"/> and <see cref="Kernels.LayerNormKernel"/>. T is the type of
/// what goes to and comes from products; the rest is float32.</remarks>
internal static unsafe class CudaNorms
{
    private const string Program = "norms";
    private const int ColumnThreads = 128, MostPieces = 256, LeastRows = 32;

    /// <summary>One block a row; layer norm where means are wanted.</summary>
    public static CudaLaunch Forward<T>(float* residual, T* delta, float* sum, float* weight, float* bias, T* output, float* means,
        float* rstd, long rows, int width, int turns, float offset, float epsilon) where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "norm_forward", new(rows), Threads(width),
            [residual, CudaArgument.At(delta), sum, weight, bias, CudaArgument.At(output), means, rstd, width, turns, offset, epsilon]);

    /// <summary>∂loss/∂h of each row.</summary>
    public static CudaLaunch Backward<T>(T* dy, float* sum, float* weight, float* means, float* rstd, float* incoming, float* sumGradient,
        T* deltaGradient, long rows, int width, int turns, float offset) where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "norm_backward", new(rows), Threads(width),
            [CudaArgument.At(dy), sum, weight, means, rstd, incoming, sumGradient, CudaArgument.At(deltaGradient), width, turns, offset]);

    /// <summary>Pieces of the rows, whose sums are first taken apart; whole turns.</summary>
    public static (int Count, int Rows) Pieces(long rows, int turns)
    {
        var perPiece = Math.Max(LeastRows, CudaGrid.Blocks(rows, MostPieces));
        perPiece = CudaGrid.Blocks(perPiece, turns) * turns;
        return ((int)CudaGrid.Blocks(rows, perPiece), checked((int)perPiece));
    }

    /// <summary>The gradients of weight and bias over each piece of the rows.</summary>
    /// <param name="weightParts">[pieces, turns, width]; null for nowhere.</param>
    /// <param name="biasParts">The same.</param>
    public static CudaLaunch WeightBackward<T>(T* dy, float* sum, float* means, float* rstd, float* weightParts, float* biasParts,
        long rows, int width, int turns) where T : unmanaged
    {
        var (pieces, perPiece) = Pieces(rows, turns);
        return new(CudaProgram.Of<T>(Program), "norm_weight_backward", new(CudaGrid.Blocks(width, ColumnThreads), pieces), ColumnThreads,
            [CudaArgument.At(dy), sum, means, rstd, weightParts, biasParts, rows, width, turns, perPiece]);
    }

    /// <summary>target += the parts, piece after piece.</summary>
    /// <param name="parts">[pieces, width].</param>
    /// <param name="target">[width].</param>
    public static CudaLaunch AddParts(float* parts, float* target, int pieces, long width) =>
        new(CudaProgram.Of<float>(Program), "add_parts", new(CudaGrid.Blocks(width, ColumnThreads)), ColumnThreads,
            [parts, target, pieces, width]);

    private static int Threads(int width) => width <= 512 ? 64 : width <= 2048 ? 128 : 256;
}
