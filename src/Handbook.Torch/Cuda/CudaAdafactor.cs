using Handbook.Torch.Kernels;

namespace Handbook.Torch.Cuda;

/// <summary>What a step of Adafactor works on, in the memory of a device.</summary>
internal readonly unsafe struct CudaAdafactorArguments
{
    /// <summary>[rows, width], or [count]; float32, as all of these.</summary>
    public required float* Parameters { get; init; }

    public required float* Gradients { get; init; }

    /// <summary>R, [rows]; of a vector V, [count].</summary>
    public required float* RowState { get; init; }

    /// <summary>C, [width]; null for a vector.</summary>
    public required float* ColumnState { get; init; }

    /// <summary>The new parameters in bfloat16; null for nowhere.</summary>
    public BFloat16* Copy { get; init; }

    /// <summary>A number that gradients are multiplied by besides; null for 1.</summary>
    public float* Factor { get; init; }

    /// <summary>To work in: <see cref="CudaAdafactor.ScratchFloats"/> numbers.</summary>
    public required float* Scratch { get; init; }

    /// <summary>To work in: <see cref="CudaAdafactor.ScratchDoubles"/> numbers.</summary>
    public required double* Sums { get; init; }

    /// <summary>1 for a vector.</summary>
    public required long Rows { get; init; }

    public required int Width { get; init; }
}

/// <summary>Launches of <c>adafactor.cu</c>: the passes of one step, in their order.</summary>
/// <remarks>What a step computes is said at <see cref="AdafactorKernel"/>.</remarks>
internal static unsafe class CudaAdafactor
{
    private const string Program = "adafactor";
    private const int Threads = 256, Piece = 65536, MostPieces = 256, LeastRows = 32, NumberCount = 4;

    /// <summary>Numbers of float32 that a step works in.</summary>
    public static long ScratchFloats(long rows, int width) => checked(NumberCount + (1L + RowPieces(rows).Count) * width);

    /// <summary>Numbers of float64 that a step works in.</summary>
    public static long ScratchDoubles(long rows, int width) => 2 * CudaGrid.Blocks(checked(rows * width), Piece);

    /// <summary>All launches of a step of a matrix.</summary>
    public static CudaLaunch[] MatrixStep(AdafactorStep step, in CudaAdafactorArguments a, double gradientScale)
    {
        var (fresh, epsilon, scale) = Numbers(step, gradientScale);
        var (pieces, perPiece) = RowPieces(a.Rows);
        var program = CudaProgram.Of<float>(Program);
        float* columnFactor = a.Scratch + NumberCount, parts = columnFactor + a.Width;
        return
        [
            new(program, "adafactor_rows", new(a.Rows), Threads, [a.Gradients, a.RowState, a.Width, fresh, epsilon, scale, a.Factor]),
            new(program, "adafactor_column_parts", new(CudaGrid.Blocks(a.Width, Threads), pieces), Threads,
                [a.Gradients, parts, a.Rows, a.Width, perPiece, epsilon, scale, a.Factor]),
            new(program, "adafactor_columns", new(CudaGrid.Blocks(a.Width, Threads)), Threads,
                [parts, a.ColumnState, columnFactor, a.Rows, a.Width, pieces, fresh]),
            new(program, "adafactor_mean", new(1), Threads, [a.RowState, a.Rows, a.Scratch]),
            .. Finish(step, a, a.RowState, scale),
        ];
    }

    /// <summary>All launches of a step of a vector, which keeps its second moments in full.</summary>
    public static CudaLaunch[] VectorStep(AdafactorStep step, in CudaAdafactorArguments a, double gradientScale)
    {
        var (fresh, epsilon, scale) = Numbers(step, gradientScale);
        return
        [
            new(CudaProgram.Of<float>(Program), "adafactor_vector", new(CudaGrid.Blocks(a.Width, Threads)), Threads,
                [a.Gradients, a.RowState, a.Scratch + NumberCount, (long)a.Width, fresh, epsilon, scale, a.Factor]),
            .. Finish(step, a, null, scale),
        ];
    }

    private static CudaLaunch[] Finish(AdafactorStep step, in CudaAdafactorArguments a, float* rowState, float scale)
    {
        var count = checked(a.Rows * a.Width);
        var (program, blocks) = (CudaProgram.Of<float>(Program), CudaGrid.Blocks(count, Piece));
        float* numbers = a.Scratch, columnFactor = numbers + NumberCount;
        return
        [
            new(program, "adafactor_squares", new(blocks), Threads,
                [a.Parameters, a.Gradients, rowState, columnFactor, numbers, a.Sums, count, a.Width, scale, a.Factor]),
            new(program, "adafactor_numbers", new(1), Threads, [a.Sums, blocks, count, step.Rate, step.ClipThreshold, step.WeightDecay,
                step.ScaleParameter ? step.ParameterEpsilon : 0.0, numbers]),
            new(program, "adafactor_apply", new(CudaGrid.Blocks(count, Threads)), Threads,
                [a.Parameters, a.Gradients, rowState, columnFactor, numbers, CudaArgument.At(a.Copy), count, a.Width, scale, a.Factor]),
        ];
    }

    private static (float Fresh, float Epsilon, float Scale) Numbers(AdafactorStep step, double gradientScale) =>
        ((float)Math.Pow(step.Step, step.DecayRate), (float)step.Epsilon, (float)gradientScale);

    private static (int Count, int Rows) RowPieces(long rows)
    {
        var perPiece = Math.Max(LeastRows, CudaGrid.Blocks(rows, MostPieces));
        return ((int)CudaGrid.Blocks(rows, perPiece), checked((int)perPiece));
    }
}
