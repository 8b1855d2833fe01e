namespace Handbook.Torch.Cuda;

/// <summary>Launches of <c>rows.cu</c>: embeddings, rows that are picked, and the rows of experts.</summary>
/// <remarks>What the parameters mean is said at <see cref="Kernels.EmbeddingKernel"/> and <see cref="Kernels.ExpertKernel"/>. Nothing checks
/// numbers of rows here: the host does, before they go to the device.</remarks>
internal static unsafe class CudaRows
{
    private const string Program = "rows";
    private const int Threads = 128, PerThread = 8, BytesPerThread = 16, DotThreads = 256;

    public static CudaLaunch EmbeddingForward<T>(int* tokens, int* positions, T* table, T* positionTable, float* y, long count, int width,
        float scale) where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "embedding_forward", Columns(count, width, PerThread), Threads,
            [tokens, positions, CudaArgument.At(table), CudaArgument.At(positionTable), y, width, scale]);

    /// <param name="order">(id ≪ 32 | row) of each row of dy, ascending; [count].</param>
    public static CudaLaunch EmbeddingBackward(long* order, float* dy, float* tableGradient, long count, int width, float scale, int padding) =>
        new(CudaProgram.Of<float>(Program), "embedding_backward", Columns(count, width, PerThread), Threads,
            [order, dy, tableGradient, count, width, scale, padding]);

    /// <summary>y[i] = x[rows[i]].</summary>
    /// <param name="bytes">Of a row.</param>
    public static CudaLaunch Select(byte* x, int* rows, byte* y, long count, long bytes) => Copy(x, rows, y, count, bytes, spread: 0);

    /// <summary>y[rows[i]] = x[i].</summary>
    /// <param name="bytes">Of a row.</param>
    public static CudaLaunch Spread(byte* x, int* rows, byte* y, long count, long bytes) => Copy(x, rows, y, count, bytes, spread: 1);

    /// <param name="places">Row of each choice among the sorted ones; [tokens, perToken].</param>
    /// <param name="weights">[tokens, perToken]; null for 1.</param>
    public static CudaLaunch ExpertGather<T>(T* sorted, int* places, float* weights, T* rows, long tokens, int perToken, int width)
        where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "expert_gather", Columns(tokens, width, PerThread), Threads,
            [CudaArgument.At(sorted), places, weights, CudaArgument.At(rows), perToken, width]);

    public static CudaLaunch ExpertScatter<T>(T* sorted, int* places, float* weights, T* rows, long tokens, int perToken, int width)
        where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "expert_scatter", Columns(checked(tokens * perToken), width, PerThread), Threads,
            [CudaArgument.At(sorted), places, weights, CudaArgument.At(rows), perToken, width]);

    public static CudaLaunch ExpertDots<T>(T* sorted, int* places, T* rows, float* dots, long tokens, int perToken, int width)
        where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "expert_dots", new(CudaGrid.Blocks(checked(tokens * perToken), DotThreads / 32)), DotThreads,
            [CudaArgument.At(sorted), places, CudaArgument.At(rows), dots, checked(tokens * perToken), perToken, width]);

    private static CudaLaunch Copy(byte* x, int* rows, byte* y, long count, long bytes, int spread) =>
        new(CudaProgram.Of<float>(Program), "copy_rows", Columns(count, bytes, BytesPerThread), Threads, [x, rows, y, bytes, spread]);

    private static CudaGrid Columns(long rows, long width, int perThread) => new(rows, CudaGrid.Blocks(width, Threads * perThread));
}
