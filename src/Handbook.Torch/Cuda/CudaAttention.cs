using Handbook.Torch.Kernels;

namespace Handbook.Torch.Cuda;

/// <summary>Tensors of one attention layer in the memory of a device: rows of heads, one row a token.</summary>
/// <typeparam name="T">Their element type.</typeparam>
internal readonly unsafe struct CudaAttentionArguments<T> where T : unmanaged
{
    /// <summary>[N, H, E].</summary>
    public required T* Query { get; init; }

    /// <summary>Elements from one row of queries to the next.</summary>
    public required long QueryStride { get; init; }

    /// <summary>[M, K, E].</summary>
    public required T* Key { get; init; }

    /// <summary>[M, K, V].</summary>
    public required T* Value { get; init; }

    /// <summary>Elements from one row of keys, and of values, to the next.</summary>
    public required long KeyStride { get; init; }

    /// <summary>[N, H, V]: written by forward, read by backward.</summary>
    public required T* Output { get; init; }

    public required long OutputStride { get; init; }

    /// <summary>[H, N].</summary>
    public required float* LogSumExp { get; init; }

    /// <summary>[H] on the device; null for none.</summary>
    public float* Sinks { get; init; }

    /// <summary><see cref="AttentionShape.DistanceSlopes"/> on the device, [H]; null for none.</summary>
    public float* Slopes { get; init; }

    /// <summary>N.</summary>
    public required long Tokens { get; init; }
}

/// <summary>Launches of <c>attention.cu</c>: attention over segment trees in tiles, its gradients, and two halves that become one.</summary>
/// <remarks>What the parameters mean is said at <see cref="AttentionKernel"/>.</remarks>
internal static unsafe class CudaAttention
{
    /// <summary>The largest head.</summary>
    public const int MostElements = 256;

    private const string Program = "attention";
    private const int Threads = 128, WarpSize = 32, Rows = CudaSegments.BlockRows;

    /// <param name="blocks">What <see cref="CudaSegments.QueryBlocks"/> holds, on the device.</param>
    /// <param name="count">How many blocks there are.</param>
    /// <param name="lists">What <see cref="CudaSegments.QueryLists"/> holds.</param>
    public static CudaLaunch Forward<T>(in AttentionShape shape, in CudaAttentionArguments<T> a, int* blocks, int count, int* lists)
        where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "attention_forward", new(count, Checked(shape).Heads), Threads,
            [CudaArgument.At(a.Query), a.QueryStride, CudaArgument.At(a.Key), CudaArgument.At(a.Value), a.KeyStride, CudaArgument.At(a.Output),
                a.OutputStride, a.LogSumExp, a.Sinks, a.Slopes, blocks, lists, a.Tokens, shape.Heads, shape.KeyHeads, shape.HeadSize,
                shape.ValueSize, shape.Window, (float)shape.Scale, (float)shape.SoftCap],
            (Rows * (shape.HeadSize + Math.Max(shape.HeadSize, shape.ValueSize)) * sizeof(T)) + WeightBytes);

    /// <summary>do·o of every token and head, which the gradients need.</summary>
    /// <param name="dots">[H, N].</param>
    public static CudaLaunch Dots<T>(in AttentionShape shape, in CudaAttentionArguments<T> a, T* dy, long dyStride, float* dots)
        where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "attention_dots", new(CudaGrid.Blocks(checked(a.Tokens * shape.Heads), Threads / WarpSize)), Threads,
            [CudaArgument.At(a.Output), a.OutputStride, CudaArgument.At(dy), dyStride, dots, a.Tokens, shape.Heads, shape.ValueSize]);

    /// <summary>dq of every token. Blocks and lists as in <see cref="Forward"/>.</summary>
    public static CudaLaunch QueryBackward<T>(in AttentionShape shape, in CudaAttentionArguments<T> a, T* dy, long dyStride, float* dots,
        T* gradient, long gradientStride, int* blocks, int count, int* lists) where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "attention_query_backward", new(count, Checked(shape).Heads), Threads,
            [CudaArgument.At(a.Query), a.QueryStride, CudaArgument.At(a.Key), CudaArgument.At(a.Value), a.KeyStride, CudaArgument.At(dy), dyStride,
                a.LogSumExp, dots, CudaArgument.At(gradient), gradientStride, a.Slopes, blocks, lists, a.Tokens, shape.Heads, shape.KeyHeads,
                shape.HeadSize, shape.ValueSize, shape.Window, (float)shape.Scale, (float)shape.SoftCap], BackwardBytes<T>(shape));

    /// <summary>dk of every token, or dv.</summary>
    /// <param name="blocks">What <see cref="CudaSegments.KeyBlocks"/> holds, on the device; likewise the lists.</param>
    public static CudaLaunch KeyBackward<T>(in AttentionShape shape, in CudaAttentionArguments<T> a, T* dy, long dyStride, float* dots,
        T* gradient, long gradientStride, int* blocks, int count, int* lists, bool ofValues) where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "attention_key_backward", new(count, Checked(shape).KeyHeads), Threads,
            [CudaArgument.At(a.Query), a.QueryStride, CudaArgument.At(a.Key), CudaArgument.At(a.Value), a.KeyStride, CudaArgument.At(dy), dyStride,
                a.LogSumExp, dots, CudaArgument.At(gradient), gradientStride, a.Slopes, blocks, lists, a.Tokens, shape.Heads, shape.KeyHeads,
                shape.HeadSize, shape.ValueSize, shape.Window, (float)shape.Scale, (float)shape.SoftCap, ofValues ? 1 : 0],
            BackwardBytes<T>(shape));

    /// <summary>Takes attention of some tokens over more keys into an output and its log-sum-exp.</summary>
    /// <param name="tokens">Of the output.</param>
    /// <param name="rows">Which of them; [count], null for all.</param>
    public static CudaLaunch Merge<T>(T* output, long outputStride, float* logSumExp, long tokens, T* more, long moreStride,
        float* moreLogSumExp, int* rows, long count, int heads, int valueSize) where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "attention_merge", new(count, heads), 64,
            [CudaArgument.At(output), outputStride, logSumExp, tokens, CudaArgument.At(more), moreStride, moreLogSumExp, rows, count, valueSize]);

    /// <summary>dsinks += the gradient of the sinks.</summary>
    public static CudaLaunch SinkBackward(float* logSumExp, float* dots, float* sinks, float* gradient, int heads, long tokens) =>
        new(CudaProgram.Of<float>(Program), "attention_sink_backward", new(heads), 256, [logSumExp, dots, sinks, gradient, tokens]);

    private const int WeightBytes = Rows * (Rows + 1) * sizeof(float);

    private static int BackwardBytes<T>(in AttentionShape shape) where T : unmanaged =>
        (2 * Rows * (shape.HeadSize + shape.ValueSize) * sizeof(T)) + WeightBytes;

    private static AttentionShape Checked(in AttentionShape shape) => shape is { HeadSize: <= MostElements, ValueSize: <= MostElements }
        ? shape
        : throw new NotSupportedException($"attention with heads of {shape.HeadSize} and values of {shape.ValueSize} elements; its kernels on a "
            + $"GPU take up to {MostElements}");
}
