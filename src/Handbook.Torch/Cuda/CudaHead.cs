namespace Handbook.Torch.Cuda;

/// <summary>Launches of <c>head.cu</c>: log-probabilities and statistics of logits that come in tiles of the vocabulary, and their
/// gradient.</summary>
/// <remarks>What the parameters mean is said at <see cref="Kernels.CrossEntropyKernel"/>. A row's tiles come one after the other; where the
/// vocabulary is one tile, the gradient follows while the logits are in the cache.</remarks>
internal static unsafe class CudaHead
{
    /// <summary>Numbers that are kept of a row between its tiles.</summary>
    public const int StateSize = 8;

    private const string Program = "head";
    private const int Threads = 256, RowThreads = 128, PerThread = 8;

    /// <param name="states">[rows, <see cref="StateSize"/>].</param>
    public static CudaLaunch Begin(double* states, long rows) =>
        new(CudaProgram.Of<float>(Program), "head_begin", new(CudaGrid.Blocks(rows, RowThreads)), RowThreads, [states, rows]);

    /// <summary>Takes in columns first … first + width of the vocabulary.</summary>
    /// <param name="logits">[rows, width], rows <paramref name="stride"/> apart.</param>
    /// <param name="cap">0 for none.</param>
    public static CudaLaunch Tile<T>(T* logits, long stride, int* targets, double* states, long first, long rows, int width, float scale,
        float cap) where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "head_tile", new(rows), Threads,
            [CudaArgument.At(logits), stride, targets, states, first, width, scale, cap]);

    public static CudaLaunch Finish(double* states, int* targets, double* logProbs, double* logSumExp, double* entropy, double* meanLogits,
        double* logSquares, int* argMax, long rows, long vocabulary) =>
        new(CudaProgram.Of<float>(Program), "head_finish", new(CudaGrid.Blocks(rows, RowThreads)), RowThreads,
            [states, targets, logProbs, logSumExp, entropy, meanLogits, logSquares, argMax, rows, vocabulary]);

    public static CudaLaunch Gradient<T>(T* logits, long stride, int* targets, double* weights, double* logSumExp, long first, long rows,
        int width, long vocabulary, float scale, float cap, float smoothing) where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "head_gradient", new(rows, CudaGrid.Blocks(width, Threads * PerThread)), Threads,
            [CudaArgument.At(logits), stride, targets, weights, logSumExp, first, width, vocabulary, scale, cap, smoothing]);
}
