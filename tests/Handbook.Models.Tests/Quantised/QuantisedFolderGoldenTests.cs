using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using Handbook.Models.Files;
using Handbook.Models.Quantised;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Torch.Quantised;

namespace Handbook.Models.Tests.Quantised;

/// <summary>What is written in bitsandbytes' layout is what the Python library writes of the same model.</summary>
[Collection("tensors")]
public sealed class QuantisedFolderGoldenTests
{
    [Trait("kind", "golden")]
    [Theory, InlineData("nf4-double", "nf4", true), InlineData("fp4", "fp4", false), InlineData("int8", "int8", false)]
    public void Every_tensor_and_the_config_are_the_same(string name, string kind, bool isDouble)
    {
        var published = SharedFiles.Need("golden", "quantised", "checkpoints", name);
        var source = SharedFiles.Need("golden", "runs", "model");
        var format = new QuantisedFormat(kind switch { "nf4" => QuantisedKind.Nf4, "fp4" => QuantisedKind.Fp4, _ => QuantisedKind.Int8 },
            isDouble);
        using var folder = new TemporaryFolder();
        // The reference read the model in float32.
        using (var plain = WeightFiles.Open(source))
            WeightFilesWriter.Save(folder["wide"], [.. plain.Names.Select(tensor =>
            {
                var values = new float[plain.Info(tensor).Count];
                ElementConversion.Convert(plain.Bytes(tensor), plain.Info(tensor).DType, MemoryMarshal.AsBytes(values.AsSpan()),
                    DType.Float32);
                return TensorToSave.From(tensor, values, [.. plain.Info(tensor).Shape]);
            })]);
        using (var weights = ModelWeights.Open(folder["wide"], PublishedConfig.Load(source)))
        using (var tensors = QuantisedTensors.Of(weights, format))
            WeightFilesWriter.Save(folder[name], tensors.Tensors);

        using var expected = WeightFiles.Open(published);
        using var actual = WeightFiles.Open(folder[name]);
        Assert.Equal(expected.Names.Order(StringComparer.Ordinal), actual.Names.Order(StringComparer.Ordinal));
        foreach (var tensor in expected.Names)
        {
            Assert.Equal(expected.Info(tensor), actual.Info(tensor));
            Assert.True(expected.Bytes(tensor).SequenceEqual(actual.Bytes(tensor)), tensor);
        }
        Assert.Equal(PublishedConfig.Load(published).Json["quantization_config"]!.ToJsonString(),
            Sorted(BitsAndBytesLayout.Config(format, DType.Float32)).ToJsonString());
    }

    private static JsonObject Sorted(JsonObject json) =>
        new(json.OrderBy(key => key.Key, StringComparer.Ordinal).Select(key => KeyValuePair.Create(key.Key, key.Value?.DeepClone())));
}
