using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;
using Handbook.Torch.Quantised;

namespace Handbook.Torch.Cpu;

/// <summary>Embeddings, rows that are picked, and the head.</summary>
internal sealed unsafe partial class CpuKernels
{
    public override void EmbeddingForward<T>(Mirrored<int> tokens, Mirrored<int> positions, Tensor table, Tensor? positionTable,
        double scale, Tensor y)
    {
        if (typeof(T) == typeof(double))
            Embed<T, double>(tokens, positions, table, positionTable, scale, y);
        else
            Embed<T, float>(tokens, positions, table, positionTable, scale, y);
    }

    private static void Embed<T, TOut>(Mirrored<int> tokens, Mirrored<int> positions, Tensor table, Tensor? positionTable,
        double scale, Tensor y)
        where T : unmanaged where TOut : unmanaged
    {
        fixed (int* ids = tokens.Host, places = positionTable is null ? null : positions.Host)
            EmbeddingKernel.Gather(table.Pointer<T>(), ids, PointerOrNull<T>(positionTable), places, y.Pointer<TOut>(),
                tokens.Count, (int)y.Size(1), (int)table.Size(0), positionTable is null ? 0 : (int)positionTable.Size(0), scale);
    }

    public override void EmbeddingBackward<T>(Tensor dy, Mirrored<int> ids, double scale, Tensor tableGradient, int padding)
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

    public override void RowLinear<T>(Tensor x, Tensor weight, Tensor? bias, Tensor y)
    {
        if (y.DType == x.DType)
            RowLinear<T, T>(x, weight, bias, y);
        else
            RowLinear<T, float>(x, weight, bias, y);
    }

    private static void RowLinear<T, TOut>(Tensor x, Tensor weight, Tensor? bias, Tensor y) where T : unmanaged where TOut : unmanaged =>
        RowLinearKernel.Run(x.Pointer<T>(), x.Stride(0), (int)x.Size(0), weight.Pointer<T>(), PointerOrNull<T>(bias), y.Pointer<TOut>(),
            (int)x.Size(1), (int)weight.Size(0));

    public override void ReadCodes<T>(QuantisedMatrix weight, long row, long column, Tensor tile, bool unscaled) =>
        weight.Read(row, tile.Size(0), column, tile.Size(1), tile.Pointer<T>(), unscaled);

    public override void CrossEntropy<T>(Tensor logits, int start, Mirrored<int> targets, double[]? weights, in HeadOptions options,
        HeadStatistics statistics)
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
