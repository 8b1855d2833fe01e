using System.Buffers;
using Handbook.Models.Files;
using Handbook.Torch;

namespace Handbook.Models;

/// <summary>Moves the rows of a <see cref="ParameterPart"/> between the published tensor and our parameter, converting and
/// transposing on the way.</summary>
internal static unsafe class PartCopy
{
    // Published rows handled together when transposing: each of our rows then gets this many neighbours at once.
    private const int Block = 16;

    /// <param name="published">The whole published tensor.</param>
    /// <param name="columns">Columns of our parameter; 1 for a vector.</param>
    /// <param name="ours">Our whole parameter, of type <paramref name="dtype"/>.</param>
    public static void ToOurs(TensorData published, ParameterPart part, long columns, DType dtype, nint ours)
    {
        var from = published.Info.DType;
        var target = (byte*)ours + part.Start * columns * dtype.Size;
        var source = (byte*)published.Pointer + part.Offset * from.Size;
        if (part.ColumnStep > 1)
        {
            fixed (byte* staged = new byte[part.Rows * columns * from.Size])
            {
                for (var r = 0L; r < part.Rows; r++)
                    Transpose(source + Place(part, r) * from.Size, 0, part.ColumnStep, staged + r * columns * from.Size, 0, 1, 1, columns,
                        from.Size);
                Convert(staged, from, target, dtype, part.Rows * columns);
            }
            return;
        }
        if (!part.Transposed)
        {
            var (together, times) = part.Step == 1 ? (part.Rows, 1L) : (1L, part.Rows);
            for (var r = 0L; r < times; r++)
                Convert(source + (part.PublishedStart + r * part.Step) * columns * from.Size, from, target + r * columns * dtype.Size, dtype,
                    together * columns);
            return;
        }
        // Published [columns, width]: our row r is its column PublishedStart + r · Step.
        var width = part.MatrixRows;
        var span = checked((int)((part.Rows - 1) * part.Step + 1));
        var block = ArrayPool<byte>.Shared.Rent(checked(Block * span * dtype.Size));
        fixed (byte* staged = block)
            for (var c = 0L; c < columns; c += Block)
            {
                var count = (int)Math.Min(Block, columns - c);
                for (var k = 0; k < count; k++)
                    Convert(source + ((c + k) * width + part.PublishedStart) * from.Size, from, staged + (long)k * span * dtype.Size, dtype,
                        span);
                Transpose(staged, span, part.Step, target + c * dtype.Size, 1, columns, count, part.Rows, dtype.Size);
            }
        ArrayPool<byte>.Shared.Return(block);
    }

    /// <summary>The opposite way: the rows of ours into the published tensor's memory.</summary>
    public static void ToPublished(TensorData ours, ParameterPart part, long columns, DType dtype, nint published)
    {
        var from = ours.Info.DType;
        var source = (byte*)ours.Pointer + part.Start * columns * from.Size;
        var target = (byte*)published + part.Offset * dtype.Size;
        if (part.ColumnStep > 1)
        {
            fixed (byte* staged = new byte[part.Rows * columns * dtype.Size])
            {
                Convert(source, from, staged, dtype, part.Rows * columns);
                for (var r = 0L; r < part.Rows; r++)
                    Transpose(staged + r * columns * dtype.Size, 0, 1, target + Place(part, r) * dtype.Size, 0, part.ColumnStep, 1,
                        columns, dtype.Size);
            }
            return;
        }
        if (!part.Transposed)
        {
            var (together, times) = part.Step == 1 ? (part.Rows, 1L) : (1L, part.Rows);
            for (var r = 0L; r < times; r++)
                Convert(source + r * columns * from.Size, from, target + (part.PublishedStart + r * part.Step) * columns * dtype.Size, dtype,
                    together * columns);
            return;
        }
        var width = part.MatrixRows;
        var row = ArrayPool<byte>.Shared.Rent(checked((int)(Block * columns * dtype.Size)));
        fixed (byte* staged = row)
            for (var r = 0L; r < part.Rows; r += Block)
            {
                var count = (int)Math.Min(Block, part.Rows - r);
                for (var k = 0; k < count; k++)
                    Convert(source + (r + k) * columns * from.Size, from, staged + k * columns * dtype.Size, dtype, columns);
                Transpose(staged, columns, 1, target + (part.PublishedStart + r * part.Step) * dtype.Size, part.Step, width, count, columns,
                    dtype.Size);
            }
        ArrayPool<byte>.Shared.Return(row);
    }

    /// <summary>The first element of one of our rows in a published matrix whose columns take turns.</summary>
    private static long Place(ParameterPart part, long row) => (part.PublishedStart + row * part.Step) * part.MatrixShape[1]
        + part.ColumnStart;

    /// <summary>destination[j, i] = source[i, j] for i &lt; count, j &lt; length; the strides of i and j count elements.</summary>
    private static void Transpose(byte* source, long si, long sj, byte* destination, long di, long dj, int count, long length, int size)
    {
        for (var j = 0L; j < length; j++)
            for (var i = 0; i < count; i++)
            {
                var from = source + (i * si + j * sj) * size;
                var to = destination + (i * di + j * dj) * size;
                if (size == 4)
                    *(uint*)to = *(uint*)from;
                else if (size == 2)
                    *(ushort*)to = *(ushort*)from;
                else
                    *(ulong*)to = *(ulong*)from;
            }
    }

    private static void Convert(byte* source, DType from, byte* destination, DType to, long count)
    {
        const long chunk = 1 << 20;
        for (var i = 0L; i < count; i += chunk)
        {
            var part = (int)Math.Min(chunk, count - i);
            ElementConversion.Convert(new(source + i * from.Size, part * from.Size), from,
                new(destination + i * to.Size, part * to.Size), to);
        }
    }
}
