using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Handbook.Torch.Kernels;

/// <summary>What <see cref="CrossEntropyKernel"/> reads and writes. T is float, BFloat16 or double; pointers that are null are not wanted.</summary>
public readonly unsafe struct CrossEntropyRows<T> where T : unmanaged
{
    public CrossEntropyRows()
    {
    }

    /// <summary>[N, V], rows <see cref="RowStride"/> elements apart; where <see cref="Gradient"/> is set, it holds the gradient afterwards.</summary>
    public required T* Logits { get; init; }
    public required long RowStride { get; init; }
    public required int Rows { get; init; }
    public required int Vocabulary { get; init; }

    /// <summary>[N]; −1 where the row has none: then its log-probability is 0 and so is its gradient.</summary>
    public required int* Targets { get; init; }

    /// <summary>[N]; the factor of each row's loss. Needed for the gradient only.</summary>
    public double* Weights { get; init; }

    /// <summary>Overwrite the logits with the gradient of Σ weight · loss.</summary>
    public bool Gradient { get; init; }

    /// <summary>ε: the loss is (1 − ε)·(−log p(target)) + ε·mean over the vocabulary of −log p.</summary>
    public double LabelSmoothing { get; init; }

    /// <summary>s &gt; 0: the logits are multiplied by it first; then comes the cap.</summary>
    public double Scale { get; init; } = 1;

    /// <summary>c: logits become c·tanh(logits / c); 0 for none.</summary>
    public double SoftCap { get; init; }

    /// <summary>[N] log p(target).</summary>
    public double* LogProb { get; init; }

    /// <summary>[N] log Σ eˣ.</summary>
    public double* LogSumExp { get; init; }

    /// <summary>[N] −Σ p log p.</summary>
    public double* Entropy { get; init; }

    /// <summary>[N] mean of the (scaled and capped) logits.</summary>
    public double* MeanLogit { get; init; }

    /// <summary>[N] the first index of the largest logit.</summary>
    public int* ArgMax { get; init; }
}

/// <summary>Log-probability of one target per row, and the gradient of the weighted loss in place of the logits while the row is in the cache.</summary>
/// <remarks>
/// <code>
/// log p = x_t − lse,   lse = m + log Σ e^(x − m)
/// ∂/∂x of w·( −(1−ε)·log p_t + ε·(lse − mean x) )  =  w·( softmax(x) − (1−ε)·onehot(t) − ε/V )
/// </code>
/// Each row is taken in blocks that stay in the first-level cache: the maximum of the block, then e^(x − m_block), stored; when the row's lse is
/// known, a second pass over the row scales what was stored. So the data comes from memory once and goes back once.
/// <para>−∞ is a probability of 0 with gradient 0. A NaN or +∞ anywhere in a row, or a row of −∞ alone, makes the row's results and gradient NaN, and no other row's.</para>
/// </remarks>
public static unsafe class CrossEntropyKernel
{
    private const int Block = 4096;

    public static void Run<T>(in CrossEntropyRows<T> rows) where T : unmanaged
    {
        for (var i = 0; i < rows.Rows; i++)
            if (rows.Targets[i] >= rows.Vocabulary || rows.Targets[i] < -1)
                throw new ArgumentException($"target {rows.Targets[i]} in row {i} is outside the vocabulary of {rows.Vocabulary}", nameof(rows));
        var perPiece = Math.Max(1, 65536 / Math.Max(1, rows.Vocabulary));
        ThreadTeam.Run((rows.Rows + perPiece - 1) / perPiece, new Body<T> { Rows = rows, PerPiece = perPiece });
    }

    private struct Body<T> : IParallelBody where T : unmanaged
    {
        public CrossEntropyRows<T> Rows;
        public int PerPiece;

        public readonly void Invoke(int index)
        {
            var end = Math.Min(Rows.Rows, (index + 1) * PerPiece);
            for (var i = index * PerPiece; i < end; i++)
                if (typeof(T) == typeof(double))
                    CrossEntropyPlain.Row(in Rows, i);
                else
                    Row(in Rows, i);
        }
    }

    private static void Row<T>(in CrossEntropyRows<T> a, int index) where T : unmanaged
    {
        var count = a.Vocabulary;
        var blocks = (count + Block - 1) / Block;
        var row = a.Logits + index * a.RowStride;
        var target = a.Targets[index];
        var inPlace = typeof(T) == typeof(float) && a.SoftCap == 0;
        long padded = (long)blocks * Block;
        var memory = Scratch.Get<float>(Scratch.Slot.Row, 2 * blocks + (inPlace ? 0 : 2 * padded));
        float* maxima = memory, sums = memory + blocks;
        var exps = inPlace ? (float*)row : memory + 2 * blocks;
        var capped = memory + 2 * blocks + padded;
        var scale = a.SoftCap == 0 ? (float)a.Scale : 1;
        var targetLogit = target >= 0 && a.SoftCap == 0 ? Lanes.Get(row, target) * a.Scale : 0;

        var best = float.NegativeInfinity;
        double total = 0, weighted = 0, sumLogits = 0;                // Σ e^(x−m) and Σ e^(x−m)·x relative to the running maximum `best`
        var argMax = 0;
        for (var b = 0; b < blocks; b++)
        {
            var start = b * Block;
            var length = Math.Min(Block, count - start);
            var output = a.Gradient ? exps + start : null;
            if (a.SoftCap != 0)
                Cap(row + start, capped + start, length, (float)a.Scale, (float)a.SoftCap);
            var block = a.SoftCap != 0
                ? Scan(capped + start, output, length, scale, a.Entropy != null, a.MeanLogit != null, a.ArgMax != null, best)
                : Scan(row + start, output, length, scale, a.Entropy != null, a.MeanLogit != null, a.ArgMax != null, best);
            maxima[b] = block.Max;
            sums[b] = block.Sum;
            sumLogits += block.SumLogits;
            var high = Math.Max(best, block.Max);                       // NaN wins
            if (high > best && block.ArgMax >= 0)
                argMax = start + block.ArgMax;
            double old = Math.Exp((double)best - high), fresh = Math.Exp((double)block.Max - high);
            if (high == float.NegativeInfinity)
                old = fresh = 0;
            total = total * old + block.Sum * fresh;
            if (a.Entropy != null)
                weighted = weighted * old + (block.SumTimesX + (float.IsNegativeInfinity(block.Max) ? 0 : (double)block.Max * block.Sum)) * fresh;
            best = high;
        }
        if (target >= 0 && a.SoftCap != 0)
            targetLogit = capped[target];

        var lse = best + Math.Log(total);
        var logProb = target >= 0 ? targetLogit - lse : 0;
        if (a.LogProb != null)
            a.LogProb[index] = logProb;
        if (a.LogSumExp != null)
            a.LogSumExp[index] = lse;
        if (a.Entropy != null)
            a.Entropy[index] = lse - weighted / total;
        if (a.MeanLogit != null)
            a.MeanLogit[index] = sumLogits / count;
        if (a.ArgMax != null)
            a.ArgMax[index] = argMax;
        if (!a.Gradient)
            return;

        var weight = target >= 0 ? a.Weights[index] : 0;
        if (weight == 0)
        {
            new Span<T>(row, count).Clear();
            return;
        }
        weight *= a.Scale;
        var smooth = weight * a.LabelSmoothing / count;
        for (var b = 0; b < blocks; b++)
        {
            var start = b * Block;
            var length = Math.Min(Block, count - start);
            var factor = (float)(weight * Math.Exp((float.IsNegativeInfinity(maxima[b]) ? 0 : (double)maxima[b]) - lse));
            if (a.SoftCap != 0)
                ScaleCapped(exps + start, capped + start, row + start, length, factor, (float)-smooth, (float)(1 / a.SoftCap));
            else
                ScaleBlock(exps + start, row + start, length, factor, (float)-smooth);
        }
        var slope = a.SoftCap == 0 ? 1 : 1 - targetLogit / a.SoftCap * (targetLogit / a.SoftCap);
        Lanes.Set(row, target, slope * (weight * (Math.Exp(logProb) - 1 + a.LabelSmoothing) - smooth));
    }

    private struct BlockSums
    {
        public float Max, Sum, SumTimesX, SumLogits;
        public int ArgMax;
    }

    /// <summary>Maximum of a block, then Σ e^(x−max) and what else is wanted; e^(x−max) goes to <paramref name="output"/> unless that is null.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static BlockSums Scan<T>(T* x, float* output, int count, float scale, bool entropy, bool mean, bool argMax, float best) where T : unmanaged
    {
        var result = new BlockSums { ArgMax = -1 };
        var lowest = Vector512.Create(float.NegativeInfinity);
        Vector512<float> high0 = lowest, high1 = lowest;
        var i = 0;
        for (; i + 32 <= count; i += 32)
        {
            high0 = Vector512.MaxNative(high0, Lanes.Load(x + i));
            high1 = Vector512.MaxNative(high1, Lanes.Load(x + i + 16));
        }
        for (; i < count; i += 16)
            high0 = Vector512.MaxNative(high0, i + 16 <= count ? Lanes.Load(x + i) : Lanes.LoadPartial(x + i, count - i, float.NegativeInfinity));
        var raw = Largest(Vector512.MaxNative(high0, high1));
        result.Max = raw * scale;
        if (argMax && result.Max > best)
            result.ArgMax = IndexOf(x, count, raw);
        if (mean)
            result.SumLogits = Sum(x, count) * scale;

        // A block of −∞ alone: take 0 as its maximum, so that −∞ − m stays −∞ and not NaN.
        var minusMax = Vector512.Create(float.IsNegativeInfinity(result.Max) ? 0 : -result.Max);
        var factor = Vector512.Create(scale);
        Vector512<float> sum0 = Vector512<float>.Zero, sum1 = Vector512<float>.Zero, timesX = Vector512<float>.Zero;
        i = 0;
        if (!entropy)
        {
            for (; i + 32 <= count; i += 32)
            {
                var e0 = VectorMath.Exp(Vector512.FusedMultiplyAdd(Lanes.Load(x + i), factor, minusMax));
                var e1 = VectorMath.Exp(Vector512.FusedMultiplyAdd(Lanes.Load(x + i + 16), factor, minusMax));
                sum0 += e0;
                sum1 += e1;
                if (output != null)
                {
                    e0.Store(output + i);
                    e1.Store(output + i + 16);
                }
            }
        }
        for (; i < count; i += 16)
        {
            var value = i + 16 <= count ? Lanes.Load(x + i) : Lanes.LoadPartial(x + i, count - i, float.NegativeInfinity);
            var distance = Vector512.FusedMultiplyAdd(value, factor, minusMax);
            var e = VectorMath.Exp(distance);
            sum0 += e;
            if (entropy)
                timesX = Vector512.FusedMultiplyAdd(e, Vector512.MaxNative(Vector512.Create(-105f), distance), timesX);     // 0 · −∞ counts as 0
            if (output != null)
                Lanes.Store(output, i, count, e);
        }
        result.Sum = Vector512.Sum(sum0 + sum1);
        result.SumTimesX = Vector512.Sum(timesX);
        return result;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void ScaleBlock<T>(float* exps, T* output, int count, float factor, float add) where T : unmanaged
    {
        Vector512<float> f = Vector512.Create(factor), c = Vector512.Create(add);
        var i = 0;
        for (; i + 32 <= count; i += 32)
        {
            Lanes.Store(output + i, Vector512.FusedMultiplyAdd(Vector512.Load(exps + i), f, c));
            Lanes.Store(output + i + 16, Vector512.FusedMultiplyAdd(Vector512.Load(exps + i + 16), f, c));
        }
        for (; i < count; i += 16)
            Lanes.Store(output, i, count, Vector512.FusedMultiplyAdd(Lanes.Load(exps, i, count), f, c));
    }

    private static void Cap<T>(T* x, float* output, int count, float scale, float cap) where T : unmanaged
    {
        for (var i = 0; i < count; i += 16)
            Lanes.Store(output, i, count, VectorMath.Tanh(Lanes.Load(x, i, count) * (scale / cap)) * cap);
    }

    private static void ScaleCapped<T>(float* exps, float* capped, T* output, int count, float factor, float add, float perCap) where T : unmanaged
    {
        for (var i = 0; i < count; i += 16)
        {
            var tanh = Lanes.Load(capped, i, count) * perCap;
            var slope = Vector512.FusedMultiplyAdd(-tanh, tanh, Vector512<float>.One);
            Lanes.Store(output, i, count, slope * Vector512.FusedMultiplyAdd(Lanes.Load(exps, i, count), Vector512.Create(factor), Vector512.Create(add)));
        }
    }

    private static float Sum<T>(T* x, int count) where T : unmanaged
    {
        var sum = Vector512<float>.Zero;
        for (var i = 0; i < count; i += 16)
            sum += Lanes.Load(x, i, count);
        return Vector512.Sum(sum);
    }

    private static int IndexOf<T>(T* x, int count, float value) where T : unmanaged
    {
        for (var i = 0; i < count; i++)
            if (Lanes.Get(x, i) == value)
                return i;
        return -1;
    }

    private static float Largest(Vector512<float> value)
    {
        var largest = value[0];
        for (var i = 1; i < 16; i++)
            largest = Math.Max(largest, value[i]);                      // NaN wins
        return largest;
    }
}
