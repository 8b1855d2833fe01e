using System.Globalization;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Training.Optimizers;

namespace Handbook.Training.Tests.Optimizers;

/// <summary>Which rate and which weight decay each parameter gets.</summary>
[Collection("tensors")]
public sealed class ParameterGroupsTests
{
    private static readonly ParameterSpec[] s_specs = [.. SomeParameters.Model(),
        SomeParameters.One("layers.0.mlp.down.bias", [6], ParameterKind.Bias)];

    private static readonly TrainingOptions s_options = new() { LearningRate = 0.02, EmbeddingLearningRate = 0.005, WeightDecay = 0.1 };

    [Fact]
    public void Every_parameter_has_its_row()
    {
        using var parameters = SomeParameters.Allocate(s_specs, DType.Float32, rates: s_options.RateFactor);
        var rows = ParameterPiece.Trained(parameters).Select(piece => string.Create(CultureInfo.InvariantCulture,
            $"{piece.Name} {s_options.LearningRate * piece.Bucket.RateFactor} {(piece.Bucket.Decays ? s_options.WeightDecay : 0)}"));
        Assert.Equal(
            [
                "embed.weight 0.005 0.1",
                "model.layers.0.self_attn.q_proj.weight 0.02 0.1",
                "model.layers.0.self_attn.k_proj.weight 0.02 0.1",
                "layers.0.mlp.down.weight 0.02 0.1",
                "head.weight 0.005 0.1",
                "layers.0.mlp_norm.weight 0.02 0",
                "layers.0.mlp.down.bias 0.02 0",
            ], rows);
    }

    public static TheoryData<OptimizerKind> Kinds() =>
        [.. Enum.GetValues<OptimizerKind>().Where(kind => !OptimizerTraits.Of(kind).IsPaged)];

    // A factor on the rate is the rate itself, for every optimiser: B of LoRA+ steps as if the whole run had that rate.
    [Theory, MemberData(nameof(Kinds))]
    public void A_factor_is_the_same_as_the_rate_it_makes(OptimizerKind kind)
    {
        var options = new TrainingOptions
        {
            Optim = kind,
            OptimArgs = OptimizerTraits.Of(kind) switch { { Bits: 8 } => "min_8bit_size=0", { ReadsTargets: true } => "rank=2", _ => null },
            OptimTargetModules = ["all-linear"],
            WeightDecay = 0.1,
        };
        var faster = Run(0.01, spec => spec.Name == "layers.0.mlp.down.weight" ? 16 : 1);
        var (slow, fast) = (Run(0.01, _ => 1), Run(0.16, _ => 1));
        foreach (var spec in s_specs)
            Assert.Equal((spec.Name == "layers.0.mlp.down.weight" ? fast : slow)[spec.Name], faster[spec.Name]);
        Assert.NotEqual(slow["layers.0.mlp.down.weight"], fast["layers.0.mlp.down.weight"]);

        Dictionary<string, double[]> Run(double rate, Func<ParameterSpec, double> factors)
        {
            using var parameters = SomeParameters.Allocate(s_specs, DType.Float32, rates: factors);
            using var optimizer = Optimizer.Create(options, parameters);
            for (var step = 1; step <= 3; step++)
                SomeParameters.Step(parameters, optimizer, step, rate);
            return s_specs.ToDictionary(spec => spec.Name, spec => SomeParameters.Values(parameters, spec.Name));
        }
    }
}
