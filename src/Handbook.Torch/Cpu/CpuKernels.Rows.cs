using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Cpu;

/// <summary>Embeddings, rows that are picked, and the head.</summary>
internal sealed unsafe partial class CpuKernels
{
    public override void EmbeddingForward(Mirrored<int> tokens, Mirrored<int> positions, Tensor table, Tensor? positionTable,
        double scale, Tensor y)
    {
        if (positionTable is not null && positionTable.DType != table.DType)
            throw new NotSupportedException($"a table {table.Describe()} with positions {positionTable.Describe()}");
        switch (table.DType, y.DType)
        {
            case (DType.Float32, DType.Float32): Embed<float, float>(tokens, positions, table, positionTable, scale, y); break;
            case (DType.Float64, DType.Float64): Embed<double, double>(tokens, positions, table, positionTable, scale, y); break;
            case (DType.BFloat16, DType.Float32): Embed<BFloat16, float>(tokens, positions, table, positionTable, scale, y); break;
            case (DType.Float16, DType.Float32): Embed<Half, float>(tokens, positions, table, positionTable, scale, y); break;
            default: throw Unsupported("an embedding", table);
        }
    }

    private static void Embed<T, TOut>(Mirrored<int> tokens, Mirrored<int> positions, Tensor table, Tensor? positionTable,
        double scale, Tensor y)
        where T : unmanaged where TOut : unmanaged
    {
        fixed (int* ids = tokens.Host, places = positionTable is null ? null : positions.Host)
            EmbeddingKernel.Gather(table.Pointer<T>(), ids, PointerOrNull<T>(positionTable), places, y.Pointer<TOut>(),
                tokens.Count, (int)y.Size(1), (int)table.Size(0), positionTable is null ? 0 : (int)positionTable.Size(0), scale);
    }

    public override void EmbeddingBackward(Tensor dy, Mirrored<int> ids, double scale, Tensor tableGradient, int padding)
    {
        switch (dy.DType)
        {
            case DType.Float32: Embed<float>(dy, ids, scale, tableGradient, padding); break;
            case DType.Float64: Embed<double>(dy, ids, scale, tableGradient, padding); break;
            default: throw Unsupported("the gradient of an embedding", dy);
        }
    }

    private static void Embed<T>(Tensor dy, Mirrored<int> ids, double scale, Tensor tableGradient, int padding) where T : unmanaged
    {
        fixed (int* rows = ids.Host)
            EmbeddingKernel.ScatterAdd(dy.Pointer<T>(), rows, tableGradient.Pointer<T>(), ids.Count, (int)dy.Size(1),
                (int)tableGradient.Size(0), scale, padding);
    }

    public override void SelectRows(Tensor x, Mirrored<int> rows, Tensor y)
    {
        var (host, bytes) = (rows.Host, x.Size(1) * x.DType.Size);
        for (var i = 0; i < host.Length; i++)
            Buffer.MemoryCopy((byte*)x.Data + host[i] * bytes, (byte*)y.Data + i * bytes, bytes, bytes);
    }

    public override void SpreadRows(Tensor dy, Mirrored<int> rows, Tensor dx)
    {
        var (host, bytes) = (rows.Host, dy.Size(1) * dy.DType.Size);
        for (var i = 0; i < host.Length; i++)
            Buffer.MemoryCopy((byte*)dy.Data + i * bytes, (byte*)dx.Data + host[i] * bytes, bytes, bytes);
    }

    public override void RoundToBFloat16(Tensor x)
    {
        if (!x.IsContiguous || x.DType != DType.Float32)
            throw Unsupported("rounding to bfloat16", x);
        ElementwiseKernel.RoundToBFloat16(x.Pointer<float>(), x.Count);
    }

    public override void Dropout(Tensor x, Mirrored<long> keys, double rate, bool add, Tensor y)
    {
        if (!x.IsContiguous || !y.IsContiguous || x.DType != y.DType || keys.Count != x.Size(0))
            throw Unsupported($"dropout with {keys.Count} keys", x, y);
        switch (x.DType)
        {
            case DType.Float32: Dropout<float>(x, keys, rate, add, y); break;
            case DType.BFloat16: Dropout<BFloat16>(x, keys, rate, add, y); break;
            case DType.Float64: Dropout<double>(x, keys, rate, add, y); break;
            default: throw Unsupported("dropout", x, y);
        }
    }

    private static void Dropout<T>(Tensor x, Mirrored<long> keys, double rate, bool add, Tensor y) where T : unmanaged
    {
        fixed (long* numbers = keys.Host)
            DropoutKernel.Apply(x.Pointer<T>(), numbers, y.Pointer<T>(), (int)x.Size(0), (int)x.Size(1), rate, add);
    }

    public override void RowLinear(Tensor x, Tensor weight, Tensor? bias, Tensor y)
    {
        if (x.Stride(1) != 1 || !weight.IsContiguous)
            throw new NotSupportedException($"rows of {x.Describe()} and {weight.Describe()} with gaps");
        switch (x.DType, y.DType)
        {
            case (DType.Float32, DType.Float32): RowLinear<float, float>(x, weight, bias, y); break;
            case (DType.BFloat16, DType.BFloat16): RowLinear<BFloat16, BFloat16>(x, weight, bias, y); break;
            case (DType.BFloat16, DType.Float32): RowLinear<BFloat16, float>(x, weight, bias, y); break;
            case (DType.Float64, DType.Float64): RowLinear<double, double>(x, weight, bias, y); break;
            default: throw Unsupported("a linear layer", x, y);
        }
    }

    private static void RowLinear<T, TOut>(Tensor x, Tensor weight, Tensor? bias, Tensor y) where T : unmanaged where TOut : unmanaged =>
        RowLinearKernel.Run(x.Pointer<T>(), x.Stride(0), (int)x.Size(0), weight.Pointer<T>(), PointerOrNull<T>(bias), y.Pointer<TOut>(),
            (int)x.Size(1), (int)weight.Size(0));

    public override void CrossEntropy(Tensor logits, int start, Mirrored<int> targets, double[]? weights, in HeadOptions options,
        HeadStatistics statistics)
    {
        switch (logits.DType)
        {
            case DType.Float32: CrossEntropy<float>(logits, start, targets, weights, options, statistics); break;
            case DType.BFloat16: CrossEntropy<BFloat16>(logits, start, targets, weights, options, statistics); break;
            case DType.Float64: CrossEntropy<double>(logits, start, targets, weights, options, statistics); break;
            default: throw Unsupported("log-probabilities", logits);
        }
    }

    private static void CrossEntropy<T>(Tensor logits, int start, Mirrored<int> targets, double[]? weights, in HeadOptions options,
        HeadStatistics statistics)
        where T : unmanaged
    {
        fixed (int* target = targets.Host, argMax = statistics.ArgMax)
        fixed (double* weight = weights, logProb = statistics.LogProb, logSumExp = statistics.LogSumExp, entropy = statistics.Entropy)
        fixed (double* meanLogit = statistics.MeanLogit, squares = statistics.LogSquares)
        {
            CrossEntropyKernel.Run(new CrossEntropyRows<T>
            {
                Logits = logits.Pointer<T>(),
                RowStride = logits.Stride(0),
                Rows = (int)logits.Size(0),
                Vocabulary = (int)logits.Size(1),
                Targets = target + start,
                Weights = weights is null ? null : weight + start,
                Gradient = weights is not null,
                LabelSmoothing = options.LabelSmoothing,
                Scale = options.Scale,
                SoftCap = options.SoftCap,
                LogProb = logProb + start,
                LogSumExp = logSumExp + start,
                Entropy = entropy + start,
                MeanLogit = meanLogit + start,
                ArgMax = argMax + start,
                LogSquares = squares is null ? null : squares + start,
            });
        }
    }
}
