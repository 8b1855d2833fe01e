using System.Runtime.Intrinsics;

namespace Handbook.Torch.Kernels;

/// <summary>Rows of tokens to where those of each expert stand behind one another, and back: copies and weighted sums.</summary>
/// <remarks>
/// Choice c of token t is one of t·K … t·K + K − 1 and means row <c>row[c]</c> of the sorted rows. float and <see cref="BFloat16"/> are
/// summed in float32, in the order of a token's choices.
/// </remarks>
internal static unsafe class ExpertKernel
{
    private const int PieceTokens = 32;

    /// <summary>The rows of all experts, and which of them are whose.</summary>
    public readonly struct Places<T> where T : unmanaged
    {
        /// <summary>[N·K, width].</summary>
        public required T* Sorted { get; init; }

        public required int* Row { get; init; }

        /// <summary>N.</summary>
        public required int Tokens { get; init; }

        /// <summary>K.</summary>
        public required int PerToken { get; init; }

        /// <summary>Columns.</summary>
        public required int Width { get; init; }

        internal T* Of(long choice) => Sorted + (long)Row[choice] * Width;

        /// <summary>The choices of a piece's tokens, the last one excluded.</summary>
        internal (long First, long End) Choices(int piece) =>
            ((long)piece * PieceTokens * PerToken, Math.Min(Tokens, (piece + 1) * PieceTokens) * (long)PerToken);
    }

    /// <summary>rows[t] = Σ_k weights[t, k] · the row of its k-th expert.</summary>
    /// <param name="weights">[N, K]; null for 1.</param>
    /// <param name="rows">[N, width].</param>
    public static void Gather<T, TReal>(Places<T> places, TReal* weights, T* rows) where T : unmanaged where TReal : unmanaged =>
        ThreadTeam.Run(Pieces(places.Tokens), new GatherBody<T, TReal> { Places = places, Weights = weights, Rows = rows });

    /// <summary>The row of a token's k-th expert = weights[t, k] · rows[t].</summary>
    /// <param name="weights">[N, K]; null for 1.</param>
    /// <param name="rows">[N, width].</param>
    public static void Scatter<T, TReal>(Places<T> places, TReal* weights, T* rows) where T : unmanaged where TReal : unmanaged =>
        ThreadTeam.Run(Pieces(places.Tokens), new ScatterBody<T, TReal> { Places = places, Weights = weights, Rows = rows });

    /// <summary>dots[t, k] = rows[t] · the row of its k-th expert.</summary>
    public static void Dots<T, TReal>(Places<T> places, T* rows, TReal* dots) where T : unmanaged where TReal : unmanaged =>
        ThreadTeam.Run(Pieces(places.Tokens), new DotsBody<T, TReal> { Places = places, Rows = rows, Dots = dots });

    private static int Pieces(int tokens) => (tokens + PieceTokens - 1) / PieceTokens;

    private struct GatherBody<T, TReal> : IParallelBody where T : unmanaged where TReal : unmanaged
    {
        public Places<T> Places;
        public TReal* Weights;
        public T* Rows;

        public readonly void Invoke(int index)
        {
            for (var t = index * PieceTokens; t < Math.Min(Places.Tokens, (index + 1) * PieceTokens); t++)
                if (typeof(T) == typeof(double))
                    for (var j = 0; j < Places.Width; j++)
                        Lanes.Set(Rows, (long)t * Places.Width + j, Plain(t, j));
                else
                    for (var j = 0; j < Places.Width; j += Lanes.Width)
                        Lanes.Store(Rows + (long)t * Places.Width, j, Places.Width, Sixteen(t, j));
        }

        private readonly double Plain(int t, int j)
        {
            var sum = 0.0;
            for (var c = (long)t * Places.PerToken; c < ((long)t + 1) * Places.PerToken; c++)
                sum += (Weights == null ? 1 : Lanes.Get(Weights, c)) * Lanes.Get(Places.Of(c), j);
            return sum;
        }

        private readonly Vector512<float> Sixteen(int t, int j)
        {
            var sum = Vector512<float>.Zero;
            for (var c = (long)t * Places.PerToken; c < ((long)t + 1) * Places.PerToken; c++)
                sum = Vector512.FusedMultiplyAdd(Vector512.Create(Weights == null ? 1 : (float)Lanes.Get(Weights, c)),
                    Lanes.Load(Places.Of(c), j, Places.Width), sum);
            return sum;
        }
    }

    private struct ScatterBody<T, TReal> : IParallelBody where T : unmanaged where TReal : unmanaged
    {
        public Places<T> Places;
        public TReal* Weights;
        public T* Rows;

        public readonly void Invoke(int index)
        {
            var (first, end) = Places.Choices(index);
            for (var c = first; c < end; c++)
                Copy(Rows + c / Places.PerToken * Places.Width, Weights == null ? 1 : Lanes.Get(Weights, c), Places.Of(c));
        }

        private readonly void Copy(T* source, double weight, T* target)
        {
            if (Weights == null)
                Buffer.MemoryCopy(source, target, (long)Places.Width * sizeof(T), (long)Places.Width * sizeof(T));
            else if (typeof(T) == typeof(double))
                for (var j = 0; j < Places.Width; j++)
                    Lanes.Set(target, j, weight * Lanes.Get(source, j));
            else
                for (var j = 0; j < Places.Width; j += Lanes.Width)
                    Lanes.Store(target, j, Places.Width, Lanes.Load(source, j, Places.Width) * (float)weight);
        }
    }

    private struct DotsBody<T, TReal> : IParallelBody where T : unmanaged where TReal : unmanaged
    {
        public Places<T> Places;
        public T* Rows;
        public TReal* Dots;

        public readonly void Invoke(int index)
        {
            var (first, end) = Places.Choices(index);
            for (var c = first; c < end; c++)
                Lanes.Set(Dots, c, Dot(Rows + c / Places.PerToken * Places.Width, Places.Of(c)));
        }

        private readonly double Dot(T* a, T* b)
        {
            if (typeof(T) == typeof(double))
            {
                var plain = 0.0;
                for (var j = 0; j < Places.Width; j++)
                    plain += Lanes.Get(a, j) * Lanes.Get(b, j);
                return plain;
            }
            var sum = Vector512<float>.Zero;
            for (var j = 0; j < Places.Width; j += Lanes.Width)
                sum = Vector512.FusedMultiplyAdd(Lanes.Load(a, j, Places.Width), Lanes.Load(b, j, Places.Width), sum);
            return Vector512.Sum(sum);
        }
    }
}
