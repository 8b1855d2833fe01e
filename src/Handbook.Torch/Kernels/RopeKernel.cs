using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Handbook.Torch.Kernels;

/// <summary>Rotary position embedding in place: element i of a head turns with element i + R/2, the hub's layout, or element 2i with
/// 2i + 1, the paper's. Su et al. 2021, arXiv:2104.09864.</summary>
/// <remarks>
/// <code>
/// x₁' = x₁·cos θ − x₂·sin θ;   x₂' = x₂·cos θ + x₁·sin θ        x₁ = x[0 … R/2), x₂ = x[R/2 … R), elements from R on stay
/// interleaved:  x₁ = x[0, 2, … R−2], x₂ = x[1, 3, … R−1]
/// </code>
/// The gradient is the rotation by −θ. An attention factor (yarn) is already in the tables.
/// </remarks>
internal static unsafe class RopeKernel
{
    /// <param name="data">First head of the first row; the heads of a row stand side by side. In a fused [N, (H+2K)·E] buffer, H+K heads
    /// turn and the values stay.</param>
    /// <param name="rowStride">Elements from row to row.</param>
    /// <param name="rows">N.</param>
    /// <param name="heads">Heads of a row that turn.</param>
    /// <param name="headSize">E.</param>
    /// <param name="rotary">R, even, at most E; 0 changes nothing.</param>
    /// <param name="cos">cos θ, [positions, R/2].</param>
    /// <param name="sin">sin θ, [positions, R/2].</param>
    /// <param name="positions">Position of each row, [N].</param>
    /// <param name="backward">Turn a gradient: by −θ.</param>
    /// <param name="interleaved">Whether neighbours turn together.</param>
    public static void Apply<T>(T* data, long rowStride, int rows, int heads, int headSize, int rotary, float* cos, float* sin,
        int* positions, bool backward, bool interleaved = false)
        where T : unmanaged
    {
        if (rotary < 0 || rotary % 2 != 0 || rotary > headSize)
            throw new ArgumentException($"rotary size {rotary} is not an even number up to the head size {headSize}", nameof(rotary));
        if (rotary == 0)
            return;
        var perPiece = RowPieces.PerPiece(heads * headSize);
        ThreadTeam.Run((rows + perPiece - 1) / perPiece, new Body<T>
        {
            Data = data,
            RowStride = rowStride,
            Rows = rows,
            Heads = heads,
            HeadSize = headSize,
            Half = rotary / 2,
            Cos = cos,
            Sin = sin,
            Positions = positions,
            Sign = backward ? -1 : 1,
            PerPiece = perPiece,
            Interleaved = interleaved,
        });
    }

    private struct Body<T> : IParallelBody where T : unmanaged
    {
        public T* Data;
        public long RowStride;
        public int Rows, Heads, HeadSize, Half, Sign, PerPiece;
        public float* Cos, Sin;
        public int* Positions;
        public bool Interleaved;

        public readonly void Invoke(int index)
        {
            if (Interleaved || Half % Lanes.Width == 0)
                Piece(index, new WholeLanes());
            else
                Piece(index, new RaggedLanes(Half));
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly void Piece<TLanes>(int index, TLanes lanes) where TLanes : struct, ILanes
        {
            var end = Math.Min(Rows, (index + 1) * PerPiece);
            for (var i = index * PerPiece; i < end; i++)
            {
                long at = (long)Positions[i] * Half;
                for (var head = 0; head < Heads; head++)
                {
                    var x = Data + i * RowStride + (long)head * HeadSize;
                    if (typeof(T) == typeof(double))
                        Plain((double*)x, Cos + at, Sin + at);
                    else if (Interleaved)
                        Neighbours(x, Cos + at, Sin + at);
                    else
                        Fast(lanes, x, Cos + at, Sin + at);
                }
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private readonly void Fast<TLanes>(TLanes lanes, T* x, float* cos, float* sin) where TLanes : struct, ILanes
        {
            var sign = Vector512.Create((float)Sign);
            for (var i = 0; i < Half; i += 16)
            {
                Vector512<float> c = lanes.Load(cos, i), s = lanes.Load(sin, i) * sign;
                Vector512<float> x1 = lanes.Load(x, i), x2 = lanes.Load(x + Half, i);
                lanes.Store(x, i, x1 * c - x2 * s);
                lanes.Store(x + Half, i, x2 * c + x1 * s);
            }
        }

        /// <summary>Eight pairs at a time: x ⊙ cos + x with neighbours exchanged ⊙ (−sin, sin).</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private readonly void Neighbours(T* x, float* cos, float* sin)
        {
            var signs = Vector512.Create(Vector256.Create(-1f, 1, -1, 1, -1, 1, -1, 1), Vector256.Create(-1f, 1, -1, 1, -1, 1, -1, 1))
                * Vector512.Create((float)Sign);
            var i = 0;
            for (; i + 8 <= Half; i += 8)
            {
                var value = Lanes.Load(x + 2 * i);
                Lanes.Store(x + 2 * i, Vector512.FusedMultiplyAdd(value, Twice(cos + i), Exchanged(value) * (Twice(sin + i) * signs)));
            }
            for (; i < Half; i++)
            {
                double c = cos[i], s = Sign * (double)sin[i], x1 = Lanes.Get(x, 2 * i), x2 = Lanes.Get(x, 2 * i + 1);
                Lanes.Set(x, 2 * i, x1 * c - x2 * s);
                Lanes.Set(x, 2 * i + 1, x2 * c + x1 * s);
            }
        }

        /// <summary>Eight values, each twice.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static Vector512<float> Twice(float* values)
        {
            var eight = Vector256.Load(values);
            return Vector512.Create(Vector256.Shuffle(eight, Vector256.Create(0, 0, 1, 1, 2, 2, 3, 3)),
                Vector256.Shuffle(eight, Vector256.Create(4, 4, 5, 5, 6, 6, 7, 7)));
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static Vector512<float> Exchanged(Vector512<float> value) =>
            Vector512.Create(Vector256.Shuffle(value.GetLower(), Vector256.Create(1, 0, 3, 2, 5, 4, 7, 6)),
                Vector256.Shuffle(value.GetUpper(), Vector256.Create(1, 0, 3, 2, 5, 4, 7, 6)));

        private readonly void Plain(double* x, float* cos, float* sin)
        {
            var (first, second) = Interleaved ? (2, 1) : (1, Half);     // step from pair to pair, and within one
            for (var i = 0; i < Half; i++)
            {
                double c = cos[i], s = Sign * (double)sin[i], x1 = x[first * i], x2 = x[first * i + second];
                x[first * i] = x1 * c - x2 * s;
                x[first * i + second] = x2 * c + x1 * s;
            }
        }
    }
}
