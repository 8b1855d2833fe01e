using System.Text.Json;
using Handbook.Models;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Training.Optimizers;

namespace Handbook.Training.Tests.Optimizers;

/// <summary>The optimisers as recipes name them, on the reference's fixed gradients.</summary>
[Trait("kind", "golden")]
[Collection("tensors")]
public sealed class OptimizerGoldenTests
{
    [Theory, MemberData(nameof(OptimizerRun.All), MemberType = typeof(OptimizerRun))]
    public void A_recipe_s_optimiser_follows_the_reference(string file, string name)
    {
        using var run = OptimizerRun.Open(file, name);
        var options = Options(run);
        if (options is null)
            GoldenCase.NotBuilt($"optim/{name}: this optimiser or one of its settings");

        using var parameters = Parameters(run.Initial);
        using var optimizer = Optimizer.Create(options, parameters);
        foreach (var step in run.Steps)
        {
            foreach (var spec in parameters.Specs)
            {
                OptimizerRun.Numbers(step.GetProperty("grad_" + spec.Name)).CopyTo(Span(parameters[spec.Name].Gradient!));
                parameters[spec.Name].HasGradient = true;
            }
            var clip = run.Number("clip_grad_norm", 0);
            optimizer.Step(run.Number("lr", 1e-3), clip > 0 ? GradientNorm.ClipFactor(GradientNorm.Of(parameters), clip) : 1);
            foreach (var spec in parameters.Specs)
            {
                var (expected, actual) = (OptimizerRun.Numbers(step.GetProperty(spec.Name)),
                    Span(parameters[spec.Name].Value.Detach()).ToArray());
                // 1e-6: some roundings of float32 a step, at values near 1
                for (var i = 0; i < expected.Length; i++)
                    Assert.Equal(expected[i], actual[i], 1e-6);
            }
        }
    }

    // What a recipe writes for a run of the reference; null where it cannot.
    private static TrainingOptions? Options(OptimizerRun run)
    {
        var decay = run.Number("weight_decay", 0);
        return run.Kind switch
        {
            "AdamW" => new()
            {
                AdamBeta1 = run.Beta(0, 0.9),
                AdamBeta2 = run.Beta(1, 0.999),
                AdamEpsilon = run.Number("eps", 1e-8),
                WeightDecay = run.Number("weight_decay", 0.01)
            },
            "Adam" when decay == 0 =>
                new() { AdamBeta1 = run.Beta(0, 0.9), AdamBeta2 = run.Beta(1, 0.999), AdamEpsilon = run.Number("eps", 1e-8) },
            "SGD" when run.Number("dampening", 0) == 0 =>
                new() { Optim = OptimizerKind.Sgd, OptimArgs = Arguments("momentum", "nesterov"), WeightDecay = decay },
            "RMSprop" when run.Number("momentum", 0) == 0 && !run.Has("centered") =>
                new() { Optim = OptimizerKind.RmsProp, OptimArgs = Arguments("alpha", "eps"), WeightDecay = decay },
            "Adagrad" => new() { Optim = OptimizerKind.Adagrad, OptimArgs = Arguments("eps", "lr_decay"), WeightDecay = decay },
            "Lion" => new()
            {
                Optim = OptimizerKind.Lion,
                AdamBeta1 = run.Beta(0, 0.9),
                AdamBeta2 = run.Beta(1, 0.99),
                WeightDecay = decay
            },
            "Adafactor" when !run.Flag("relative_step", true) => new()
            {
                Adafactor = true,
                OptimArgs = Arguments("clip_threshold", "decay_rate") + (run.Flag("scale_parameter", true) ? ",scale_parameter=true" : ""),
                WeightDecay = decay,
            },
            _ => null,
        };

        string Arguments(params string[] names) => string.Join(',', names.Where(run.Has).Select(name => $"{name}={run.Text(name)}"));
    }

    [Theory]
    [InlineData(OptimizerKind.AdamW, null, 6)]                              // two numbers each of two published matrices and a vector
    [InlineData(OptimizerKind.RmsProp, null, 3)]
    [InlineData(OptimizerKind.Sgd, null, 0)]
    [InlineData(OptimizerKind.Sgd, "momentum=0.9", 3)]
    [InlineData(OptimizerKind.Adagrad, "lr_decay=0.1", 3)]
    [InlineData(OptimizerKind.Lion, null, 3)]
    // the fused matrix is two published ones, with rows and columns each; the vector has one
    [InlineData(OptimizerKind.Adafactor, "scale_parameter=true", 5)]
    // codes and scales of each number
    [InlineData(OptimizerKind.AdamW8Bit, "min_8bit_size=4", 10)]               // the vector of 3 stays in 32 bits
    [InlineData(OptimizerKind.PagedAdamW, null, 6)]
    [InlineData(OptimizerKind.PagedAdamW8Bit, "min_8bit_size=0", 12)]
    [InlineData(OptimizerKind.RmsProp8Bit, "min_8bit_size=0", 6)]
    [InlineData(OptimizerKind.Lion8Bit, "min_8bit_size=0", 6)]
    [InlineData(OptimizerKind.PagedLion, null, 3)]
    [InlineData(OptimizerKind.PagedLion8Bit, "min_8bit_size=0", 6)]
    [InlineData(OptimizerKind.Muon, null, 4)]                                  // a momentum of each matrix, two numbers of the vector
    [InlineData(OptimizerKind.ScheduleFreeAdamW, null, 7)]                     // two numbers each, and the weights of the mean
    [InlineData(OptimizerKind.GaloreAdamW, "rank=2,update_proj_gap=4", 8)]     // a projection and two numbers of it; two of the vector
    [InlineData(OptimizerKind.ApolloAdamW, "rank=2,update_proj_gap=4", 10)]    // and the norm of the last update
    public void State_put_back_goes_on_to_the_same_bits(OptimizerKind kind, string? arguments, int states)
    {
        using var folder = new TemporaryFolder();
        var options = new TrainingOptions
        {
            Optim = kind,
            OptimArgs = arguments,
            OptimTargetModules = ["all-linear"],
            WeightDecay = 0.1,
            OutputDir = folder.Path,
        };
        using var scope = TensorScope.Enter();
        using var whole = Some();
        using var wholeOptimizer = Optimizer.Create(options, whole);
        Assert.Equal(states, wholeOptimizer.State.Count());
        using var half = Some();
        using var first = Optimizer.Create(options, half);
        for (var step = 0; step < 3; step++)
        {
            Step(whole, wholeOptimizer, step);
            Step(half, first, step);
        }
        using var second = Optimizer.Create(options, half);
        foreach (var ((name, from), (same, to)) in first.State.Zip(second.State))
        {
            Assert.Equal(name, same);
            to.CopyFrom(from);
        }
        second.Updates = first.Updates;
        for (var step = 3; step < 6; step++)
        {
            Step(whole, wholeOptimizer, step);
            Step(half, second, step);
        }
        foreach (var (a, b) in whole.Buckets.Zip(half.Buckets))
            Assert.Equal(Span(a.Values).ToArray(), Span(b.Values).ToArray());
        Assert.Equal(wholeOptimizer.State.Count(), wholeOptimizer.State.Select(s => s.Name).Distinct().Count());
    }

    [Fact]
    public void Adafactor_treats_a_fused_matrix_as_the_published_ones()
    {
        var options = new TrainingOptions { Optim = OptimizerKind.Adafactor };
        using var fused = Some();
        using var apart = ModelParameters.Allocate(ParameterPlan.Trained([Weight("q", [4, 3], ("q", 0, 4)),
            Weight("k", [2, 3], ("k", 0, 2))], DType.Float32, DType.Float32));
        using var one = Optimizer.Create(options, fused);
        using var other = Optimizer.Create(options, apart);
        for (var step = 0; step < 4; step++)
        {
            Step(fused, one, step);
            var gradient = Span(fused["qk"].Gradient!);
            gradient[..12].CopyTo(Span(apart["q"].Gradient!));
            gradient[12..].CopyTo(Span(apart["k"].Gradient!));
            apart["q"].HasGradient = apart["k"].HasGradient = true;
            if (step == 0)
                Assert.NotEqual(Span(fused["qk"].Gradient!)[0], Span(fused["qk"].Gradient!)[12]);
            other.Step(0.01, 1);
        }
        var values = Span(fused["qk"].Value.Detach());
        // the same sums in the same order, but from zeros on both sides: Some() begins at zero as well
        Assert.Equal(values[..12].ToArray(), Span(apart["q"].Value.Detach()).ToArray());
        Assert.Equal(values[12..].ToArray(), Span(apart["k"].Value.Detach()).ToArray());
    }

    private static ModelParameters Some() => ModelParameters.Allocate(ParameterPlan.Trained(
        [Weight("qk", [6, 3], ("q", 0, 4), ("k", 4, 2)), new("norm", [3], [new("norm", [3], 0, 0, 3, false)], ParameterKind.NormWeight, 0)],
            DType.Float32, DType.Float32));

    private static ParameterSpec Weight(string name, ValueList<long> shape, params (string Name, long Start, long Rows)[] parts) =>
        new(name, shape, [.. parts.Select(p => new ParameterPart(p.Name, [p.Rows, 3], 0, p.Start, p.Rows, false))], ParameterKind.Weight,
            0.02);

    private static void Step(ModelParameters parameters, Optimizer optimizer, int seed)
    {
        var random = new Random(seed);
        foreach (var spec in parameters.Specs)
        {
            foreach (ref var value in Span(parameters[spec.Name].Gradient!))
                value = (float)(random.NextDouble() - 0.5);
            parameters[spec.Name].HasGradient = true;
        }
        optimizer.Step(0.01, 1);
    }

    // Both are under weight decay, as in the reference: a vector of kind Weight, not a bias.
    private static ModelParameters Parameters(JsonElement initial)
    {
        var specs = initial.EnumerateObject().Select(p => new ParameterSpec(p.Name,
            p.Value[0].ValueKind == JsonValueKind.Array ? [p.Value.GetArrayLength(), p.Value[0].GetArrayLength()]
                : [p.Value.GetArrayLength()],
            [new ParameterPart(p.Name, [], 0, 0, p.Value.GetArrayLength(), false)], ParameterKind.Weight, 0)).ToArray();
        var result = ModelParameters.Allocate(ParameterPlan.Trained(specs, DType.Float32, DType.Float32));
        foreach (var p in initial.EnumerateObject())
            OptimizerRun.Numbers(p.Value).CopyTo(Span(result[p.Name].Value.Detach()));
        return result;
    }

    private static unsafe Span<float> Span(Tensor tensor) => new(tensor.Data, (int)tensor.Count);
}
