using Handbook.Models.Files;
using Handbook.Models.Quantised;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Torch.Fused;
using Handbook.Torch.Quantised;

namespace Handbook.Models.Tests.Quantised;

/// <summary>What is trained beside frozen codes gets the gradients that it would get beside their values.</summary>
[Collection("tensors")]
public sealed class QuantisedGradientTests
{
    [Theory]
    [InlineData("Nf4", true, false), InlineData("Nf4", true, true), InlineData("Fp4", false, false), InlineData("Int8", false, true)]
    public void Gradients_flow_through_codes_as_through_their_values(string kind, bool isDouble, bool recompute)
    {
        var format = new QuantisedFormat(Enum.Parse<QuantisedKind>(kind), isDouble);
        using var folder = new TemporaryFolder();
        var config = Some.Llama(("hidden_size", 48), ("intermediate_size", 80));
        WeightFilesWriter.Save(folder["plain"], NewModel.Tensors(config, 3, DType.Float32));
        using var plain = ModelWeights.Open(folder["plain"], config, fused: true);
        using (var codes = QuantisedTensors.Of(plain, format))
            WeightFilesWriter.Save(folder["codes"], codes.Tensors);
        // The values of the codes as a plain checkpoint.
        using (var coded = ModelWeights.Open(folder["codes"], config))
            WeightFilesWriter.Save(folder["values"], [.. coded.Parameters
                .Select(spec => TensorToSave.From(spec.Parts[0].Published, coded.ReadSingles(spec.Name), [.. spec.Shape]))]);
        using var values = ModelWeights.Open(folder["values"], config, fused: true);

        var expected = Gradients(values, null);
        var actual = Gradients(plain, new(format, DType.Float32));
        Assert.Equal(expected.Length, actual.Length);
        Assert.Contains(expected, gradient => gradient != 0);
        for (var i = 0; i < expected.Length; i++)
            Assert.InRange(actual[i], expected[i] - 1e-10, expected[i] + 1e-10);

        double[] Gradients(ModelWeights weights, WeightQuantisation? quantisation)
        {
            using var scope = TensorScope.Enter();
            var plan = ParameterPlan.Partly(weights, DType.Float64, DType.Float64,
                spec => spec.Kind == ParameterKind.NormWeight || spec.Name == ParameterSpec.Embedding, quantisation);
            Assert.Equal(quantisation is not null, plan.Rules.Any(rule => rule.Storage == ParameterStorage.Codes));
            using var model = Decoder.Load(weights, plan);
            int[] ids = [1, 5, 7, 2, 11, 3, 9];
            var hidden = model.Hidden(StreamLayout.Of([ids]), new() { Recompute = recompute });
            LinearLogProb.WeightedLoss(hidden, model.Head, new Mirrored<int>([.. ids[1..], 4]), [1, 0.5, 1, 2, 1, 1, 1], model.HeadOptions)
                .Backward();
            model.Parameters.SettleGradients();
            return [.. model.Parameters.Trained.SelectMany(bucket => bucket.Gradients!.ToArray<double>())];
        }
    }
}
