using Handbook.Models.Files;

namespace Handbook.Models.Gguf;

/// <summary>What the weights of a GGUF file are stored as.</summary>
/// <param name="Name">As users write it.</param>
/// <param name="FileType">Its number in <c>general.file_type</c>.</param>
/// <param name="Matrices">The format of most matrices.</param>
internal sealed record GgufPrecision(string Name, int FileType, BlockFormat Matrices)
{
    /// <summary>Every precision that is written.</summary>
    public static IReadOnlyList<GgufPrecision> All { get; } =
    [
        new("f32", 0, BlockFormat.F32), new("f16", 1, BlockFormat.F16), new("bf16", 32, BlockFormat.BF16), new("q8_0", 7, BlockFormat.Q80),
        new("q4_0", 2, BlockFormat.Q40),
    ];

    /// <summary>The format of one tensor.</summary>
    public BlockFormat FormatOf(MappedTensor tensor)
    {
        if (tensor.IsExact)
            return BlockFormat.F32;
        var format = Matrices;
        return tensor.Columns % format.Size == 0 ? format : BlockFormat.F16;
    }
}
