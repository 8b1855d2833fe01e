using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Handbook.Torch.Kernels;

/// <summary>What <see cref="CrossEntropyKernel"/> reads and writes. T is float, BFloat16 or double; pointers that are null are not
/// wanted.</summary>
internal readonly unsafe struct CrossEntropyRows<T> where T : unmanaged
{
    public CrossEntropyRows()
    {
    }

    /// <summary>[N, V], rows <see cref="RowStride"/> elements apart; where <see cref="Gradient"/> is set, it holds the gradient
    /// afterwards.</summary>
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

    /// <summary>[N] log Σ p²; not together with <see cref="Gradient"/>.</summary>
    public double* LogSquares { get; init; }

    /// <summary>[N] the first index of the largest logit.</summary>
    public int* ArgMax { get; init; }
}

/// <summary>Log-probability of one target per row, and the gradient of the weighted loss in place of the logits while the row is in the
/// cache.</summary>
/// <remarks>
/// <code>
/// log p = x_t − lse,   lse = m + log Σ e^(x − m)
/// ∂/∂x of w·( −(1−ε)·log p_t + ε·(lse − mean x) )  =  w·( softmax(x) − (1−ε)·onehot(t) − ε/V )
/// </code>
/// Each row is taken in blocks that stay in the first-level cache: the maximum of the block, then e^(x − m_block) as a power of two,
/// stored; when the row's lse is known, a second pass over the row scales what was stored. So the data comes from memory once and goes back
/// once.
/// <para>−∞ is a probability of 0 with gradient 0. A NaN or +∞ anywhere in a row, or a row of −∞ alone, makes the row's results and
/// gradient NaN, and no other row's.</para>
/// </remarks>
internal static unsafe class CrossEntropyKernel
{
    private const int Block = 4096;
    private const double Ln2 = 0.69314718055994530942, Log2E = 1.44269504088896340736;

    public static void Run<T>(in CrossEntropyRows<T> rows) where T : unmanaged
    {
        if (rows.Gradient && rows.LogSquares != null)
            throw new ArgumentException("the sums of squares are wanted together with the gradient, which overwrites the logits",
                nameof(rows));
        for (var i = 0; i < rows.Rows; i++)
            if (rows.Targets[i] >= rows.Vocabulary || rows.Targets[i] < -1)
                throw new ArgumentException($"target {rows.Targets[i]} in row {i} is outside the vocabulary of {rows.Vocabulary}",
                    nameof(rows));
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
        var capped = a.SoftCap != 0;
        var inPlace = typeof(T) == typeof(float) && !capped;
        var padded = (long)blocks * Block;
        var memory = Scratch.Get<float>(Scratch.Slot.Row, blocks + 16 + (inPlace ? 0 : 2 * padded));
        var powers = memory;                                            // of each block: the power of two that its exponentials lack
        var exps = inPlace ? (float*)row : memory + blocks;
        var caps = memory + blocks + padded;
        var targetLogit = target >= 0 && !capped ? Lanes.Get(row, target) * a.Scale : 0;

        var sums = new RowSums();
        for (var b = 0; b < blocks; b++)
        {
            var start = b * Block;
            var length = Math.Min(Block, count - start);
            var request = new Request
            {
                Output = a.Gradient ? exps + start : null,
                Count = length,
                Scale = capped ? 1 : a.Scale,
                Entropy = a.Entropy != null,
                Mean = a.MeanLogit != null,
                ArgMax = a.ArgMax != null,
                Best = sums.Best,
            };
            if (capped)
                Cap(row + start, caps + start, length, (float)a.Scale, (float)a.SoftCap);
            var block = capped ? Scan(caps + start, request) : Scan(row + start, request);
            powers[b] = block.Power;
            sums.Add(block, start);
        }
        if (target >= 0 && capped)
            targetLogit = caps[target];

        var lse = sums.Power * Ln2 + Math.Log(sums.Total);
        var logProb = target >= 0 ? targetLogit - lse : 0;
        if (a.LogProb != null)
            a.LogProb[index] = logProb;
        if (a.LogSumExp != null)
            a.LogSumExp[index] = lse;
        if (a.Entropy != null)
            a.Entropy[index] = lse - sums.TimesX / sums.Total;
        if (a.MeanLogit != null)
            a.MeanLogit[index] = sums.Logits / count;
        if (a.ArgMax != null)
            a.ArgMax[index] = sums.ArgMax;
        if (a.LogSquares != null)
            a.LogSquares[index] = Math.Log(capped ? Squares(caps, count, 1, lse) : Squares(row, count, a.Scale, lse));
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
            var factor = (float)(weight * Math.Exp(powers[b] * Ln2 - lse));
            if (capped)
                ScaleCapped(exps + start, caps + start, row + start, length, factor, (float)-smooth, (float)(1 / a.SoftCap));
            else if (length % Lanes.Width == 0)
                ScaleBlock(new WholeLanes(), exps + start, row + start, length, factor, (float)-smooth);
            else
                ScaleBlock(new RaggedLanes(length), exps + start, row + start, length, factor, (float)-smooth);
        }
        var slope = capped ? 1 - targetLogit / a.SoftCap * (targetLogit / a.SoftCap) : 1;
        Lanes.Set(row, target, slope * (weight * (Math.Exp(logProb) - 1 + a.LabelSmoothing) - smooth));
    }

    /// <summary>Σ p² with p = e^(scale·x − lse).</summary>
    private static double Squares<T>(T* x, int count, double scale, double lse) where T : unmanaged
    {
        Vector512<float> factor = Vector512.Create((float)(2 * Log2E * scale)), shift = Vector512.Create((float)(-2 * Log2E * lse)),
            sum = Vector512<float>.Zero;
        var lanes = new RaggedLanes(count);
        for (var i = 0; i < count; i += 16)
            sum += VectorMath.PowerOfTwoOrZero(Vector512.FusedMultiplyAdd(lanes.Load(x, i, float.NegativeInfinity), factor, shift));
        return Vector512.Sum(sum);
    }

    /// <summary>What is known of a row after some of its blocks.</summary>
    private struct RowSums()
    {
        public float Best = float.NegativeInfinity;

        /// <summary>Σ eˣ = Total · 2^Power; Σ eˣ·x = TimesX · 2^Power.</summary>
        public double Total, TimesX, Power = double.NegativeInfinity;

        public double Logits;
        public int ArgMax;

        public void Add(in BlockSums block, int start)
        {
            if (block.ArgMax >= 0)
                ArgMax = start + block.ArgMax;
            Best = Math.Max(Best, block.Max);                           // NaN wins
            Logits += block.Logits;
            if (float.IsNegativeInfinity(block.Max))
                return;                                                 // adds nothing
            var power = Math.Max(Power, block.Power);
            double old = Math.Pow(2, Power - power), fresh = Math.Pow(2, block.Power - power);      // exact: whole powers
            Total = Total * old + block.Sum * fresh;
            TimesX = TimesX * old + Ln2 * (block.TimesT + (double)block.Power * block.Sum) * fresh;
            Power = power;
        }
    }

    private struct Request
    {
        public float* Output;
        public int Count;
        public double Scale;
        public bool Entropy, Mean, ArgMax;
        public float Best;
    }

    /// <summary>Of one block: with t = x·log₂e − Power, the sums of 2ᵗ and 2ᵗ·t.</summary>
    private struct BlockSums
    {
        public float Max, Power, Sum, TimesT, Logits;
        public int ArgMax;
    }

    private static BlockSums Scan<T>(T* x, in Request request) where T : unmanaged => request.Count % Lanes.Width == 0
        ? Scan(new WholeLanes(), x, request)
        : Scan(new RaggedLanes(request.Count), x, request);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static BlockSums Scan<TLanes, T>(TLanes lanes, T* x, in Request request) where TLanes : struct, ILanes where T : unmanaged
    {
        var count = request.Count;
        var output = request.Output;
        var result = new BlockSums { ArgMax = -1 };
        var largest = Largest(lanes, x, count);
        result.Max = (float)(largest * request.Scale);
        if (request.ArgMax && result.Max > request.Best)
            result.ArgMax = IndexOf(lanes, x, count, largest);
        if (request.Mean)
            result.Logits = (float)(Sum(lanes, x, count) * request.Scale);

        // A whole power of two near the maximum: then blocks are put together without rounding. For a block of −∞ alone any will do.
        var factor = request.Scale * Log2E;
        result.Power = float.IsNegativeInfinity(result.Max) ? 0 : MathF.Ceiling((float)(largest * factor));
        var upper = (float)factor > factor ? MathF.BitDecrement((float)factor) : (float)factor;
        Vector512<float> high = Vector512.Create(upper), low = Vector512.Create((float)Math.Max(factor - upper, 1e-30)),
            power = Vector512.Create(-result.Power);
        Vector512<float> sum0 = Vector512<float>.Zero, sum1 = Vector512<float>.Zero, timesT = Vector512<float>.Zero;
        var i = 0;
        if (request.Entropy)
        {
            for (; i < count; i += 16)
            {
                var t = Exponent(lanes.Load(x, i, float.NegativeInfinity), high, low, power);
                var e = VectorMath.PowerOfTwoOrZero(t);
                sum0 += e;
                timesT = Vector512.FusedMultiplyAdd(e, Vector512.MaxNative(Vector512.Create(-151f), t), timesT);     // 0 · −∞ counts as 0
                if (output != null)
                    lanes.Store(output, i, e);
            }
        }
        else if (output != null)
        {
            for (; Vector512.IsHardwareAccelerated && i + 32 <= count; i += 32)       // two at a time would not fit in sixteen registers
            {
                var e0 = VectorMath.PowerOfTwoOrZero(Exponent(Lanes.Load(x + i), high, low, power));
                var e1 = VectorMath.PowerOfTwoOrZero(Exponent(Lanes.Load(x + i + 16), high, low, power));
                e0.Store(output + i);
                e1.Store(output + i + 16);
                sum0 += e0;
                sum1 += e1;
            }
            for (; i < count; i += 16)
            {
                var e = VectorMath.PowerOfTwoOrZero(Exponent(lanes.Load(x, i, float.NegativeInfinity), high, low, power));
                lanes.Store(output, i, e);
                sum0 += e;
            }
        }
        else
        {
            for (; Vector512.IsHardwareAccelerated && i + 32 <= count; i += 32)       // two at a time would not fit in sixteen registers
            {
                sum0 += VectorMath.PowerOfTwoOrZero(Exponent(Lanes.Load(x + i), high, low, power));
                sum1 += VectorMath.PowerOfTwoOrZero(Exponent(Lanes.Load(x + i + 16), high, low, power));
            }
            for (; i < count; i += 16)
                sum0 += VectorMath.PowerOfTwoOrZero(Exponent(lanes.Load(x, i, float.NegativeInfinity), high, low, power));
        }
        result.Sum = Vector512.Sum(sum0 + sum1);
        result.TimesT = Vector512.Sum(timesT);
        return result;
    }

    /// <summary>t = x·log₂e − Power, with log₂e in two parts, both positive, so that −∞ stays −∞.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Exponent(Vector512<float> x, Vector512<float> high, Vector512<float> low, Vector512<float> power) =>
        Vector512.FusedMultiplyAdd(x, low, Vector512.FusedMultiplyAdd(x, high, power));

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static float Largest<TLanes, T>(TLanes lanes, T* x, int count) where TLanes : struct, ILanes where T : unmanaged
    {
        var lowest = Vector512.Create(float.NegativeInfinity);
        Vector512<float> high0 = lowest, high1 = lowest;
        var i = 0;
        for (; i + 32 <= count; i += 32)
        {
            high0 = Vector512.MaxNative(high0, Lanes.Load(x + i));
            high1 = Vector512.MaxNative(high1, Lanes.Load(x + i + 16));
        }
        for (; i < count; i += 16)
            high0 = Vector512.MaxNative(high0, lanes.Load(x, i, float.NegativeInfinity));
        high0 = Vector512.MaxNative(high0, high1);
        var largest = high0[0];
        for (i = 1; i < 16; i++)
            largest = Math.Max(largest, high0[i]);
        return largest;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static float Sum<TLanes, T>(TLanes lanes, T* x, int count) where TLanes : struct, ILanes where T : unmanaged
    {
        var sum = Vector512<float>.Zero;
        for (var i = 0; i < count; i += 16)
            sum += lanes.Load(x, i);
        return Vector512.Sum(sum);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static int IndexOf<TLanes, T>(TLanes lanes, T* x, int count, float value) where TLanes : struct, ILanes where T : unmanaged
    {
        for (var i = 0; i < count; i += 16)
            if (Vector512.Equals(lanes.Load(x, i, float.NegativeInfinity), Vector512.Create(value)).ExtractMostSignificantBits() is var hits
                && hits != 0)
                return i + BitOperations.TrailingZeroCount(hits);
        return -1;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void ScaleBlock<TLanes, T>(TLanes lanes, float* exps, T* output, int count, float factor, float add) where TLanes
        : struct, ILanes where T : unmanaged
    {
        Vector512<float> f = Vector512.Create(factor), c = Vector512.Create(add);
        for (var i = 0; i < count; i += 16)
            lanes.Store(output, i, Vector512.FusedMultiplyAdd(lanes.Load(exps, i), f, c));
    }

    private static void Cap<T>(T* x, float* output, int count, float scale, float cap) where T : unmanaged
    {
        var lanes = new RaggedLanes(count);
        for (var i = 0; i < count; i += 16)
            lanes.Store(output, i, VectorMath.Tanh(lanes.Load(x, i) * (scale / cap)) * cap);
    }

    private static void ScaleCapped<T>(float* exps, float* capped, T* output, int count, float factor, float add, float perCap) where T
        : unmanaged
    {
        var lanes = new RaggedLanes(count);
        for (var i = 0; i < count; i += 16)
        {
            var tanh = lanes.Load(capped, i) * perCap;
            var slope = Vector512.FusedMultiplyAdd(-tanh, tanh, Vector512<float>.One);
            lanes.Store(output, i,
                slope * Vector512.FusedMultiplyAdd(lanes.Load(exps, i), Vector512.Create(factor), Vector512.Create(add)));
        }
    }
}
