using Handbook.Torch.Quantised;

namespace Handbook.Torch.Cuda;

/// <summary>A matrix as codes, in the memory of a device; see <see cref="CodedMatrix"/>.</summary>
internal readonly unsafe struct CudaCodes
{
    public required byte* Codes { get; init; }

    /// <summary>Null where the scales are codes.</summary>
    public required float* Scales { get; init; }

    public byte* ScaleCodes { get; init; }

    public float* NestedScales { get; init; }

    public float Offset { get; init; }

    /// <summary>The sixteen values of codes, behind them the 256 of codes of scales; not for int8.</summary>
    public float* Book { get; init; }

    public required long Columns { get; init; }

    public int BlockSize { get; init; }
}

/// <summary>Launches of <c>quantised.cu</c>: to codes, from codes, and products with few rows.</summary>
internal static unsafe class CudaQuantised
{
    /// <summary>Rows of x that a product takes.</summary>
    public const int MostRows = 8;

    private const string Program = "quantised";
    private const int Threads = 128, PerThread = 8, WarpSize = 32, RowThreads = 256;

    /// <summary>Values of four bits a code: columns column … of rows row …</summary>
    public static CudaLaunch FourBitValues<T>(CudaCodes m, long row, long rows, long column, int columns, T* y) where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "four_bit_values", new(rows, CudaGrid.Blocks(columns, Threads * PerThread)), Threads,
            [m.Codes, m.Scales, m.ScaleCodes, m.NestedScales, m.Book, m.Offset, m.BlockSize, m.Columns, row, column, CudaArgument.At(y),
                columns]);

    /// <summary>Values of int8; without scales the codes themselves.</summary>
    public static CudaLaunch Int8Values<T>(CudaCodes m, long row, long rows, long column, int columns, T* y) where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "int8_values", new(rows, CudaGrid.Blocks(columns, Threads * PerThread)), Threads,
            [(sbyte*)m.Codes, m.Scales, m.Columns, row, column, CudaArgument.At(y), columns]);

    /// <param name="middles">Borders between the codes, ascending; [15].</param>
    /// <param name="order">The codes in the order of their values; [16].</param>
    /// <param name="codes">⌈count / 2⌉ bytes.</param>
    /// <param name="scales">One for 64 values.</param>
    public static CudaLaunch QuantiseFourBits<T>(T* values, long count, float* middles, byte* order, byte* codes, float* scales)
        where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "quantise_four_bits",
            new(CudaGrid.Blocks(CudaGrid.Blocks(count, QuantisedFormat.BlockSize), Threads / WarpSize)), Threads,
            [CudaArgument.At(values), count, middles, order, codes, scales]);

    public static CudaLaunch QuantiseInt8<T>(T* values, long rows, long columns, sbyte* codes, float* scales) where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "quantise_int8", new(rows), RowThreads, [CudaArgument.At(values), columns, codes, scales]);

    /// <summary>y = x · Wᵀ + b for up to <see cref="MostRows"/> rows.</summary>
    /// <param name="x">[rows, in].</param>
    /// <param name="bias">[out]; null for none.</param>
    /// <param name="y">[rows, out].</param>
    public static CudaLaunch FourBitProduct<T>(CudaCodes m, T* x, float* bias, T* y, int rows, long outputs) where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "four_bit_product", new(CudaGrid.Blocks(outputs, Threads / WarpSize)), Threads,
            [CudaArgument.At(x), m.Codes, m.Scales, m.ScaleCodes, m.NestedScales, m.Book, m.Offset, m.BlockSize, bias, CudaArgument.At(y),
                Few(rows), m.Columns, outputs]);

    /// <summary>The same with int8.</summary>
    public static CudaLaunch Int8Product<T>(CudaCodes m, T* x, float* bias, T* y, int rows, long outputs) where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "int8_product", new(CudaGrid.Blocks(outputs, Threads / WarpSize)), Threads,
            [CudaArgument.At(x), (sbyte*)m.Codes, m.Scales, bias, CudaArgument.At(y), Few(rows), m.Columns, outputs]);

    private static int Few(int rows) => rows is >= 1 and <= MostRows ? rows
        : throw new ArgumentOutOfRangeException(nameof(rows), rows, $"a product with codes takes 1 to {MostRows} rows");
}
