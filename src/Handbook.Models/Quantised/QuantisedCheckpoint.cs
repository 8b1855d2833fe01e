using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Models.Files;
using Handbook.Torch;
using Handbook.Torch.Quantised;

namespace Handbook.Models.Quantised;

/// <summary>Finds the weights that a checkpoint stores as codes with scales beside them, and refuses by name what is not known: without its
/// scales a code is another number.</summary>
internal static class QuantisedCheckpoint
{
    /// <summary>What the tensors of each way of storing end with, beside those of plain weights. Those that
    /// tell most stand first.</summary>
    private static readonly (string Ending, string Kind)[] s_marks =
    [
        (".quant_state.bitsandbytes__nf4", "bitsandbytes, 4-bit nf4"),
        (".quant_state.bitsandbytes__fp4", "bitsandbytes, 4-bit fp4"),
        (".absmax", "bitsandbytes, 4-bit"),
        (".quant_map", "bitsandbytes, 4-bit"),
        (".SCB", "bitsandbytes, 8-bit"),
        (".g_idx", "GPTQ"),
        (".qweight", "AWQ or GPTQ"),
        (".weight_packed", "compressed-tensors, packed"),
        (".weight_scale_inv", "float8 in blocks"),
        (".weight_zero_point", "compressed-tensors"),
        (".weight_scale", "float8 or int8 with scales"),
        (".input_scale", "float8 with scales"),
        (".act_scale", "float8 with scales"),
        (".weight._scale", "quanto"),
        (".weight._data", "quanto"),
        (".weight_scales", "EETQ"),
        (".W_q", "HQQ"),
        (".codebooks", "AQLM"),
        ("_proj_blocks", "mxfp4"),
        (".qscales", "int8 with scales"),
        (".scales", "codes with scales"),
    ];

    /// <summary>The weights that are codes, by their names in the file; empty where the checkpoint is a plain one.</summary>
    /// <param name="files">The weights.</param>
    /// <param name="config">The model's own.</param>
    /// <exception cref="InputException">They are stored in a way that is not known, or broken; it names the kind and the first
    /// tensor.</exception>
    public static IReadOnlyDictionary<string, QuantisedTensor> Find(WeightFiles files, PublishedConfig config)
    {
        var found = Read(files, config.Decoder.DType, Section(config.Json));
        var used = found.Values.SelectMany(tensor => tensor.Names).ToHashSet();
        RefuseUnknown(files, config.Json, [.. files.Names.Where(name => !used.Contains(name))], found.Count > 0);
        return found;
    }

    /// <summary>The weights that are codes of a known kind; others are passed by.</summary>
    /// <param name="type">The model's element type, which values that are not multiplied as codes take.</param>
    /// <param name="config">The section of config.json on quantisation; null where there is none.</param>
    internal static Dictionary<string, QuantisedTensor> Read(WeightFiles files, DType? type, JsonObject? config = null)
    {
        var found = new Dictionary<string, QuantisedTensor>();
        foreach (var name in files.Names)
            if (TensorOf(files, name, type is DType.Float32 or DType.Float16 ? type.Value : DType.BFloat16, config) is { } tensor)
                found.Add(tensor.Name, tensor);
        return found;
    }

    /// <summary>The matrix that a tensor says most of; null where it says nothing.</summary>
    private static QuantisedTensor? TensorOf(WeightFiles files, string name, DType type, JsonObject? config)
    {
        if (Prefix(BitsAndBytesLayout.State("nf4")) is { } nf4)
            return BitsAndBytesTensor.FourBit(files, nf4, QuantisedKind.Nf4);
        if (Prefix(BitsAndBytesLayout.State("fp4")) is { } fp4)
            return BitsAndBytesTensor.FourBit(files, fp4, QuantisedKind.Fp4);
        if (Prefix(".SCB") is { } rows && files.Has(rows + ".weight"))
            return BitsAndBytesTensor.Int8(files, rows);
        if (Prefix(".qweight") is { } packed)
            return Packed(files, packed, config, type);
        if (Prefix(BlockFloatTensor.Ending) is { } blocks)
            return BlockFloatTensor.Of(files, blocks, type);
        if (Prefix(".weight") is null || !IsEight(files, name))
            return null;
        var scale = ScaledTensor.ScaleEndings.Select(ending => name + ending).FirstOrDefault(files.Has);
        return scale is null ? null : ScaledTensor.Of(files, name, scale, BlockOf(config), type);

        string? Prefix(string ending) => name.EndsWith(ending, StringComparison.Ordinal) ? name[..^ending.Length] : null;
    }

    /// <summary>A layer of GPTQ or AWQ; null where the config does not say which, or says something else of it.</summary>
    private static PackedTensor? Packed(WeightFiles files, string prefix, JsonObject? config, DType type)
    {
        var (method, bits) = (Text(config, "quant_method"), config?["bits"] ?? config?["w_bit"]);
        if (bits is not JsonValue value || !value.TryGetValue<int>(out var count) || count != 4)
            return null;
        return method switch
        {
            "gptq" => PackedTensor.Of(files, prefix, isAwq: false, Text(config, "checkpoint_format") == "gptq_v2" ? 0 : 1, type),
            "awq" when Text(config, "version") is null or "gemm" or "GEMM" => PackedTensor.Of(files, prefix, isAwq: true, 0, type),
            _ => null,
        };
    }

    private static (long, long)? BlockOf(JsonObject? config) =>
        config?["weight_block_size"] is JsonArray { Count: 2 } sizes && sizes.All(size => size is JsonValue value
            && value.TryGetValue<long>(out var number) && number > 0)
            ? (sizes[0]!.GetValue<long>(), sizes[1]!.GetValue<long>()) : null;

    private static JsonObject? Section(JsonObject config) =>
        (config["quantization_config"] ?? config["compression_config"]) as JsonObject;

    private static string? Text(JsonObject? config, string key) =>
        config?[key] is JsonValue value && value.TryGetValue<string>(out var text) ? text : null;

    /// <param name="others">Tensors that belong to no codes that are read.</param>
    /// <param name="isQuantised">Whether there are codes that are read.</param>
    private static void RefuseUnknown(WeightFiles files, JsonObject config, List<string> others, bool isQuantised)
    {
        var (name, kind) = s_marks.SelectMany(mark => others.Where(name => name.EndsWith(mark.Ending, StringComparison.Ordinal))
            .Take(1), (mark, name) => (name, mark.Kind)).FirstOrDefault();
        if (name is null && others.FirstOrDefault(tensor => IsEight(files, tensor) && ScaleOf(files, tensor) is not null) is { } eight)
            (name, kind) = (ScaleOf(files, eight)!, "8-bit floats with scales");
        var said = Said(config);
        if (name is not null)
            throw new InputException($"{files.FileOf(name)}: the weights are quantised ({said ?? kind}): the tensor \"{name}\" belongs to "
                + "codes that are no weights by themselves",
                "of quantised weights those of bitsandbytes, float8 with scales, mxfp4, and 4-bit GPTQ and AWQ in their plain layout are read; "
                    + "without their scales others would be other numbers",
                "name the model in full precision that it was made from; or write this one so, with the Python library: "
                    + "model.dequantize().save_pretrained(DIR)");
        if (said is not null && !isQuantised)
            throw new InputException($"{files.Path}: config.json says that the weights are quantised (quantization_config: {said}), but "
                + "they hold no scales",
                "the Python library would quantise them while loading, and a model trained from them would be saved as what it is not",
                "remove quantization_config from config.json to take the weights as they are");
    }

    /// <summary>The method that a config names; null where it names none.</summary>
    private static string? Said(JsonObject config)
    {
        if (Section(config) is not { } quantisation)
            return null;
        var method = Text(quantisation, "quant_method") ?? Text(quantisation, "quant_type")
            ?? (Text(quantisation, "bnb_4bit_quant_type") is not null ? "bitsandbytes" : "no method named");
        return Flag("load_in_4bit") || Flag("_load_in_4bit") ? $"{method}, 4-bit {Text(quantisation, "bnb_4bit_quant_type")}".TrimEnd()
            : Flag("load_in_8bit") || Flag("_load_in_8bit") ? $"{method}, 8-bit"
            : quantisation["bits"] is JsonValue bits ? $"{method}, {bits}-bit"
            : method;

        bool Flag(string key) => quantisation[key] is JsonValue value && value.TryGetValue<bool>(out var set) && set;
    }

    private static bool IsEight(WeightFiles files, string name)
    {
        try
        {
            return files.Info(name).DType is DType.Float8E4M3 or DType.Float8E5M2 or DType.Int8 or DType.UInt8;
        }
        catch (InputException)
        {
            return false;       // of a type that is refused where the tensor is used
        }
    }

    /// <summary>A tensor beside an 8-bit one that is called after it and its scale, whatever the words between;
    /// null where there is none.</summary>
    private static string? ScaleOf(WeightFiles files, string name)
    {
        var stem = name.EndsWith(".weight", StringComparison.Ordinal) ? name[..^"weight".Length] : name;
        return files.Names.FirstOrDefault(other => other != name && other.StartsWith(stem, StringComparison.Ordinal)
            && other.AsSpan(stem.Length).Contains("scale", StringComparison.OrdinalIgnoreCase));
    }
}
