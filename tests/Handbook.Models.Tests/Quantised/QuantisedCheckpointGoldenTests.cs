using Handbook.Models.Families;
using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Torch.Quantised;

namespace Handbook.Models.Tests.Quantised;

/// <summary>Checkpoints that the Python library saved quantised give its logits.</summary>
[Collection("tensors")]
public sealed class QuantisedCheckpointGoldenTests
{
    public static TheoryData<string> Folders() =>
        [.. SharedFiles.Folders("golden", "quantised", "checkpoints").Select(folder => Path.GetFileName(folder)!)];

    [Trait("kind", "golden")]
    [Theory(SkipTestWithoutData = true), MemberData(nameof(Folders))]
    public void Logits_are_those_of_the_reference(string name)
    {
        var folder = SharedFiles.Need("golden", "quantised", "checkpoints", name);
        using var expected = SafetensorsFile.Open(Path.Combine(folder, "expected.safetensors"));
        int[] ids = [.. System.Runtime.InteropServices.MemoryMarshal.Cast<byte, long>(expected.Read("ids").Bytes).ToArray()
            .Select(id => (int)id)];
        var logits = System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(expected.Read("logits").Bytes);
        PublishedConfig config;
        try
        {
            config = PublishedConfig.Load(folder);
        }
        catch (UnsupportedFamilyException family)
        {
            GoldenCase.NotBuilt($"{name}: family {family.ModelType}");
            return;
        }
        using var weights = ModelWeights.Open(folder, config, fused: true);
        Assert.Empty(weights.Unused);
        var isInt8 = weights.Parameters.Any(spec => weights.FormatOf(spec.Name) is { Kind: QuantisedKind.Int8 });
        var tolerance = isInt8 ? 2e-2 : 1e-3;
        foreach (var compute in (DType[])[DType.Float32, DType.Float64])
        {
            if (isInt8 && compute == DType.Float64)
                continue;       // its inputs are rounded too
            using var scope = TensorScope.Enter();
            var plan = ParameterPlan.Frozen(weights, compute, roundsInputs: true);
            Assert.Equal(compute == DType.Float32, plan.Rules.Any(rule => rule.Storage == ParameterStorage.Codes));
            using var model = Decoder.Load(weights, plan);
            var actual = model.Logits(StreamLayout.Of([ids])).ToArray<float>();
            Assert.Equal(logits.Length, actual.Length);
            for (var i = 0; i < actual.Length; i++)
                Assert.InRange(actual[i], logits[i] - tolerance, logits[i] + tolerance);
        }
    }
}
