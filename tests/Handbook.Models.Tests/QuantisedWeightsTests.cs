using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Torch;

namespace Handbook.Models.Tests;

/// <summary>Codes of an unknown kind are refused by name: read without their scales, they would be other numbers.</summary>
public sealed class QuantisedWeightsTests
{
    private const string Up = "model.layers.0.mlp.up_proj";

    [Theory]
    [InlineData(Up + ".weight_scale_inv", "float8 in blocks")]
    [InlineData(Up + ".weight_scale", "float8 or int8 with scales")]
    [InlineData(Up + ".input_scale", "float8 with scales")]
    [InlineData(Up + ".qweight", "AWQ or GPTQ")]
    [InlineData(Up + ".g_idx", "GPTQ")]
    [InlineData(Up + ".weight.absmax", "bitsandbytes, 4-bit")]
    [InlineData(Up + ".weight_packed", "compressed-tensors, packed")]
    [InlineData(Up + ".W_q", "HQQ")]
    [InlineData("model.layers.0.mlp.experts.gate_up_proj_blocks", "mxfp4")]
    public void Tensors_that_belong_to_codes_are_named_whatever_the_config_says(string tensor, string kind)
    {
        var error = Refused(Some.Llama(), extra: tensor);
        Assert.EndsWith($"model.safetensors: the weights are quantised ({kind}): the tensor \"{tensor}\" belongs to codes that are no "
            + "weights by themselves", error.What);
        Assert.Contains("name the model in full precision", error.Fix);
    }

    [Theory]
    [InlineData("""{"quant_method": "bitsandbytes", "load_in_4bit": true, "bnb_4bit_quant_type": "nf4"}""", "bitsandbytes, 4-bit nf4")]
    [InlineData("""{"quant_method": "gptq", "bits": 4}""", "gptq, 4-bit")]
    [InlineData("""{"quant_method": "fp8", "weight_block_size": [128, 128]}""", "fp8")]
    public void What_the_config_says_of_them_is_told(string quantisation, string said)
    {
        var config = Some.Llama(("quantization_config", JsonNode.Parse(quantisation)));
        Assert.Contains($"the weights are quantised ({said}): the tensor \"{Up}.weight_scale_inv\"",
            Refused(config, extra: Up + ".weight_scale_inv").What);
        var error = Refused(config, extra: null);
        Assert.EndsWith($"config.json says that the weights are quantised (quantization_config: {said}), but they hold no scales",
            error.What);
        Assert.Equal("remove quantization_config from config.json to take the weights as they are", error.Fix);
    }

    [Fact]
    public void Float8_weights_with_a_scale_under_any_name_are_refused_and_without_one_are_read()
    {
        Assert.Contains($"8-bit floats with scales): the tensor \"{Up}.my_scale\"",
            Refused(Some.Llama(), Up + ".my_scale", eight: true).What);
        using var folder = Saved(Some.Llama(), extra: null, eight: true);
        using var weights = ModelWeights.Open(folder.Path, Some.Llama());
        Assert.All(weights.ReadSingles("layers.0.mlp.up.weight"), value => Assert.Equal(1, value));
    }

    [Fact]
    public void A_config_that_names_no_quantisation_is_none()
    {
        var config = Some.Llama(("quantization_config", null));
        using var folder = Saved(config, extra: null);
        using var weights = ModelWeights.Open(folder.Path, config);
        Assert.Empty(weights.Unused);
    }

    [Theory]
    [InlineData(Up + ".SCB", "tensor \"model.layers.0.mlp.up_proj.weight\" is Float32 of shape")]
    [InlineData(Up + ".weight.quant_state.bitsandbytes__nf4", "is no state of quantised weights")]
    public void Tensors_that_contradict_one_another_are_named(string tensor, string what) =>
        Assert.Contains(what, Refused(Some.Llama(), extra: tensor).What);

    private static InputException Refused(PublishedConfig config, string? extra, bool eight = false)
    {
        using var folder = Saved(config, extra, eight);
        return Assert.Throws<InputException>(() => ModelWeights.Open(folder.Path, config));
    }

    /// <summary>A new model, with a tensor more, or with one of its weights as ones in float8.</summary>
    private static TemporaryFolder Saved(PublishedConfig config, string? extra, bool eight = false)
    {
        var folder = new TemporaryFolder();
        TensorToSave[] tensors = [.. NewModel.Tensors(config, 3, DType.Float32).Select(tensor => eight && tensor.Info.Name == Up + ".weight"
            ? new TensorToSave(tensor.Info with { DType = DType.Float8E4M3 },
                stream => stream.Write(Enumerable.Repeat((byte)0x38, (int)tensor.Info.Count).ToArray()))
            : tensor)];
        WeightFilesWriter.Save(folder.Path, extra is null ? tensors : [.. tensors, TensorToSave.From(extra, [1, 1], 2)]);
        return folder;
    }
}
