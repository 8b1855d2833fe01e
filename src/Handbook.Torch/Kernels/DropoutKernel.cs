using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Handbook.Torch.Kernels;

/// <summary>Dropout whose mask follows from a number per row: nothing is stored, backward makes the same mask again.</summary>
/// <remarks>
/// <code>
/// y = x · m / (1 − p),   m[n, j] = 1 where hash(key[n], j) ≥ p · 2³², else 0
/// </code>
/// The hash is MurmurHash3's last mixing of 32 bits (Appleby 2011), over the column times the golden ratio and the two halves of the key.
/// </remarks>
internal static unsafe class DropoutKernel
{
    private const uint Golden = 0x9E3779B1, First = 0x85EBCA6B, Second = 0xC2B2AE35;

    /// <summary>y = mask(x), or y += mask(x).</summary>
    /// <param name="x">[N, D].</param>
    /// <param name="keys">[N].</param>
    /// <param name="y">[N, D]; may be <paramref name="x"/> itself where nothing is added.</param>
    /// <param name="count">N.</param>
    /// <param name="width">D.</param>
    /// <param name="rate">p, at least 0 and below 1.</param>
    /// <param name="add">Whether y keeps what it has.</param>
    public static void Apply<T>(T* x, long* keys, T* y, int count, int width, double rate, bool add) where T : unmanaged
    {
        var perPiece = RowPieces.PerPiece(width);
        ThreadTeam.Run((count + perPiece - 1) / perPiece, new Body<T>
        {
            Source = x,
            Keys = keys,
            Target = y,
            Count = count,
            Width = width,
            PerPiece = perPiece,
            Limit = Limit(rate),
            Factor = 1 / (1 - rate),
            Add = add,
        });
    }

    /// <summary>Whether an element stays; the plain form of the mask.</summary>
    public static bool Keeps(long key, int column, double rate) => Hash(key, column) >= Limit(rate);

    private static uint Limit(double rate) => (uint)Math.Round(rate * 4294967296.0);

    private static uint Hash(long key, int column)
    {
        var h = (uint)column * Golden ^ (uint)key;
        h ^= h >> 16;
        h *= First;
        h ^= h >> 13;
        h += (uint)(key >> 32);
        h *= Second;
        return h ^ (h >> 16);
    }

    private struct Body<T> : IParallelBody where T : unmanaged
    {
        public T* Source, Target;
        public long* Keys;
        public int Count, Width, PerPiece;
        public uint Limit;
        public double Factor;
        public bool Add;

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
            var end = Math.Min(Count, (index + 1) * PerPiece);
            for (var n = index * PerPiece; n < end; n++)
            {
                T* from = Source + (long)n * Width, to = Target + (long)n * Width;
                var key = Keys[n];
                if (typeof(T) == typeof(double))
                {
                    for (var j = 0; j < Width; j++)
                    {
                        var value = Hash(key, j) >= Limit ? Lanes.Get(from, j) * Factor : 0;
                        Lanes.Set(to, j, Add ? Lanes.Get(to, j) + value : value);
                    }
                    continue;
                }
                var (low, high) = (Vector512.Create((uint)key), Vector512.Create((uint)(key >> 32)));
                var columns = Vector512<uint>.Indices;
                for (var j = 0; j < Width; j += Lanes.Width, columns += Vector512.Create((uint)Lanes.Width))
                {
                    var h = columns * Golden ^ low;
                    h ^= h >>> 16;
                    h *= First;
                    h ^= h >>> 13;
                    h += high;
                    h *= Second;
                    h ^= h >>> 16;
                    var keep = Vector512.GreaterThanOrEqual(h, Vector512.Create(Limit)).AsSingle();
                    var value = lanes.Load(from, j) * (float)Factor & keep;
                    lanes.Store(to, j, Add ? lanes.Load(to, j) + value : value);
                }
            }
        }
    }
}
