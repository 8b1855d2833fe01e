using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Handbook.Torch.Kernels;

/// <summary>The numbers of one Adafactor step; the defaults are those of the Python trainer.</summary>
/// <param name="Rate">η.</param>
/// <param name="Step">t, from 1.</param>
internal readonly record struct AdafactorStep(double Rate, long Step)
{
    public AdafactorStep() : this(1e-3, 1)
    {
    }

    /// <summary>ε₁, added to the squared gradient.</summary>
    public double Epsilon { get; init; } = 1e-30;

    /// <summary>ε₂, the smallest scale of a parameter where the rate is relative to it.</summary>
    public double ParameterEpsilon { get; init; } = 1e-3;

    /// <summary>d: updates with a larger root mean square are scaled down to it.</summary>
    public double ClipThreshold { get; init; } = 1;

    /// <summary>c in β₂ₜ = 1 − tᶜ.</summary>
    public double DecayRate { get; init; } = -0.8;

    /// <summary>λ, decoupled.</summary>
    public double WeightDecay { get; init; }

    /// <summary>Multiply the rate by the parameter's root mean square.</summary>
    public bool ScaleParameter { get; init; }
}

/// <summary>Adafactor: second moments of a matrix kept as one row and one column. Shazeer and Stern 2018, arXiv:1804.04235, algorithms 4
/// and 5.</summary>
/// <remarks>
/// <code>
/// R ← β₂ₜ·R + (1−β₂ₜ)·row means of (g² + ε₁);   C the same with column means;   β₂ₜ = 1 − tᶜ
/// u = g / √( R·C / mean(R) );                   a vector keeps its own V: u = g / √V
/// u ← u / max(1, rms(u)/d);                     p ← p·(1 − η·λ) − η·u
/// </code>
/// Parameters and gradients are float or BFloat16; the state is float.
/// </remarks>
internal static unsafe class AdafactorKernel
{
    /// <summary>A step of a matrix.</summary>
    /// <param name="step">The step's numbers.</param>
    /// <param name="parameters">[rows, width].</param>
    /// <param name="gradients">[rows, width].</param>
    /// <param name="rowState">R, [rows].</param>
    /// <param name="columnState">C, [width].</param>
    /// <param name="rows">Rows of the matrix.</param>
    /// <param name="width">Columns of the matrix.</param>
    /// <param name="gradientScale">Every gradient is multiplied by this first.</param>
    public static void Step<T, TGradient>(AdafactorStep step, T* parameters, TGradient* gradients, float* rowState, float* columnState,
        int rows, int width, double gradientScale = 1)
        where T : unmanaged where TGradient : unmanaged
    {
        var perPiece = RowPieces.PerPartial(rows, width);
        var pieces = (rows + perPiece - 1) / perPiece;
        var partials = Scratch.Get<float>(Scratch.Slot.Partials, (long)(pieces + 1) * width);
        var columns = partials + (long)pieces * width;
        new Span<float>(columns, width).Clear();
        var fresh = Math.Pow(step.Step, step.DecayRate);
        var body = new Body<T, TGradient>
        {
            P = parameters,
            G = gradients,
            Rows = rows,
            Width = width,
            PerPiece = perPiece,
            GradientScale = (float)gradientScale,
            Epsilon = (float)step.Epsilon,
            RowState = rowState,
            Partials = partials,
            Fresh = fresh,
            Pass = Pass.Moments,
        };
        ThreadTeam.Run(pieces, body);
        RowPieces.AddPartials(partials, pieces, width, columns);
        for (var j = 0; j < width; j++)
            columnState[j] = (float)((1 - fresh) * columnState[j] + fresh * columns[j] / rows);
        var mean = 0.0;
        for (var i = 0; i < rows; i++)
            mean += rowState[i];
        mean /= rows;
        for (var j = 0; j < width; j++)
            columns[j] = (float)(1 / Math.Sqrt(columnState[j]));
        body.ColumnFactor = columns;
        body.RowMean = mean;
        Finish(step, body, pieces);
    }

    /// <summary>A step of a vector, with its second moments in full.</summary>
    /// <param name="step">The step's numbers.</param>
    /// <param name="parameters">[count].</param>
    /// <param name="gradients">[count].</param>
    /// <param name="state">V, [count].</param>
    /// <param name="count">Number of elements.</param>
    /// <param name="gradientScale">Every gradient is multiplied by this first.</param>
    public static void Step<T, TGradient>(AdafactorStep step, T* parameters, TGradient* gradients, float* state, int count,
        double gradientScale = 1)
        where T : unmanaged where TGradient : unmanaged
    {
        var columns = Scratch.Get<float>(Scratch.Slot.Partials, count);
        var fresh = Math.Pow(step.Step, step.DecayRate);
        for (var i = 0; i < count; i++)
        {
            var g = Lanes.Get(gradients, i) * gradientScale;
            state[i] = (float)((1 - fresh) * state[i] + fresh * (g * g + step.Epsilon));
            columns[i] = (float)(1 / Math.Sqrt(state[i]));
        }
        Finish(step, new Body<T, TGradient>
        {
            P = parameters,
            G = gradients,
            Rows = 1,
            Width = count,
            PerPiece = 1,
            GradientScale = (float)gradientScale,
            ColumnFactor = columns,
            RowMean = 1,
        }, 1);
    }

    private static void Finish<T, TGradient>(AdafactorStep step, Body<T, TGradient> body, int pieces) where T : unmanaged where TGradient
        : unmanaged
    {
        var sums = Scratch.Get<double>(Scratch.Slot.Order, 2 * pieces);
        body.Sums = sums;
        body.Pass = Pass.Squares;
        ThreadTeam.Run(pieces, body);
        double updates = 0, parameters = 0, count = (double)body.Rows * body.Width;
        for (var i = 0; i < pieces; i++)
        {
            updates += sums[2 * i];
            parameters += sums[2 * i + 1];
        }
        var rate = step.ScaleParameter ? step.Rate * Math.Max(step.ParameterEpsilon, Math.Sqrt(parameters / count)) : step.Rate;
        body.Rate = (float)(rate / Math.Max(1, Math.Sqrt(updates / count) / step.ClipThreshold));
        body.Keep = (float)(1 - rate * step.WeightDecay);
        body.Pass = Pass.Apply;
        ThreadTeam.Run(pieces, body);
    }

    private enum Pass { Moments, Squares, Apply }

    private struct Body<T, TGradient> : IParallelBody where T : unmanaged where TGradient : unmanaged
    {
        public T* P;
        public TGradient* G;
        public float* RowState, Partials, ColumnFactor;
        public double* Sums;
        public int Rows, Width, PerPiece;
        public float GradientScale, Epsilon, Rate, Keep;
        public double Fresh, RowMean;
        public Pass Pass;

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
            if (Pass == Pass.Moments)
                new Span<float>(Partials + (long)index * Width, Width).Clear();
            double updates = 0, parameters = 0;
            for (var i = index * PerPiece; i < end; i++)
            {
                var p = P + (long)i * Width;
                var g = G + (long)i * Width;
                var factor = Vector512.Create(RowState == null || Pass == Pass.Moments ? 1 : (float)Math.Sqrt(RowMean / RowState[i]));
                if (Pass == Pass.Moments)
                    RowState[i] = (float)((1 - Fresh) * RowState[i]
                        + Fresh * (AddSquares(lanes, g, Partials + (long)index * Width) / Width + Epsilon));
                else if (Pass == Pass.Squares)
                    Squares(lanes, p, g, factor, ref updates, ref parameters);
                else
                    Apply(lanes, p, g, factor);
            }
            if (Pass == Pass.Squares)
                (Sums[2 * index], Sums[2 * index + 1]) = (updates, parameters);
        }

        private readonly Vector512<float> Gradient<TLanes>(TLanes lanes, TGradient* g, int j) where TLanes : struct,
            ILanes => lanes.Load(g, j) * GradientScale;

        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly double AddSquares<TLanes>(TLanes lanes, TGradient* g, float* columns) where TLanes : struct, ILanes
        {
            var sum = Vector512<float>.Zero;
            for (var j = 0; j < Width; j += 16)
            {
                var value = Gradient(lanes, g, j);
                var square = value * value;
                sum += square;
                lanes.Store(columns, j, lanes.Load(columns, j) + square + Vector512.Create(Epsilon));
            }
            return Vector512.Sum(sum);
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly void Squares<TLanes>(TLanes lanes, T* p, TGradient* g, Vector512<float> factor, ref double updates,
            ref double parameters) where TLanes : struct, ILanes
        {
            Vector512<float> u = Vector512<float>.Zero, s = Vector512<float>.Zero;
            for (var j = 0; j < Width; j += 16)
            {
                var update = Gradient(lanes, g, j) * factor * lanes.Load(ColumnFactor, j);
                var value = lanes.Load(p, j);
                u = Vector512.FusedMultiplyAdd(update, update, u);
                s = Vector512.FusedMultiplyAdd(value, value, s);
            }
            updates += Vector512.Sum(u);
            parameters += Vector512.Sum(s);
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly void Apply<TLanes>(TLanes lanes, T* p, TGradient* g, Vector512<float> factor) where TLanes : struct, ILanes
        {
            for (var j = 0; j < Width; j += 16)
            {
                var update = Gradient(lanes, g, j) * factor * lanes.Load(ColumnFactor, j);
                lanes.Store(p, j, Vector512.FusedMultiplyAdd(update, Vector512.Create(-Rate), lanes.Load(p, j) * Keep));
            }
        }
    }
}
