using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Handbook.Torch.Kernels;

/// <summary>Layer norm with the addition to the residual stream that precedes it. Ba et al. 2016, arXiv:1607.06450.</summary>
/// <remarks>
/// <code>
/// h' = h + delta;   μ = mean(h');   r = 1 / √( mean((h' − μ)²) + ε );   x̂ = (h' − μ)·r;   y = (a + w) ⊙ x̂ + b
/// g = (a + w) ⊙ dy;   dh' = dres + r·( g − mean(g) − x̂·mean(g ⊙ x̂) );   dw = Σ_rows dy ⊙ x̂;   db = Σ_rows dy
/// </code>
/// Types, the offset a, weights in turn and the order of the sums as in <see cref="RmsNormKernel"/>.
/// </remarks>
internal static unsafe class LayerNormKernel
{
    /// <param name="residual">h, [N, D].</param>
    /// <param name="delta">What the previous block adds, [N, D]; null for nothing.</param>
    /// <param name="sum">h' goes here, [N, D]; may be <paramref name="residual"/> itself; null where delta is null.</param>
    /// <param name="weight">w, [D].</param>
    /// <param name="bias">b, [D]; null for none.</param>
    /// <param name="output">y, [N, D].</param>
    /// <param name="mean">μ of each row, for the backward pass, [N].</param>
    /// <param name="rstd">r of each row, for the backward pass, [N].</param>
    /// <param name="rows">N.</param>
    /// <param name="width">D.</param>
    /// <param name="epsilon">ε.</param>
    /// <param name="offset">a: 0, or 1 where the weights are offsets from 1.</param>
    /// <param name="turns">Weights, and biases, that the rows take in turn; w is then [turns, D].</param>
    public static void Forward<TReal, T>(
        TReal* residual, T* delta, TReal* sum, TReal* weight, TReal* bias, T* output, TReal* mean, TReal* rstd, int rows, int width,
            double epsilon, int offset = 0, int turns = 1)
        where TReal : unmanaged where T : unmanaged
    {
        var perPiece = RowPieces.PerPiece(width);
        ThreadTeam.Run((rows + perPiece - 1) / perPiece, new ForwardBody<TReal, T>
        {
            Residual = residual,
            Delta = delta,
            Sum = sum,
            Weight = weight,
            Bias = bias,
            Output = output,
            Mean = mean,
            Rstd = rstd,
            Rows = rows,
            Width = width,
            Epsilon = epsilon,
            Offset = offset,
            Turns = turns,
            PerPiece = perPiece,
        });
    }

    /// <param name="outputGradient">dy, [N, D].</param>
    /// <param name="sum">h' as the forward pass left it, [N, D].</param>
    /// <param name="weight">w, [D].</param>
    /// <param name="mean">μ from the forward pass, [N].</param>
    /// <param name="rstd">r from the forward pass, [N].</param>
    /// <param name="residualGradient">dres, the gradient that reaches h' along the residual stream, [N, D]; null for none.</param>
    /// <param name="sumGradient">dh' goes here, [N, D]; may be <paramref name="residualGradient"/> itself.</param>
    /// <param name="deltaGradient">dh' again, in the type of delta, [N, D]; null where not wanted.</param>
    /// <param name="weightGradient">dw is added to this, [D]; null where not wanted.</param>
    /// <param name="biasGradient">db is added to this, [D]; null where not wanted.</param>
    /// <param name="rows">N.</param>
    /// <param name="width">D.</param>
    /// <param name="offset">a.</param>
    /// <param name="turns">As in the forward pass.</param>
    public static void Backward<TReal, T>(
        T* outputGradient, TReal* sum, TReal* weight, TReal* mean, TReal* rstd, TReal* residualGradient, TReal* sumGradient,
            T* deltaGradient,
        TReal* weightGradient, TReal* biasGradient, int rows, int width, int offset = 0, int turns = 1)
        where TReal : unmanaged where T : unmanaged
    {
        var perPiece = RowPieces.PerPartial(rows, width);
        var pieces = (rows + perPiece - 1) / perPiece;
        var all = turns * width;
        var partials = Scratch.Get<TReal>(Scratch.Slot.Partials, 2L * pieces * all);
        ThreadTeam.Run(pieces, new BackwardBody<TReal, T>
        {
            OutputGradient = outputGradient,
            Sum = sum,
            Weight = weight,
            Mean = mean,
            Rstd = rstd,
            ResidualGradient = residualGradient,
            SumGradient = sumGradient,
            DeltaGradient = deltaGradient,
            WeightPartials = partials,
            BiasPartials = partials + (long)pieces * all,
            Rows = rows,
            Width = width,
            Offset = offset,
            Turns = turns,
            PerPiece = perPiece,
        });
        if (weightGradient != null)
            RowPieces.AddPartials(partials, pieces, all, weightGradient);
        if (biasGradient != null)
            RowPieces.AddPartials(partials + (long)pieces * all, pieces, all, biasGradient);
    }

    private struct ForwardBody<TReal, T> : IParallelBody where TReal : unmanaged where T : unmanaged
    {
        public TReal* Residual, Sum, Weight, Bias, Mean, Rstd;
        public T* Delta, Output;
        public int Rows, Width, Offset, Turns, PerPiece;
        public double Epsilon;

        public readonly void Invoke(int index)
        {
            if (Width % Lanes.Width == 0)
                Piece(index, new WholeLanes());
            else
                Piece(index, new RaggedLanes(Width));
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly void Piece<TLanes>(int index, TLanes lanes) where TLanes : struct, ILanes
        {
            var end = Math.Min(Rows, (index + 1) * PerPiece);
            for (var i = index * PerPiece; i < end; i++)
            {
                long at = (long)i * Width;
                var delta = Delta == null ? null : Delta + at;
                var sum = Delta == null ? Residual + at : Sum + at;
                if (typeof(TReal) == typeof(double))
                    Plain(Residual + at, delta, sum, Output + at, i);
                else
                    Fast(lanes, (float*)Residual + at, delta, (float*)sum, Output + at, i);
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly void Fast<TLanes>(TLanes lanes, float* residual, T* delta, float* sum, T* output, int row) where TLanes : struct,
            ILanes
        {
            var total = Vector512<float>.Zero;
            for (var i = 0; i < Width; i += 16)
            {
                var h = lanes.Load(residual, i);
                if (delta != null)
                {
                    h += lanes.Load(delta, i);
                    lanes.Store(sum, i, h);
                }
                total += h;
            }
            var mean = (float)((double)Vector512.Sum(total) / Width);
            Vector512<float> center = Vector512.Create(mean), squares = Vector512<float>.Zero;
            for (var i = 0; i < Width; i += 16)
            {
                var distance = lanes.Load(sum, i, mean) - center;
                squares = Vector512.FusedMultiplyAdd(distance, distance, squares);
            }
            var r = (float)(1 / Math.Sqrt((double)Vector512.Sum(squares) / Width + Epsilon));
            ((float*)Mean)[row] = mean;
            ((float*)Rstd)[row] = r;
            Vector512<float> factor = Vector512.Create(r), offset = Vector512.Create((float)Offset);
            var turn = row % Turns * Width;
            float* weight = (float*)Weight + turn, bias = Bias == null ? null : (float*)Bias + turn;
            for (var i = 0; i < Width; i += 16)
            {
                var normal = (lanes.Load(sum, i) - center) * factor;
                lanes.Store(output, i, Vector512.FusedMultiplyAdd(normal, lanes.Load(weight, i) + offset,
                    bias == null ? Vector512<float>.Zero : lanes.Load(bias, i)));
            }
        }

        private readonly void Plain(TReal* residual, T* delta, TReal* sum, T* output, int row)
        {
            double mean = 0, squares = 0;
            for (var i = 0; i < Width; i++)
            {
                var h = Lanes.Get(residual, i) + (delta == null ? 0 : Lanes.Get(delta, i));
                if (delta != null)
                    Lanes.Set(sum, i, h);
                mean += h / Width;
            }
            for (var i = 0; i < Width; i++)
                squares += (Lanes.Get(sum, i) - mean) * (Lanes.Get(sum, i) - mean);
            var r = 1 / Math.Sqrt(squares / Width + Epsilon);
            Lanes.Set(Mean, row, mean);
            Lanes.Set(Rstd, row, r);
            var turn = row % Turns * Width;
            for (var i = 0; i < Width; i++)
                Lanes.Set(output, i, (Lanes.Get(sum, i) - mean) * r * (Offset + Lanes.Get(Weight, turn + i))
                    + (Bias == null ? 0 : Lanes.Get(Bias, turn + i)));
        }
    }

    private struct BackwardBody<TReal, T> : IParallelBody where TReal : unmanaged where T : unmanaged
    {
        public T* OutputGradient, DeltaGradient;
        public TReal* Sum, Weight, Mean, Rstd, ResidualGradient, SumGradient, WeightPartials, BiasPartials;
        public int Rows, Width, Offset, Turns, PerPiece;

        public readonly void Invoke(int index)
        {
            if (Width % Lanes.Width == 0)
                Piece(index, new WholeLanes());
            else
                Piece(index, new RaggedLanes(Width));
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly void Piece<TLanes>(int index, TLanes lanes) where TLanes : struct, ILanes
        {
            var all = Turns * Width;
            TReal* dw = WeightPartials + (long)index * all, db = BiasPartials + (long)index * all;
            new Span<TReal>(dw, all).Clear();
            new Span<TReal>(db, all).Clear();
            var end = Math.Min(Rows, (index + 1) * PerPiece);
            for (var i = index * PerPiece; i < end; i++)
            {
                long at = (long)i * Width;
                var residual = ResidualGradient == null ? null : ResidualGradient + at;
                var delta = DeltaGradient == null ? null : DeltaGradient + at;
                var turn = i % Turns * Width;
                if (typeof(TReal) == typeof(double))
                    Plain(OutputGradient + at, Sum + at, i, Weight + turn, residual, SumGradient + at, delta, dw + turn, db + turn);
                else
                    Fast(lanes, OutputGradient + at, (float*)Sum + at, i, (float*)Weight + turn, (float*)residual, (float*)SumGradient + at,
                        delta, (float*)dw + turn, (float*)db + turn);
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly void Fast<TLanes>(TLanes lanes, T* dy, float* h, int row, float* weight, float* dres, float* dh, T* delta,
            float* dw, float* db) where TLanes : struct, ILanes
        {
            var offset = Vector512.Create((float)Offset);
            Vector512<float> center = Vector512.Create(((float*)Mean)[row]), factor = Vector512.Create(((float*)Rstd)[row]);
            Vector512<float> sum = Vector512<float>.Zero, dot = Vector512<float>.Zero;
            for (var i = 0; i < Width; i += 16)
            {
                var gradient = lanes.Load(dy, i);
                var normal = (lanes.Load(h, i) - center) * factor;
                var g = gradient * (lanes.Load(weight, i) + offset);
                sum += g;
                dot = Vector512.FusedMultiplyAdd(g, normal, dot);
                lanes.Store(dw, i, Vector512.FusedMultiplyAdd(gradient, normal, lanes.Load(dw, i)));
                lanes.Store(db, i, gradient + lanes.Load(db, i));
            }
            var meanG = Vector512.Create((float)((double)Vector512.Sum(sum) / Width));
            var meanDot = Vector512.Create((float)((double)Vector512.Sum(dot) / Width));
            for (var i = 0; i < Width; i += 16)
            {
                var normal = (lanes.Load(h, i) - center) * factor;
                var g = lanes.Load(dy, i) * (lanes.Load(weight, i) + offset);
                var value = factor * (g - meanG - normal * meanDot);
                if (dres != null)
                    value += lanes.Load(dres, i);
                lanes.Store(dh, i, value);
                if (delta != null)
                    lanes.Store(delta, i, value);
            }
        }

        private readonly void Plain(T* dy, TReal* h, int row, TReal* weight, TReal* dres, TReal* dh, T* delta, TReal* dw, TReal* db)
        {
            double mean = Lanes.Get(Mean, row), r = Lanes.Get(Rstd, row), sum = 0, dot = 0;
            for (var i = 0; i < Width; i++)
            {
                var normal = (Lanes.Get(h, i) - mean) * r;
                var gradient = Lanes.Get(dy, i);
                sum += gradient * (Offset + Lanes.Get(weight, i));
                dot += gradient * (Offset + Lanes.Get(weight, i)) * normal;
                Lanes.Set(dw, i, Lanes.Get(dw, i) + gradient * normal);
                Lanes.Set(db, i, Lanes.Get(db, i) + gradient);
            }
            for (var i = 0; i < Width; i++)
            {
                var normal = (Lanes.Get(h, i) - mean) * r;
                var value = r * (Lanes.Get(dy, i) * (Offset + Lanes.Get(weight, i)) - sum / Width - normal * dot / Width);
                value += dres == null ? 0 : Lanes.Get(dres, i);
                Lanes.Set(dh, i, value);
                if (delta != null)
                    Lanes.Set(delta, i, value);
            }
        }
    }
}
