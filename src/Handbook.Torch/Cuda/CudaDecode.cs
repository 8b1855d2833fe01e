using Handbook.Torch.Kernels;

namespace Handbook.Torch.Cuda;

/// <summary>What new tokens of sequences find in the memory of a device; as <see cref="CachePlan"/> says.</summary>
internal readonly unsafe struct CudaCaches
{
    /// <summary>[., 3].</summary>
    public required long* Blocks { get; init; }

    /// <summary>[tokens, 4].</summary>
    public required int* Places { get; init; }

    public required int* Lists { get; init; }

    /// <summary>New tokens of all sequences.</summary>
    public required long Tokens { get; init; }
}

/// <summary>Launches of <c>decode.cu</c>: new tokens go into their caches, and attend over them.</summary>
internal static unsafe class CudaDecode
{
    /// <summary>The largest value.</summary>
    public const int MostElements = 512;

    private const string Program = "decode";
    private const int Threads = 128;

    /// <param name="keys">Keys of the new tokens, their values behind them; [tokens, K·(E + V)], rows <paramref name="stride"/> apart.</param>
    public static CudaLaunch Append<T>(in AttentionShape shape, in CudaCaches caches, int layer, T* keys, long stride) where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "cache_append", new(caches.Tokens, shape.KeyHeads), Threads,
            [CudaArgument.At(keys), stride, caches.Blocks, caches.Places, caches.Lists, layer, shape.KeyHeads, shape.HeadSize, shape.ValueSize]);

    /// <param name="queries">[tokens, H·E].</param>
    /// <param name="output">[tokens, H·V]; written.</param>
    /// <param name="sinks">[H]; null for none.</param>
    /// <param name="slopes">[H]; null for none.</param>
    public static CudaLaunch Attend<T>(in AttentionShape shape, in CudaCaches caches, int layer, T* queries, long queryStride, T* output,
        long outputStride, float* sinks, float* slopes) where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "attention_decode", new(caches.Tokens, Checked(shape).Heads), Threads,
            [CudaArgument.At(queries), queryStride, CudaArgument.At(output), outputStride, sinks, slopes, caches.Blocks, caches.Places, caches.Lists,
                layer, shape.Heads, shape.KeyHeads, shape.HeadSize, shape.ValueSize, shape.Window, shape.Chunk,
                (float)shape.Scale, (float)shape.SoftCap],
            shape.HeadSize * sizeof(float));

    private static AttentionShape Checked(in AttentionShape shape) => shape.ValueSize <= MostElements ? shape
        : throw new NotSupportedException($"attention over caches with values of {shape.ValueSize} elements; its kernel on a GPU takes up to "
            + $"{MostElements}");
}
