using System.Runtime.Intrinsics;
using Handbook.Torch.Quantised;

namespace Handbook.Torch.Kernels;

/// <summary>Values to codes with scales; the numbers of a block are divided by its largest.</summary>
/// <remarks>
/// <code>
/// four bits:   scale = max |w|,   code = nearest( w · (1 / scale) )
/// int8:        h = w in half precision,   scale = max |h| of the row,   code = round( h · (1 / scale · 127) ), ties to even
/// </code>
/// A block of zeros has the scale 0 and the code of 0.
/// </remarks>
internal static unsafe class QuantiseKernel
{
    /// <summary>Blocks of one piece of work.</summary>
    private const int PieceBlocks = 1024;

    /// <param name="source">float, BFloat16 or Half; <paramref name="count"/> of them.</param>
    /// <param name="codes">⌈count/2⌉ bytes; written. Where the count is odd, the last half is the code of 0.</param>
    /// <param name="scales">One for each block; written.</param>
    public static void FourBits<T>(T* source, long count, CodeBook book, byte* codes, float* scales) where T : unmanaged
    {
        var blocks = (count + QuantisedFormat.BlockSize - 1) / QuantisedFormat.BlockSize;
        ThreadTeam.Run((int)((blocks + PieceBlocks - 1) / PieceBlocks), new FourBitBody<T>(source, count, book, codes, scales, blocks));
    }

    /// <summary>The same by the formula, one value after another.</summary>
    public static void FourBitsPlainly<T>(T* source, long count, CodeBook book, byte* codes, float* scales) where T : unmanaged
    {
        for (var i = 0L; i < count; i++)
        {
            var block = i / QuantisedFormat.BlockSize;
            if (i % QuantisedFormat.BlockSize == 0)
            {
                scales[block] = 0;
                for (var k = i; k < Math.Min(count, i + QuantisedFormat.BlockSize); k++)
                    scales[block] = MathF.Max(scales[block], MathF.Abs(Widen(source, k)));
            }
            var code = book.Nearest(scales[block] == 0 ? 0 : Widen(source, i) * (1 / scales[block]));
            codes[i / 2] = (byte)((i & 1) == 0 ? code << 4 | book.Nearest(0) : codes[i / 2] & 0xF0 | code);
        }
    }

    /// <param name="source">[rows, columns]; float, BFloat16 or Half.</param>
    /// <param name="codes">[rows, columns]; written.</param>
    /// <param name="scales">[rows]; written.</param>
    public static void Int8<T>(T* source, long rows, long columns, sbyte* codes, float* scales) where T : unmanaged =>
        ThreadTeam.Run(checked((int)rows), new RowBody<T> { Source = source, Columns = columns, Codes = codes, Scales = scales });

    private static float Widen<T>(T* source, long i) where T : unmanaged =>
        typeof(T) == typeof(Half) ? (float)((Half*)source)[i] : (float)Lanes.Get(source, i);

    private readonly struct FourBitBody<T>(T* source, long count, CodeBook book, byte* codes, float* scales, long blocks) : IParallelBody
        where T : unmanaged
    {
        public void Invoke(int index)
        {
            var values = stackalloc float[QuantisedFormat.BlockSize];
            var last = Math.Min(blocks, (index + 1L) * PieceBlocks);
            for (var block = (long)index * PieceBlocks; block < last; block++)
            {
                var first = block * QuantisedFormat.BlockSize;
                var length = (int)Math.Min(QuantisedFormat.BlockSize, count - first);
                new Span<float>(values, QuantisedFormat.BlockSize).Clear();
                if (typeof(T) == typeof(Half) || length < QuantisedFormat.BlockSize)
                    for (var i = 0; i < length; i++)
                        values[i] = Widen(source, first + i);
                else
                    for (var i = 0; i < QuantisedFormat.BlockSize; i += Lanes.Width)
                        Lanes.Load(source + first + i).Store(values + i);
                scales[block] = Block(values, codes + first / 2, (length + 1) / 2);
            }
        }

        private float Block(float* values, byte* target, int bytes)
        {
            var largest = Vector512<float>.Zero;
            for (var i = 0; i < QuantisedFormat.BlockSize; i += Lanes.Width)
                largest = Vector512.Max(largest, Vector512.Abs(Vector512.Load(values + i)));
            var scale = 0f;
            for (var i = 0; i < Lanes.Width; i++)
                scale = MathF.Max(scale, largest[i]);
            var factor = Vector512.Create(scale == 0 ? 0 : 1 / scale);
            var places = stackalloc int[Lanes.Width];
            for (var i = 0; i < QuantisedFormat.BlockSize; i += Lanes.Width)
            {
                var scaled = Vector512.Load(values + i) * factor;
                var place = Vector512<int>.Zero;
                foreach (var middle in book.Middles)
                    place -= Vector512.LessThan(Vector512.Create(middle), scaled).AsInt32();       // −1 where true
                place.Store(places);
                for (var k = 0; k < Lanes.Width && (i + k) / 2 < bytes; k += 2)
                    target[(i + k) / 2] = (byte)(book.Order[places[k]] << 4 | book.Order[places[k + 1]]);
            }
            return scale;
        }
    }

    private struct RowBody<T> : IParallelBody where T : unmanaged
    {
        public T* Source;
        public long Columns;
        public sbyte* Codes;
        public float* Scales;

        public readonly void Invoke(int index)
        {
            var first = index * Columns;
            var largest = Vector512<float>.Zero;
            var i = 0L;
            for (; i + Lanes.Width <= Columns; i += Lanes.Width)
                largest = Vector512.Max(largest, Vector512.Abs(Halves(first + i)));
            var scale = 0f;
            for (var k = 0; k < Lanes.Width; k++)
                scale = MathF.Max(scale, largest[k]);
            for (; i < Columns; i++)
                scale = MathF.Max(scale, MathF.Abs((float)(Half)Widen(Source, first + i)));
            Scales[index] = scale;
            var factor = scale == 0 ? 0 : 1 / scale * 127;          // two roundings, as in the reference
            var codes = stackalloc int[Lanes.Width];
            for (i = 0; i + Lanes.Width <= Columns; i += Lanes.Width)
            {
                Vector512.ConvertToInt32(Vector512.Round(Halves(first + i) * Vector512.Create(factor))).Store(codes);
                for (var k = 0; k < Lanes.Width; k++)
                    Codes[first + i + k] = (sbyte)codes[k];
            }
            for (; i < Columns; i++)
                Codes[first + i] = (sbyte)MathF.Round((float)(Half)Widen(Source, first + i) * factor);
        }

        /// <summary>Sixteen values in half precision, rounded to the nearest, ties to even.</summary>
        private readonly Vector512<float> Halves(long i)
        {
            if (typeof(T) == typeof(Half))
            {
                var values = stackalloc float[Lanes.Width];
                for (var k = 0; k < Lanes.Width; k++)
                    values[k] = (float)((Half*)Source)[i + k];
                return Vector512.Load(values);
            }
            var x = Lanes.Load(Source + i);
            var (bits, size) = (x.AsUInt32(), Vector512.Abs(x));
            // Normal numbers lose thirteen bits of their fraction; below 2⁻¹⁴ all have the step 2⁻²⁴, which is that of float32 next to 0.75.
            var normal = ((bits + Vector512.Create(0xFFFu) + ((bits >>> 13) & Vector512<uint>.One)) & Vector512.Create(~0x1FFFu)).AsSingle();
            var small = x + Vector512.Create(0.75f) - Vector512.Create(0.75f);
            var half = Vector512.ConditionalSelect(Vector512.LessThan(size, Vector512.Create(1f / (1 << 14))), small, normal);
            return Vector512.ConditionalSelect(Vector512.GreaterThanOrEqual(size, Vector512.Create(65520f)),
                Vector512.CopySign(Vector512.Create(float.PositiveInfinity), x), half);
        }
    }
}
