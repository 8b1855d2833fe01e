using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Torch;

namespace Handbook.Models.Files;

/// <summary>Tells weights that are stored as codes with scales beside them. Until these are read they are refused: without its scales a
/// code is another number.</summary>
internal static class QuantisedWeights
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

    /// <summary>Refuses a checkpoint that is quantised, and one whose config says that it is.</summary>
    /// <param name="files">The weights.</param>
    /// <param name="config">The model's <c>config.json</c>.</param>
    /// <exception cref="InputException">It names the kind and the first tensor.</exception>
    public static void Refuse(WeightFiles files, JsonObject config)
    {
        var (name, kind) = s_marks.SelectMany(mark => files.Names.Where(name => name.EndsWith(mark.Ending, StringComparison.Ordinal))
            .Take(1), (mark, name) => (name, mark.Kind)).FirstOrDefault();
        if (name is null && files.Names.FirstOrDefault(tensor => IsEight(files, tensor) && ScaleOf(files, tensor) is not null) is { } eight)
            (name, kind) = (ScaleOf(files, eight)!, "8-bit floats with scales");
        var said = Said(config);
        if (name is not null)
            throw new InputException($"{files.FileOf(name)}: the weights are quantised ({said ?? kind}): the tensor \"{name}\" belongs to "
                + "codes that are no weights by themselves",
                "quantised weights are not read yet, and without their scales they would be other numbers",
                "name the model in full precision that it was made from; or write this one so, with the Python library: "
                    + "model.dequantize().save_pretrained(DIR)");
        if (said is not null)
            throw new InputException($"{files.Path}: config.json says that the weights are quantised (quantization_config: {said}), but "
                + "they hold no scales",
                "the Python library would quantise them while loading, and a model trained from them would be saved as what it is not",
                "remove quantization_config from config.json to take the weights as they are");
    }

    /// <summary>The method that a config names; null where it names none.</summary>
    private static string? Said(JsonObject config)
    {
        if ((config["quantization_config"] ?? config["compression_config"]) is not JsonObject quantisation)
            return null;
        var method = Text("quant_method") ?? Text("quant_type")
            ?? (Text("bnb_4bit_quant_type") is not null ? "bitsandbytes" : "no method named");
        return Flag("load_in_4bit") || Flag("_load_in_4bit") ? $"{method}, 4-bit {Text("bnb_4bit_quant_type")}".TrimEnd()
            : Flag("load_in_8bit") || Flag("_load_in_8bit") ? $"{method}, 8-bit"
            : quantisation["bits"] is JsonValue bits ? $"{method}, {bits}-bit"
            : method;

        string? Text(string key) => quantisation[key] is JsonValue value && value.TryGetValue<string>(out var text) ? text : null;

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
