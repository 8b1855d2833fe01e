namespace Handbook.Torch.Cuda;

/// <summary>Launches of <c>linear.cu</c>: products whose rows are computed each by itself.</summary>
internal static unsafe class CudaLinear
{
    private const string Program = "linear";
    private const int Threads = 128, WarpSize = 32, RowsAtOnce = 8;

    /// <summary>y = x · Wᵀ + b.</summary>
    /// <param name="x">[rows, columns], rows <paramref name="stride"/> apart.</param>
    /// <param name="weight">[outputs, columns].</param>
    /// <param name="bias">[outputs]; null for none.</param>
    /// <param name="y">[rows, outputs]; null where <paramref name="wide"/> is wanted, which is not rounded.</param>
    public static CudaLaunch RowByRow<T>(T* x, long stride, T* weight, T* bias, T* y, float* wide, long rows, long columns, long outputs)
        where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "row_linear", new(CudaGrid.Blocks(outputs, Threads / WarpSize), CudaGrid.Blocks(rows, RowsAtOnce)),
            Threads, [CudaArgument.At(x), stride, CudaArgument.At(weight), CudaArgument.At(bias), CudaArgument.At(y), wide, rows, columns, outputs]);
}
