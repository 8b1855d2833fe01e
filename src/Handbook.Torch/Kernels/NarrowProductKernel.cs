using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace Handbook.Torch.Kernels;

/// <summary>Products of float32 matrices one of whose three sizes is small, as those with a low-rank factor are.</summary>
/// <remarks>
/// A BLAS packs both operands before it multiplies, which costs as much as so narrow a product itself, and shares the work out across the
/// narrow side. Here the wide operand is read where it lies, once:
/// <code>
/// few terms           y = low · Bᵀ,  dx = dlow · A
/// few columns         low = x · Aᵀ,  dlow = dy · B
/// few rows            dA = dlowᵀ · x
/// few columns of a
/// turned left side    dB = dyᵀ · low, as (lowᵀ · dy)ᵀ
/// </code>
/// A sum is taken in the order of its terms, so its bits do not depend on the number of threads.
/// </remarks>
internal static unsafe class NarrowProductKernel
{
    /// <summary>Most of the small size.</summary>
    public const int Most = 64;

    /// <summary>Least of the two other sizes, from which on this way is the faster one.</summary>
    private const int Fewest = 128;

    /// <summary>Terms of sums over tokens that are taken together: a tile's columns of so many rows stay in the cache.</summary>
    private const int TermsAtOnce = 256;

    /// <summary>Rows of the result in one piece.</summary>
    private const int RowsOfPiece = 96;

    /// <summary>Whether a product is of a shape that this kernel is for, on a processor that it is made for.</summary>
    public static bool Suits(Tensor left, Tensor right) =>
        Avx.IsSupported && Fma.IsSupported && left.DType == DType.Float32 && right.DType == DType.Float32 && left.Device.IsCpu
        && Form(left, right) is not null;

    /// <summary>result (+)= left · right.</summary>
    /// <param name="result">Its rows without gaps.</param>
    public static void Multiply(Tensor left, Tensor right, Tensor result, bool add)
    {
        using var scope = TensorScope.Enter();
        var job = new Body
        {
            P = left.Pointer<float>(),
            PRow = (nint)left.Stride(0),
            PTerm = (nint)left.Stride(1),
            Rows = (int)left.Size(0),
            Terms = (int)left.Size(1),
            Result = result.Pointer<float>(),
            Stride = (nint)result.Stride(0),
            Columns = (int)right.Size(1),
            Add = add,
            Shape = Form(left, right)!.Value,
        };
        if (job.Shape is Narrow.Terms or Narrow.Columns)
        {
            var width = job.Width = ProductTiles.Width(job.Columns);
            if (right.Stride(1) == 1 && job.Columns % ProductTiles.Unit == 0)
            {
                job.Q = right.Pointer<float>();
                (job.QStride, job.QPanel) = ((nint)right.Stride(0), width);
            }
            else
            {
                var panels = (job.Columns + width - 1) / width;
                job.Q = Tensor.Empty(DType.Float32, Device.Cpu, panels, job.Terms, width).Pointer<float>();
                (job.QStride, job.QPanel) = (width, (nint)job.Terms * width);
                ThreadTeam.Run(panels, new PanelBody
                {
                    Source = right.Pointer<float>(),
                    Row = (nint)right.Stride(0),
                    Column = (nint)right.Stride(1),
                    Rows = job.Terms,
                    Columns = job.Columns,
                    Width = width,
                    Panels = job.Q,
                });
            }
            ThreadTeam.Run((job.Rows + RowsOfPiece - 1) / RowsOfPiece, job);
            return;
        }
        if (job.Shape == Narrow.Rows)
        {
            job.Q = right.Pointer<float>();
            job.QStride = (nint)right.Stride(0);
        }
        else
        {
            job.Q = job.P;
            job.P = right.Pointer<float>();
            (job.QStride, job.PRow, job.PTerm) = (job.PTerm, (nint)right.Stride(1), (nint)right.Stride(0));
            (job.Rows, job.Columns) = (job.Columns, job.Rows);
        }
        ThreadTeam.Run((job.Columns + ProductTiles.Columns - 1) / ProductTiles.Columns, job);
    }

    private enum Narrow
    {
        Terms,
        Columns,
        Rows,
        Turned,
    }

    private static Narrow? Form(Tensor left, Tensor right)
    {
        long rows = left.Size(0), terms = left.Size(1), columns = right.Size(1);
        var (isTurned, isRow) = (left.Stride(1) != 1 && left.Stride(0) == 1, right.Stride(1) == 1);
        if (terms is >= 4 and <= Most)
            return rows >= Fewest && columns >= Fewest && columns % ProductTiles.Unit == 0 ? Narrow.Terms : null;
        if (terms < Fewest)
            return null;
        if (columns is >= 4 and <= Most && rows >= Fewest)
            return !isTurned ? Narrow.Columns : isRow && rows % ProductTiles.Unit == 0 ? Narrow.Turned : null;
        return rows is >= 4 and <= Most && columns >= Fewest && isRow && columns % ProductTiles.Unit == 0 ? Narrow.Rows : null;
    }

    /// <summary>The columns that a tile has, of all rows of a matrix.</summary>
    private struct PanelBody : IParallelBody
    {
        public float* Source, Panels;
        public nint Row, Column;
        public int Rows, Columns, Width;

        public readonly void Invoke(int index) => ProductPanels.Copy(Source + index * Width * Column, Row, Column, Rows,
            Math.Min(Width, Columns - index * Width), Width, Panels + (nint)index * Width * Rows);
    }

    /// <summary>Some rows of the result, where its terms or columns are few; else some columns.</summary>
    private struct Body : IParallelBody
    {
        public float* P, Q, Result;
        public nint PRow, PTerm, QStride, QPanel, Stride;
        public int Rows, Terms, Columns, Width;
        public bool Add;
        public Narrow Shape;

        public readonly void Invoke(int index)
        {
            if (Shape is Narrow.Terms or Narrow.Columns)
                SomeRows(index * RowsOfPiece, Math.Min(Rows, (index + 1) * RowsOfPiece));
            else if (Shape == Narrow.Rows)
                SomeColumns(index * ProductTiles.Columns);
            else
                SomeTurned(index * ProductTiles.Columns);
        }

        [SkipLocalsInit]
        private readonly void SomeRows(int from, int to)
        {
            var rest = stackalloc float[ProductTiles.Elements];
            var whole = Columns / Width;
            for (var i = from; i < to; i += ProductTiles.Rows)
            {
                var (p, rows) = (i * PRow, Math.Min(ProductTiles.Rows, to - i));
                var result = Result + i * Stride;
                if (rows == ProductTiles.Rows && whole > 0)
                    ProductTiles.Sum(P + p, PRow, PTerm, rows, Q, QStride, Width, Terms, result, Stride, Add, whole, QPanel);
                for (var j = rows == ProductTiles.Rows ? whole : 0; j * Width < Columns; j++)
                    ProductTiles.SumSome(P + p, PRow, PTerm, rows, Q + j * QPanel, QStride, Math.Min(Width, Columns - j * Width), Terms,
                        result + j * Width, Stride, Add, rest);
            }
        }

        private readonly void SomeColumns(int from) => Sums(from, Result + from, Stride, Add);

        [SkipLocalsInit]
        private readonly void SomeTurned(int from)
        {
            nint width = ProductTiles.Columns;
            var sums = stackalloc float[Most * 3 * ProductTiles.Unit];
            Sums(from, sums, width, add: false);
            for (var j = 0; j < Math.Min(width, Columns - from); j++)
            {
                var target = Result + (from + j) * Stride;
                for (var i = 0; i < Rows; i++)
                    target[i] = sums[i * width + j] + (Add ? target[i] : 0);
            }
        }

        /// <summary>A tile's columns of all rows.</summary>
        [SkipLocalsInit]
        private readonly void Sums(int from, float* result, nint stride, bool add)
        {
            var rest = stackalloc float[ProductTiles.Elements];
            var (height, count) = (ProductTiles.Rows, Math.Min(ProductTiles.Columns, Columns - from));
            for (var t = 0; t < Terms; t += TermsAtOnce)
            {
                var terms = Math.Min(TermsAtOnce, Terms - t);
                for (var i = 0; i < Rows; i += height)
                    ProductTiles.SumSome(P + i * PRow + t * PTerm, PRow, PTerm, Math.Min(height, Rows - i), Q + t * QStride + from, QStride,
                        count, terms, result + i * stride, stride, add || t > 0, rest);
            }
        }
    }
}
