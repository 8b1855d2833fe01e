using System.Runtime.Intrinsics.X86;

namespace Handbook.Torch.Kernels;

/// <summary>Many products side by side, as the experts of a layer make them: threads share them out by their work.</summary>
/// <remarks>
/// A library shares every product out over all threads and lets them wait for one another after each. Small products spend most of their
/// time so, and in bfloat16 each new shape is compiled first. Here a thread takes some columns of some products, so that all have as many
/// terms to sum, and computes them by itself, in the blocks of <see cref="BlockedProductKernel"/>, or by the processor's own product of
/// bfloat16 (<see cref="BlockProducts"/>) where that is the faster one. A sum is never cut, and its bits are those of its row and its
/// column alone.
/// </remarks>
internal static unsafe class GroupedProductKernel
{
    /// <summary>Pieces for each thread: one that is held up takes fewer.</summary>
    private const int PiecesOfThread = 4;

    /// <summary>Most of a result in bfloat16 whose sums are kept in float32 at a time.</summary>
    private const int RowsOfSums = 512, ColumnsOfSums = 384;

    /// <summary>Whether products of these element types are for this kernel, on a processor that it is made for.</summary>
    public static bool Suits(DType left, DType right, DType result) => Avx.IsSupported && Fma.IsSupported && (left, right, result) is
        (DType.Float32, DType.Float32 or DType.BFloat16, DType.Float32) or (DType.BFloat16, DType.BFloat16, DType.Float32 or DType.BFloat16)
        && (left != DType.BFloat16 || !Processor.HasTiles || BlockedProductKernel.IsForAll);

    /// <summary>Computes all of them; no result lies in another one.</summary>
    /// <param name="jobs">At least one row, term and column each; <see cref="ProductJob.IsWide"/> is the same of all.</param>
    public static void Run(ProductJob[] jobs, DType left, DType right)
    {
        if (left == DType.BFloat16 && BlockProducts.Native != null && Processor.MultipliesBFloat16 && !BlockedProductKernel.IsForAll)
            Run(jobs, new NativeColumns());
        else if (left == DType.BFloat16)
            Run(jobs, new BlockedColumns<BFloat16, BFloat16>());
        else if (right == DType.BFloat16)
            Run(jobs, new BlockedColumns<float, BFloat16>());
        else
            Run(jobs, new BlockedColumns<float, float>());
    }

    private static void Run<T>(ProductJob[] jobs, T columns) where T : struct, IColumns
    {
        var cuts = Cuts(jobs, T.Unit, ThreadTeam.Threads == 1 ? 1 : ThreadTeam.Threads * PiecesOfThread);
        fixed (ProductJob* all = jobs)
        fixed (Cut* from = cuts)
            ThreadTeam.Run(cuts.Length - 1, new Body<T> { Jobs = all, Cuts = from, Columns = columns });
    }

    /// <summary>Where a piece begins: a product, and a column of it.</summary>
    private readonly record struct Cut(int Job, int Column);

    /// <summary>The beginnings of pieces of about the same work, and the end of the last one.</summary>
    /// <param name="unit">Columns that stay together.</param>
    private static Cut[] Cuts(ProductJob[] jobs, int unit, int pieces)
    {
        var total = jobs.Sum(job => Cost(job) * Units(job));
        var (cuts, done) = (new List<Cut> { new(0, 0) }, 0.0);
        for (var j = 0; j < jobs.Length; j++)
            for (int at = 0, units = Units(jobs[j]); at < units;)
            {
                var cost = Cost(jobs[j]);
                var some = Math.Clamp((int)Math.Round((total * cuts.Count / pieces - done) / cost), 0, units - at);
                if (some == units - at - 1 || cuts[^1] == new Cut(j, (at + some) * unit))
                    some++;                     // one alone would cost the copies of the left side once more; none is no piece
                (at, done) = (at + some, done + some * cost);
                if (at < units)
                    cuts.Add(new(j, at * unit));
            }
        cuts.Add(new(jobs.Length, 0));
        return [.. cuts];

        int Units(in ProductJob job) => (job.Columns + unit - 1) / unit;

        // beside the sums themselves the copy of the right side
        static double Cost(in ProductJob job) => (double)job.Terms * (job.Rows + 8);
    }

    /// <summary>Computes some columns of a product on one thread.</summary>
    private interface IColumns
    {
        static abstract int Unit { get; }

        void Compute(ProductJob* job, int first, int last);
    }

    private struct Body<T> : IParallelBody where T : struct, IColumns
    {
        public ProductJob* Jobs;
        public Cut* Cuts;
        public T Columns;

        public readonly void Invoke(int index)
        {
            var (from, to) = (Cuts[index], Cuts[index + 1]);
            for (var j = from.Job; j < to.Job || j == to.Job && to.Column > 0; j++)
                Columns.Compute(Jobs + j, j == from.Job ? from.Column : 0, j == to.Job ? to.Column : Jobs[j].Columns);
        }
    }

    private readonly struct NativeColumns : IColumns
    {
        public static int Unit => BlockProducts.Columns;

        public void Compute(ProductJob* job, int first, int last) => BlockProducts.Native(job, first, last);
    }

    private readonly struct BlockedColumns<TLeft, TRight> : IColumns where TLeft : unmanaged where TRight : unmanaged
    {
        public static int Unit => ProductTiles.Columns;

        public void Compute(ProductJob* job, int first, int last)
        {
            if (!job->IsWide)
            {
                Round(job, first, last);
                return;
            }
            var own = *job;
            if (job->Bias != null)
            {
                for (var i = 0; i < job->Rows; i++)
                    new ReadOnlySpan<float>(job->Bias + first, last - first).CopyTo(
                        new((float*)job->Result + i * job->ResultRow + first, last - first));
                own.Add = true;
            }
            new BlockedProductKernel.Blocks<TLeft, TRight>(own).Sum(0, job->Rows, first, last);
        }

        /// <summary>Sums in float32, rounded once they are whole.</summary>
        private static void Round(ProductJob* job, int first, int last)
        {
            var sums = Scratch.Get<float>(Scratch.Slot.Sums, (long)Math.Min(RowsOfSums, job->Rows) * Math.Min(ColumnsOfSums, last - first));
            for (var column = first; column < last; column += ColumnsOfSums)
                for (var row = 0; row < job->Rows; row += RowsOfSums)
                {
                    var (rows, width) = (Math.Min(RowsOfSums, job->Rows - row), Math.Min(ColumnsOfSums, last - column));
                    var part = *job;
                    part.Left = (TLeft*)job->Left + row * job->LeftRow;
                    part.Right = (TRight*)job->Right + column * job->RightColumn;
                    part.Result = sums;
                    (part.Rows, part.Columns, part.ResultRow) = (rows, width, width);
                    new BlockedProductKernel.Blocks<TLeft, TRight>(part).Sum(0, rows, 0, width);
                    ElementwiseKernel.ConvertRowsHere(sums, width, (BFloat16*)job->Result + row * job->ResultRow + column, job->ResultRow,
                        rows, width, job->Bias == null ? null : job->Bias + column);
                }
        }
    }
}
