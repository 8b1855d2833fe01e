using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Handbook.Torch.Kernels;

/// <summary>Root-mean-square norm with the addition to the residual stream that precedes it. Zhang and Sennrich 2019,
/// arXiv:1910.07467.</summary>
/// <remarks>
/// <code>
/// h' = h + delta;   r = 1 / √( mean(h'²) + ε );   y = (a + w) ⊙ h'·r           a = 0, or 1 where the weights are stored as offsets from 1
/// g = (a + w) ⊙ dy;   dh' = dres + r·( g − h'·r²·mean(g ⊙ h') );   dw = Σ_rows dy ⊙ h'·r
/// </code>
/// TReal is float or double: the residual stream, weights, statistics and their gradients. T is float, BFloat16 (with float) or double:
/// what goes to and comes from the matrix products. Sums are taken over fixed pieces of rows, so the bits do not depend on the number of
/// threads.
/// </remarks>
internal static unsafe class RmsNormKernel
{
    /// <param name="residual">h, [N, D].</param>
    /// <param name="delta">What the previous block adds, [N, D]; null for nothing.</param>
    /// <param name="sum">h' goes here, [N, D]; may be <paramref name="residual"/> itself; null where delta is null.</param>
    /// <param name="weight">w, [D].</param>
    /// <param name="output">y, [N, D].</param>
    /// <param name="rstd">r of each row, for the backward pass, [N].</param>
    /// <param name="rows">N.</param>
    /// <param name="width">D.</param>
    /// <param name="epsilon">ε.</param>
    /// <param name="offset">a: 0, or 1 where the weights are offsets from 1.</param>
    /// <param name="turns">Weights that the rows take in turn; w is then [turns, D].</param>
    public static void Forward<TReal, T>(TReal* residual, T* delta, TReal* sum, TReal* weight, T* output, TReal* rstd, int rows, int width,
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
            Output = output,
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
    /// <param name="rstd">r from the forward pass, [N].</param>
    /// <param name="residualGradient">dres, the gradient that reaches h' along the residual stream, [N, D]; null for none.</param>
    /// <param name="sumGradient">dh' goes here, [N, D]; may be <paramref name="residualGradient"/> itself.</param>
    /// <param name="deltaGradient">dh' again, in the type of delta, [N, D]; null where not wanted.</param>
    /// <param name="weightGradient">dw is added to this, [D]; null where not wanted.</param>
    /// <param name="rows">N.</param>
    /// <param name="width">D.</param>
    /// <param name="offset">a.</param>
    /// <param name="turns">As in the forward pass.</param>
    public static void Backward<TReal, T>(
        T* outputGradient, TReal* sum, TReal* weight, TReal* rstd, TReal* residualGradient, TReal* sumGradient, T* deltaGradient,
            TReal* weightGradient,
        int rows, int width, int offset = 0, int turns = 1)
        where TReal : unmanaged where T : unmanaged
    {
        var perPiece = RowPieces.PerPartial(rows, width);
        var pieces = (rows + perPiece - 1) / perPiece;
        var partials = weightGradient == null ? null : Scratch.Get<TReal>(Scratch.Slot.Partials, (long)pieces * turns * width);
        ThreadTeam.Run(pieces, new BackwardBody<TReal, T>
        {
            OutputGradient = outputGradient,
            Sum = sum,
            Weight = weight,
            Rstd = rstd,
            ResidualGradient = residualGradient,
            SumGradient = sumGradient,
            DeltaGradient = deltaGradient,
            Partials = partials,
            Rows = rows,
            Width = width,
            Offset = offset,
            Turns = turns,
            PerPiece = perPiece,
        });
        if (weightGradient != null)
            RowPieces.AddPartials(partials, pieces, turns * width, weightGradient);
    }

    private struct ForwardBody<TReal, T> : IParallelBody where TReal : unmanaged where T : unmanaged
    {
        public TReal* Residual, Sum, Weight, Rstd;
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
                var weight = Weight + i % Turns * Width;
                if (typeof(TReal) == typeof(double))
                    Plain(Residual + at, delta, sum, Output + at, Rstd + i, weight);
                else
                    Fast(lanes, (float*)Residual + at, delta, (float*)sum, Output + at, (float*)Rstd + i, (float*)weight);
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly void Fast<TLanes>(TLanes lanes, float* residual, T* delta, float* sum, T* output, float* rstd,
            float* weight) where TLanes : struct, ILanes
        {
            Vector512<float> squares0 = Vector512<float>.Zero, squares1 = Vector512<float>.Zero;
            var i = 0;
            for (; i + 32 <= Width; i += 32)
            {
                Vector512<float> h0 = Vector512.Load(residual + i), h1 = Vector512.Load(residual + i + 16);
                if (delta != null)
                {
                    h0 += Lanes.Load(delta + i);
                    h1 += Lanes.Load(delta + i + 16);
                    h0.Store(sum + i);
                    h1.Store(sum + i + 16);
                }
                squares0 = Vector512.FusedMultiplyAdd(h0, h0, squares0);
                squares1 = Vector512.FusedMultiplyAdd(h1, h1, squares1);
            }
            for (; i < Width; i += 16)
            {
                var h = lanes.Load(residual, i);
                if (delta != null)
                {
                    h += lanes.Load(delta, i);
                    lanes.Store(sum, i, h);
                }
                squares0 = Vector512.FusedMultiplyAdd(h, h, squares0);
            }
            var r = (float)(1 / Math.Sqrt((double)Vector512.Sum(squares0 + squares1) / Width + Epsilon));
            *rstd = r;
            Vector512<float> factor = Vector512.Create(r), offset = Vector512.Create((float)Offset);
            for (i = 0; i < Width; i += 16)
                lanes.Store(output, i, (lanes.Load(weight, i) + offset) * (lanes.Load(sum, i) * factor));
        }

        private readonly void Plain(TReal* residual, T* delta, TReal* sum, T* output, TReal* rstd, TReal* weight)
        {
            var squares = 0.0;
            for (var i = 0; i < Width; i++)
            {
                var h = Lanes.Get(residual, i) + (delta == null ? 0 : Lanes.Get(delta, i));
                if (delta != null)
                    Lanes.Set(sum, i, h);
                squares += h * h;
            }
            var r = 1 / Math.Sqrt(squares / Width + Epsilon);
            Lanes.Set(rstd, 0, r);
            for (var i = 0; i < Width; i++)
                Lanes.Set(output, i, (Offset + Lanes.Get(weight, i)) * Lanes.Get(sum, i) * r);
        }
    }

    private struct BackwardBody<TReal, T> : IParallelBody where TReal : unmanaged where T : unmanaged
    {
        public T* OutputGradient, DeltaGradient;
        public TReal* Sum, Weight, Rstd, ResidualGradient, SumGradient, Partials;
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
            var partial = Partials == null ? null : Partials + (long)index * Turns * Width;
            if (partial != null)
                new Span<TReal>(partial, Turns * Width).Clear();
            var end = Math.Min(Rows, (index + 1) * PerPiece);
            for (var i = index * PerPiece; i < end; i++)
            {
                long at = (long)i * Width;
                var residual = ResidualGradient == null ? null : ResidualGradient + at;
                var delta = DeltaGradient == null ? null : DeltaGradient + at;
                var turn = i % Turns * Width;
                var dw = partial == null ? null : partial + turn;
                if (typeof(TReal) == typeof(double))
                    Plain(OutputGradient + at, Sum + at, Lanes.Get(Rstd, i), Weight + turn, residual, SumGradient + at, delta, dw);
                else
                    Fast(lanes, OutputGradient + at, (float*)Sum + at, ((float*)Rstd)[i], (float*)Weight + turn, (float*)residual,
                        (float*)SumGradient + at, delta, (float*)dw);
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly void Fast<TLanes>(TLanes lanes, T* dy, float* h, float r, float* weight, float* dres, float* dh, T* delta,
            float* dw) where TLanes : struct, ILanes
        {
            Vector512<float> offset = Vector512.Create((float)Offset), factor = Vector512.Create(r), dot = Vector512<float>.Zero;
            for (var i = 0; i < Width; i += 16)
            {
                var gradient = lanes.Load(dy, i);
                var value = lanes.Load(h, i);
                dot = Vector512.FusedMultiplyAdd(gradient * value, lanes.Load(weight, i) + offset, dot);
                if (dw != null)
                    lanes.Store(dw, i, Vector512.FusedMultiplyAdd(gradient, value * factor, lanes.Load(dw, i)));
            }
            var along = Vector512.Create((float)(-(double)Vector512.Sum(dot) / Width * r * r * r));
            for (var i = 0; i < Width; i += 16)
            {
                var g = (lanes.Load(weight, i) + offset) * lanes.Load(dy, i);
                var value = Vector512.FusedMultiplyAdd(g, factor, lanes.Load(h, i) * along);
                if (dres != null)
                    value += lanes.Load(dres, i);
                lanes.Store(dh, i, value);
                if (delta != null)
                    lanes.Store(delta, i, value);
            }
        }

        private readonly void Plain(T* dy, TReal* h, double r, TReal* weight, TReal* dres, TReal* dh, T* delta, TReal* dw)
        {
            var dot = 0.0;
            for (var i = 0; i < Width; i++)
            {
                dot += Lanes.Get(dy, i) * Lanes.Get(h, i) * (Offset + Lanes.Get(weight, i));
                if (dw != null)
                    Lanes.Set(dw, i, Lanes.Get(dw, i) + Lanes.Get(dy, i) * Lanes.Get(h, i) * r);
            }
            for (var i = 0; i < Width; i++)
            {
                var value = r * ((Offset + Lanes.Get(weight, i)) * Lanes.Get(dy, i) - Lanes.Get(h, i) * r * r * dot / Width);
                value += dres == null ? 0 : Lanes.Get(dres, i);
                Lanes.Set(dh, i, value);
                if (delta != null)
                    Lanes.Set(delta, i, value);
            }
        }
    }
}
