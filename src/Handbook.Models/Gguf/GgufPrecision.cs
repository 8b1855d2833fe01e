namespace Handbook.Models.Gguf;

/// <summary>What the weights of a GGUF file are stored as.</summary>
/// <remarks>Which matrices get more bits than most is what llama.cpp's own quantisation decides, so that files of a name are alike. Where
/// rows are no whole blocks, a matrix gets a format of smaller blocks that is not coarser.</remarks>
/// <param name="Name">As users write it.</param>
/// <param name="FileType">Its number in <c>general.file_type</c>.</param>
/// <param name="Matrices">The format of most matrices.</param>
/// <param name="Mixes">Whether some matrices have six bits, as the suffix m says.</param>
internal sealed record GgufPrecision(string Name, int FileType, BlockFormat Matrices, bool Mixes = false)
{
    /// <summary>Every precision that is written.</summary>
    public static IReadOnlyList<GgufPrecision> All { get; } =
    [
        new("f32", 0, BlockFormat.F32), new("f16", 1, BlockFormat.F16), new("bf16", 32, BlockFormat.BF16), new("q8_0", 7, BlockFormat.Q80),
        new("q6_k", 18, BlockFormat.Q6K), new("q5_k_m", 17, BlockFormat.Q5K, Mixes: true), new("q4_k_m", 15, BlockFormat.Q4K, Mixes: true),
        new("q4_0", 2, BlockFormat.Q40),
    ];

    /// <summary>Whether importances change anything.</summary>
    public bool Weighs => Matrices.Size > 1 && Matrices != BlockFormat.Q80;

    /// <summary>The format of one tensor.</summary>
    public BlockFormat FormatOf(MappedTensor tensor, GgufLayout layout, DecoderConfig config)
    {
        if (tensor.IsExact)
            return BlockFormat.F32;
        if (Matrices.Size == 1)
            return Matrices;
        var format = tensor.Name == GgufTensorMap.Head + ".weight" || config.TiedHead && tensor.Name == "token_embd.weight"
            ? HeadFormat(tensor, layout) : Mixes ? Mixed(tensor, layout, config) : Matrices;
        while (tensor.Columns % format.Size != 0)
            format = Smaller(format);
        return format;
    }

    private BlockFormat HeadFormat(MappedTensor tensor, GgufLayout layout) =>
        layout.Architecture == "falcon" || tensor.Columns % Matrices.Size != 0 || Matrices == BlockFormat.Q80 ? BlockFormat.Q80
            : BlockFormat.Q6K;

    private BlockFormat Mixed(MappedTensor tensor, GgufLayout layout, DecoderConfig config)
    {
        var words = tensor.Name.Split('.');
        if (words[0] != "blk")
            return Matrices;
        var (layer, part) = (int.Parse(words[1], System.Globalization.CultureInfo.InvariantCulture), words[2]);
        var eight = config.Experts?.Count == 8;
        var fine = HasMoreBits(layer, config.Layers);
        return part switch
        {
            "attn_v" or "attn_k" when eight => BlockFormat.Q80,
            "attn_v" or "attn_qkv" when fine => BlockFormat.Q6K,
            // of 70 billion weights, eight query heads share these
            "attn_v" when config.Layers == 80 && config.Heads != config.KeyValueHeads => BlockFormat.Q5K,
            "attn_output" when eight => BlockFormat.Q5K,
            "ffn_down" or "ffn_down_exps" when layout.Architecture == "falcon" => layer < config.Layers / 16 ? BlockFormat.Q6K
                : Matrices == BlockFormat.Q5K ? fine ? BlockFormat.Q6K : Matrices : fine ? BlockFormat.Q5K : Matrices,
            "ffn_down" or "ffn_down_exps" when fine => BlockFormat.Q6K,
            _ => Matrices,
        };
    }

    /// <summary>The first and the last eighth of the layers, and of the others each third.</summary>
    private static bool HasMoreBits(int layer, int layers) =>
        layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;

    private static BlockFormat Smaller(BlockFormat format) => format == BlockFormat.Q4K ? BlockFormat.Q50
        : format == BlockFormat.Q5K ? BlockFormat.Q51 : format == BlockFormat.Q6K ? BlockFormat.Q80 : BlockFormat.F16;
}
