using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using Handbook.Models.Files;
using Handbook.Torch;
using Handbook.Torch.Quantised;

namespace Handbook.Models.Quantised;

/// <summary>How a quantised matrix lies in a file that bitsandbytes wrote (transformers 5.12).</summary>
/// <remarks>
/// <code>
/// four bits:   X.weight U8 [⌈n/2⌉, 1]   X.weight.absmax   X.weight.quant_map [16]   X.weight.quant_state.bitsandbytes__nf4 (JSON)
///              double: absmax is U8;   X.weight.nested_absmax   X.weight.nested_quant_map [256]
/// int8:        X.weight I8 [out, in]    X.SCB [out]       X.weight_format U8 []
/// </code>
/// </remarks>
internal static class BitsAndBytesLayout
{
    /// <summary>What the names of its tensors end with.</summary>
    public static IReadOnlyList<string> Endings { get; } = [".weight", ".weight.absmax", ".weight.quant_map", ".weight.nested_absmax",
        ".weight.nested_quant_map", State("nf4"), State("fp4"), ".SCB", ".weight_format"];

    /// <summary>What the name of a state ends with.</summary>
    public static string State(string kind) => $".weight.quant_state.bitsandbytes__{kind}";

    /// <param name="name">The published name, which ends with <c>.weight</c>.</param>
    /// <param name="matrix">The codes; they must live until they are saved.</param>
    /// <param name="type">Element type of the values that were quantised.</param>
    public static IReadOnlyList<TensorToSave> Tensors(string name, CodedMatrix matrix, DType type)
    {
        var prefix = name[..^".weight".Length];
        var format = matrix.Format;
        if (format.Kind == QuantisedKind.Int8)
            return [Of(name, matrix.Codes, matrix.Rows, matrix.Columns), Of(prefix + ".SCB", matrix.Scales, matrix.Rows),
                new(new(prefix + ".weight_format", DType.UInt8, []), stream => stream.WriteByte(0))];
        var book = format.Kind == QuantisedKind.Nf4 ? CodeBook.Nf4 : CodeBook.Fp4;
        var state = Encoding.UTF8.GetBytes(StateOf(matrix, type));
        return [Of(name, matrix.Codes, matrix.Codes.Count, 1), Of(name + ".absmax", matrix.Scales, matrix.Scales.Count),
            TensorToSave.From(name + ".quant_map", book.Values, book.Values.Length),
            new(new(prefix + State(format.Name), DType.UInt8, [state.Length]), stream => stream.Write(state)),
            .. format.Double ? (TensorToSave[])[Of(name + ".nested_absmax", matrix.NestedScales!, matrix.NestedScales!.Count),
                TensorToSave.From(name + ".nested_quant_map", CodeBook.Dynamic.Values, CodeBook.Dynamic.Values.Length)] : []];
    }

    /// <summary>The value of <c>quantization_config</c> in config.json.</summary>
    /// <param name="compute">Element type of products, for whoever opens it.</param>
    public static JsonObject Config(QuantisedFormat format, DType compute) => new()
    {
        ["_load_in_4bit"] = format.Kind != QuantisedKind.Int8,
        ["_load_in_8bit"] = format.Kind == QuantisedKind.Int8,
        ["bnb_4bit_compute_dtype"] = Name(compute),
        ["bnb_4bit_quant_storage"] = "uint8",
        ["bnb_4bit_quant_type"] = format.Kind == QuantisedKind.Nf4 ? "nf4" : "fp4",
        ["bnb_4bit_use_double_quant"] = format.Double,
        ["llm_int8_enable_fp32_cpu_offload"] = false,
        ["llm_int8_has_fp16_weight"] = false,
        ["llm_int8_skip_modules"] = null,
        ["llm_int8_threshold"] = JsonNode.Parse("6.0"),         // the Python library refuses a 6 that is no float
        ["load_in_4bit"] = format.Kind != QuantisedKind.Int8,
        ["load_in_8bit"] = format.Kind == QuantisedKind.Int8,
        ["quant_method"] = "bitsandbytes",
    };

    private static string StateOf(CodedMatrix matrix, DType type)
    {
        var nested = matrix.Format.Double
            ? $", \"nested_blocksize\": {QuantisedFormat.NestedBlockSize}, \"nested_dtype\": \"float32\", \"nested_offset\": "
                + ((double)matrix.Offset).ToString("R", CultureInfo.InvariantCulture).Replace('E', 'e')
            : "";
        return $"{{\"quant_type\": \"{matrix.Format.Name}\", \"blocksize\": {matrix.BlockSize}, \"dtype\": \"{Name(type)}\", "
            + $"\"shape\": [{matrix.Rows}, {matrix.Columns}]{nested}}}";
    }

    private static string Name(DType type) => type switch
    {
        DType.BFloat16 => "bfloat16",
        DType.Float16 => "float16",
        _ => "float32",
    };

    private static TensorToSave Of(string name, Tensor tensor, params long[] shape) =>
        TensorToSave.From(new TensorData(new(name, tensor.DType, [.. shape]), TensorKeeper.Address(tensor), new TensorKeeper(tensor)));
}
