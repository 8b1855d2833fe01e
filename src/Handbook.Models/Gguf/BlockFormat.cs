using Handbook.Models.Gguf.Blocks;

namespace Handbook.Models.Gguf;

/// <summary>How the elements of a tensor are stored in a GGUF file: blocks of a fixed number of elements in a fixed number of
/// bytes.</summary>
/// <remarks>Bit layouts and formulas are those of ggml, so that llama.cpp computes with the same numbers.</remarks>
/// <param name="code">Its number in the file.</param>
/// <param name="name">The name under which it is known.</param>
/// <param name="size">Elements of a block; rows are whole blocks.</param>
/// <param name="bytes">Bytes of a block.</param>
internal abstract class BlockFormat(int code, string name, int size, int bytes)
{
    public static BlockFormat F32 { get; } = new PlainFloats(0, "f32", Torch.DType.Float32);

    public static BlockFormat F16 { get; } = new PlainFloats(1, "f16", Torch.DType.Float16);

    public static BlockFormat BF16 { get; } = new PlainFloats(30, "bf16", Torch.DType.BFloat16);

    public static BlockFormat Q80 { get; } = new Q8_0();

    public static BlockFormat Q40 { get; } = new SmallBlocks(2, "q4_0", bits: 4, hasMin: false);

    public static BlockFormat Q50 { get; } = new SmallBlocks(6, "q5_0", bits: 5, hasMin: false);

    public static BlockFormat Q51 { get; } = new SmallBlocks(7, "q5_1", bits: 5, hasMin: true);

    public static BlockFormat Q4K { get; } = new AffineSuperBlocks(12, "q4_K", bits: 4, (-1, 0.1f, 20));

    public static BlockFormat Q5K { get; } = new AffineSuperBlocks(13, "q5_K", bits: 5, (-0.5f, 0.1f, 15));

    public static BlockFormat Q6K { get; } = new Q6_K();

    /// <summary>Every format that is read.</summary>
    public static IReadOnlyList<BlockFormat> All { get; } = [F32, F16, BF16, Q80, Q40, new SmallBlocks(3, "q4_1", bits: 4, hasMin: true),
        Q50, Q51, new FewBits(10, "q2_K", bits: 2), new FewBits(11, "q3_K", bits: 3), Q4K, Q5K, Q6K, new Iq4Nl(), new Iq4Xs(), new MxFp4()];

    private static readonly string[] _names = ["f32", "f16", "q4_0", "q4_1", "", "", "q5_0", "q5_1", "q8_0", "q8_1", "q2_K", "q3_K", "q4_K",
        "q5_K", "q6_K", "q8_K", "iq2_xxs", "iq2_xs", "iq3_xxs", "iq1_s", "iq4_nl", "iq3_s", "iq2_s", "iq4_xs", "i8", "i16", "i32", "i64",
        "f64", "iq1_m", "bf16", "", "", "", "tq1_0", "tq2_0", "", "", "", "mxfp4"];

    public int Code => code;

    public string Name => name;

    public int Size => size;

    public int Bytes => bytes;

    /// <summary>Bits of an element, all that belongs to its block counted.</summary>
    public double Bits => 8.0 * bytes / size;

    /// <summary>The format of a number in the file; null where it is not read.</summary>
    public static BlockFormat? Of(int code) => All.FirstOrDefault(format => format.Code == code);

    /// <summary>The name of a format, read or not.</summary>
    public static string NameOf(int code) => code >= 0 && code < _names.Length && _names[code].Length > 0 ? _names[code] : $"type {code}";

    /// <param name="from">Whole blocks.</param>
    /// <param name="to">Room for their elements.</param>
    public abstract void Decode(ReadOnlySpan<byte> from, Span<float> to);

    /// <param name="from">A row: whole blocks of elements.</param>
    /// <param name="importance">How much the error of each element counts; empty where all count alike.</param>
    /// <param name="to">Room for the row's blocks.</param>
    public abstract void Encode(ReadOnlySpan<float> from, ReadOnlySpan<float> importance, Span<byte> to);

    public override string ToString() => name;
}
