using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Training.Optimizers;
using Handbook.Training.Tests.Contract;

namespace Handbook.Training.Tests.Optimizers;

/// <summary>Schedule-free AdamW against the three sequences of its paper, each stored.</summary>
[Collection("tensors")]
public sealed class ScheduleFreeTests
{
    private const double Beta1 = 0.9, Beta2 = 0.95, Epsilon = 1e-8, Decay = 0.1, Rate = 0.02;

    private static TrainingOptions Options(string? arguments = null) => new()
    {
        Optim = OptimizerKind.ScheduleFreeAdamW,
        OptimArgs = arguments,
        AdamBeta1 = Beta1,
        AdamBeta2 = Beta2,
        WeightDecay = Decay,
    };

    [Theory]
    [InlineData(null, 0, 2.0), InlineData("r=1.5,weight_lr_power=1", 1.5, 1.0)]
    public void Gradients_are_taken_at_y_and_evaluations_see_x(string? arguments, double power, double ratePower)
    {
        const int warmup = 3;
        var specs = SomeParameters.Model();
        using var parameters = SomeParameters.Allocate(specs, DType.Float64);
        using var optimizer = Optimizer.Create(Options(arguments), parameters, warmup);
        Assert.Null(optimizer.Evaluation());        // before the first step there is nothing to average

        var y = SomeParameters.All(parameters);
        var (z, x, v) = (y.ToArray(), y.ToArray(), new double[y.Length]);
        var decays = specs.SelectMany(spec => Enumerable.Repeat(spec.NoWeightDecay ? 0 : Decay, (int)spec.Count)).ToArray();
        var (sum, largest) = (0.0, 0.0);
        for (var t = 1; t <= 8; t++)
        {
            var given = t == 6 ? Rate / 2 : Rate;       // a schedule may lower it all the same
            SomeParameters.Step(parameters, optimizer, t, given, scale: 0.5);
            var g = specs.SelectMany(spec => SomeParameters.Gradient(t, spec)).Select(value => 0.5 * value).ToArray();
            var rate = given * Math.Min(1, t / (double)warmup);
            largest = Math.Max(largest, rate);
            var weight = Math.Pow(t, power) * Math.Pow(largest, ratePower);
            sum += weight;
            for (var i = 0; i < y.Length; i++)
            {
                v[i] = Beta2 * v[i] + (1 - Beta2) * g[i] * g[i];
                z[i] -= rate * (g[i] / (Math.Sqrt(v[i] / (1 - Math.Pow(Beta2, t))) + Epsilon) + decays[i] * y[i]);
                x[i] = (1 - weight / sum) * x[i] + weight / sum * z[i];
                y[i] = (1 - Beta1) * z[i] + Beta1 * x[i];
            }
            Assert.All(SomeParameters.All(parameters).Zip(y), pair => Assert.Equal(pair.Second, pair.First, 1e-12));
            using (optimizer.Evaluation())
                Assert.All(SomeParameters.All(parameters).Zip(x), pair => Assert.Equal(pair.Second, pair.First, 1e-12));
        }
    }

    [Fact]
    public void Evaluations_change_no_bit_of_what_follows()
    {
        Assert.Equal(Run(evaluates: false), Run(evaluates: true));

        static double[] Run(bool evaluates)
        {
            using var parameters = SomeParameters.Allocate(SomeParameters.Model(), DType.Float32, DType.BFloat16);
            using var optimizer = Optimizer.Create(Options(), parameters, 2);
            for (var step = 1; step <= 5; step++)
            {
                SomeParameters.Step(parameters, optimizer, step);
                if (!evaluates)
                    continue;
                var before = SomeParameters.All(parameters);
                var copies = parameters.Specs.SelectMany(spec => parameters[spec.Name].Compute.ToArray<double>()).ToArray();
                using (optimizer.Evaluation())
                {
                    Assert.Null(optimizer.Evaluation());        // one within the other is the same
                    Assert.NotEqual(before, SomeParameters.All(parameters));
                    foreach (var spec in parameters.Specs)
                        Assert.Equal(SomeParameters.Values(parameters, spec.Name).Select(x => (double)BFloat16.From((float)x).ToSingle()),
                            parameters[spec.Name].Compute.ToArray<double>());
                }
                Assert.Equal(before, SomeParameters.All(parameters));
                Assert.Equal(copies, parameters.Specs.SelectMany(spec => parameters[spec.Name].Compute.ToArray<double>()));
            }
            return SomeParameters.All(parameters);
        }
    }

    [Fact]
    public void Saved_and_final_models_are_the_mean()
    {
        using var folder = new TemporaryFolder();
        var models = new List<double[]>();
        var options = Options() with { MaxSteps = 4, PerDeviceTrainBatchSize = 2, SaveSteps = new(1), LearningRate = 0.05 };
        var final = LoopRun.Run(folder["run"], options, saved: models.Add);
        Assert.Equal(4, models.Count);
        Assert.Equal(final, models[^1]);
        using var file = SafetensorsFile.Open(folder["run", "checkpoint-4", "optimizer.safetensors"]);
        var y = file.Names.Where(name => name.StartsWith("master.", StringComparison.Ordinal)).SelectMany(name => Floats(file, name));
        var z = file.Names.Where(name => name.StartsWith("z.", StringComparison.Ordinal)).SelectMany(name => Floats(file, name));
        // β₁ x = y − (1 − β₁) z; the order of the file's tensors is not that of the model
        var x = y.Zip(z).Select(pair => (pair.First - (1 - Beta1) * pair.Second) / Beta1).Order().ToArray();
        Assert.All(x.Zip(final.Where(value => value != 0).Order()), pair => Assert.Equal(pair.First, pair.Second, 1e-5));
    }

    private static double[] Floats(SafetensorsFile file, string name) =>
        [.. System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(file.Read(name).Bytes).ToArray().Select(x => (double)x)];

    [Fact]
    public void Float32_follows_float64()
    {
        var (exact, single) = (Run(DType.Float64), Run(DType.Float32));
        Assert.All(exact.Zip(single), pair => Assert.Equal(pair.First, pair.Second, 1e-5));     // some roundings a step, at values near 1

        static double[] Run(DType type)
        {
            using var parameters = SomeParameters.Allocate(SomeParameters.Model(), type);
            using var optimizer = Optimizer.Create(Options(), parameters, 2);
            for (var step = 1; step <= 5; step++)
                SomeParameters.Step(parameters, optimizer, step);
            return SomeParameters.All(parameters);
        }
    }
}
