using Handbook.Models;
using Handbook.Torch;
using Handbook.Training.Optimizers;

namespace Handbook.Training.Tests.Optimizers;

/// <summary>Muon against its definition in float64.</summary>
[Collection("tensors")]
public sealed class MuonTests
{
    private const double Rate = 0.02, Decay = 0.1;

    [Theory]
    [InlineData(null, 0.95, true, 5, false)]
    [InlineData("momentum=0.8,nesterov=false,ns_steps=3,adjust_lr_fn=match_rms_adamw", 0.8, false, 3, true)]
    public void Hidden_matrices_follow_the_definition_and_the_rest_follows_AdamW(string? arguments, double momentum, bool nesterov,
        int steps, bool matches)
    {
        var options = new TrainingOptions { Optim = OptimizerKind.Muon, OptimArgs = arguments, WeightDecay = Decay };
        var specs = SomeParameters.Model();
        using var parameters = SomeParameters.Allocate(specs, DType.Float64);
        using var plain = SomeParameters.Allocate(specs, DType.Float64);
        using var optimizer = Optimizer.Create(options, parameters);
        using var adam = Optimizer.Create(options with { Optim = OptimizerKind.AdamW, OptimArgs = null }, plain);
        var expected = specs.ToDictionary(spec => spec.Name, spec => SomeParameters.Normal(17, spec.Name, spec.Count));
        var means = specs.ToDictionary(spec => spec.Name, spec => new double[spec.Count]);
        for (var step = 1; step <= 4; step++)
        {
            SomeParameters.Step(parameters, optimizer, step, Rate, scale: 0.5);
            SomeParameters.Step(plain, adam, step, Rate, scale: 0.5);
            foreach (var spec in specs.Where(IsHidden))
            {
                var width = (int)spec.Shape[1];
                foreach (var part in spec.Parts)        // query and key are two matrices
                {
                    var (from, count) = ((int)part.Start * width, (int)part.Rows * width);
                    Definition(expected[spec.Name].AsSpan(from, count), means[spec.Name].AsSpan(from, count),
                        [.. SomeParameters.Gradient(step, spec).Skip(from).Take(count).Select(g => 0.5 * g)], width);
                }
            }
        }
        foreach (var spec in specs)
        {
            var actual = SomeParameters.Values(parameters, spec.Name);
            if (IsHidden(spec))
                Assert.All(expected[spec.Name].Zip(actual), pair => Assert.Equal(pair.First, pair.Second, 1e-12));
            else
                Assert.Equal(SomeParameters.Values(plain, spec.Name), actual);
        }

        void Definition(Span<double> p, Span<double> m, double[] g, int width)
        {
            var rows = p.Length / width;
            var u = new double[p.Length];
            for (var i = 0; i < p.Length; i++)
            {
                m[i] = momentum * m[i] + (1 - momentum) * g[i];
                u[i] = nesterov ? (1 - momentum) * g[i] + momentum * m[i] : m[i];
            }
            var norm = Math.Sqrt(u.Sum(x => x * x));
            var x = Matrix(rows, width, (i, j) => u[i * width + j] / norm);
            for (var k = 0; k < steps; k++)
            {
                // the same polynomial whichever side the product stands on: X(aI + bXᵀX + c(XᵀX)²)
                var gram = Times(Turned(x), x);
                var square = Times(gram, gram);
                var inner = Matrix(width, width, (i, j) => (i == j ? 3.4445 : 0) - 4.7750 * gram[i, j] + 2.0315 * square[i, j]);
                x = Times(x, inner);
            }
            var factor = matches ? 0.2 * Math.Sqrt(Math.Max(rows, width)) : Math.Sqrt(Math.Max(1.0, (double)rows / width));
            for (var i = 0; i < p.Length; i++)
                p[i] = p[i] * (1 - Rate * Decay) - Rate * factor * x[i / width, i % width];
        }
    }

    private static bool IsHidden(ParameterSpec spec) => spec.Name.StartsWith("layers.", StringComparison.Ordinal) && spec.Shape.Count == 2;

    [Fact] // Newton and Schulz's iteration takes every singular value of a square matrix to about 1
    public void A_step_is_nearly_orthogonal()
    {
        ParameterSpec[] specs = [SomeParameters.One("layers.0.up.weight", [8, 8])];
        using var parameters = SomeParameters.Allocate(specs, DType.Float64);
        using var optimizer = Optimizer.Create(new() { Optim = OptimizerKind.Muon }, parameters);
        var before = SomeParameters.All(parameters);
        SomeParameters.Step(parameters, optimizer, 1, rate: 1);
        var step = SomeParameters.All(parameters).Zip(before).Select(pair => pair.First - pair.Second).ToArray();
        Assert.InRange(step.Sum(x => x * x), 8 * 0.4, 8 * 1.5);       // Σσ²
        for (var i = 0; i < 8; i++)
            Assert.InRange(Enumerable.Range(0, 8).Sum(j => step[i * 8 + j] * step[i * 8 + j]), 0.3, 1.5);
    }

    private static double[,] Matrix(int rows, int columns, Func<int, int, double> at)
    {
        var result = new double[rows, columns];
        for (var i = 0; i < rows; i++)
            for (var j = 0; j < columns; j++)
                result[i, j] = at(i, j);
        return result;
    }

    private static double[,] Turned(double[,] a) => Matrix(a.GetLength(1), a.GetLength(0), (i, j) => a[j, i]);

    private static double[,] Times(double[,] a, double[,] b) => Matrix(a.GetLength(0), b.GetLength(1),
        (i, j) => Enumerable.Range(0, a.GetLength(1)).Sum(k => a[i, k] * b[k, j]));
}
