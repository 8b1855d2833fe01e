using Handbook.Base;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Training.Optimizers;

namespace Handbook.Training.Tests.Optimizers;

/// <summary>GaLore and APOLLO against their definitions in float64; singular vectors come from Jacobi's rotations.</summary>
[Collection("tensors")]
public sealed class LowRankTests
{
    private const double Rate = 0.02, Decay = 0.1, Beta1 = 0.9, Beta2 = 0.999;
    private const int Rank = 2, Gap = 3;

    private static readonly ParameterSpec[] s_specs = SomeParameters.Model();

    private static TrainingOptions Options(OptimizerKind kind, string arguments, params string[] modules) => new()
    {
        Optim = kind,
        OptimArgs = arguments,
        OptimTargetModules = modules.Length > 0 ? modules : ["self_attn", @"layers\.\d+\.mlp\.down"],
        WeightDecay = Decay,
    };

    [Theory]
    [InlineData("std"), InlineData("reverse_std"), InlineData("left"), InlineData("right"), InlineData("full")]
    public void GaLore_follows_its_definition(string sides)
    {
        const double epsilon = 1e-6, scale = 0.25;
        Compare(Options(OptimizerKind.GaloreAdamW, $"rank={Rank},update_proj_gap={Gap},proj_type={sides}"), (target, g, t) =>
        {
            var (rows, columns) = (g.GetLength(0), g.GetLength(1));
            var left = sides is "left" or "full" || sides == "std" && rows < columns || sides == "reverse_std" && rows >= columns;
            var right = sides is "right" or "full" || sides == "std" && rows >= columns || sides == "reverse_std" && rows < columns;
            if ((t - 1) % Gap == 0)
            {
                target.Left = left ? Vectors(Times(g, Turned(g))) : null;
                target.Right = right ? Turned(Vectors(Times(Turned(g), g))) : null;
            }
            var low = target.Left is null ? g : Times(Turned(target.Left), g);
            low = target.Right is null ? low : Times(low, Turned(target.Right));
            var step = target.Adam(low, epsilon);
            var high = target.Left is null ? step : Times(target.Left, step);
            high = target.Right is null ? high : Times(high, target.Right);
            var size = Math.Sqrt(1 - Math.Pow(Beta2, t)) / (1 - Math.Pow(Beta1, t));
            return Matrix(rows, columns, (i, j) => scale * size * high[i, j]);
        }, epsilon);
    }

    [Theory]
    [InlineData("channel"), InlineData("tensor")]
    public void Apollo_follows_its_definition(string scaleType)
    {
        const double epsilon = 1e-8, scale = 4;
        Compare(Options(OptimizerKind.ApolloAdamW, $"rank={Rank},update_proj_gap={Gap},proj=svd,scale={scale},scale_type={scaleType}"),
            (target, g, t) =>
            {
                var (rows, columns) = (g.GetLength(0), g.GetLength(1));
                var wide = rows < columns;
                if ((t - 1) % Gap == 0)
                {
                    target.Left = wide ? Vectors(Times(g, Turned(g))) : null;
                    target.Right = wide ? null : Turned(Vectors(Times(Turned(g), g)));
                }
                var low = wide ? Times(Turned(target.Left!), g) : Times(g, Turned(target.Right!));
                var step = target.Adam(low, epsilon);
                var update = Matrix(rows, columns, (i, j) =>
                {
                    bool Among((int I, int J) at) => scaleType == "tensor" || (wide ? at.J == j : at.I == i);
                    return g[i, j] * Norm(step, Among) / Norm(low, Among);
                });
                var norm = Norm(update, _ => true);
                var limit = target.Norm is null ? 1 : Math.Max(norm / target.Norm.Value, 1.01) / 1.01;
                target.Norm = norm / limit;
                var size = Math.Sqrt(1 - Math.Pow(Beta2, t)) / (1 - Math.Pow(Beta1, t));
                return Matrix(rows, columns, (i, j) => Math.Sqrt(scale) * size * update[i, j] / limit);
            }, epsilon);
    }

    /// <summary>Four steps beside the definition; what is no target follows AdamW.</summary>
    /// <param name="direction">What is subtracted of a matrix, per unit of the rate.</param>
    private static void Compare(TrainingOptions options, Func<Target, double[,], int, double[,]> direction, double epsilon)
    {
        using var parameters = SomeParameters.Allocate(s_specs, DType.Float64);
        using var optimizer = Optimizer.Create(options, parameters);
        var expected = s_specs.ToDictionary(spec => spec.Name, spec => SomeParameters.Normal(17, spec.Name, spec.Count));
        var targets = new Dictionary<string, Target>();
        for (var t = 1; t <= 5; t++)
        {
            SomeParameters.Step(parameters, optimizer, t, Rate, scale: 0.5);
            foreach (var spec in s_specs)
            {
                var gradient = SomeParameters.Gradient(t, spec).Select(g => 0.5 * g).ToArray();
                var width = spec.Shape.Count > 1 ? (int)spec.Shape[1] : 1;
                foreach (var part in spec.Parts)
                {
                    var target = targets.TryGetValue(part.Published, out var known) ? known : targets[part.Published] = new Target();
                    target.Step = t;
                    var (from, rows) = ((int)part.Start * width, (int)part.Rows);
                    var g = Matrix(rows, width, (i, j) => gradient[from + i * width + j]);
                    var isTarget = spec.Name.StartsWith("layers.", StringComparison.Ordinal) && spec.Shape.Count == 2;
                    var correction = Math.Sqrt(1 - Math.Pow(Beta2, t)) / (1 - Math.Pow(Beta1, t));
                    var down = isTarget ? direction(target, g, t) : target.Adam(g, epsilon);
                    for (var i = 0; i < rows * width; i++)
                        expected[spec.Name][from + i] = expected[spec.Name][from + i] * (1 - Rate * (spec.NoWeightDecay ? 0 : Decay))
                            - Rate * (isTarget ? 1 : correction) * down[i / width, i % width];
                }
            }
        }
        foreach (var spec in s_specs)
            // 1e-7: the packages add 1e-8 to a norm, and Jacobi's rotations stop at 1e-14
            Assert.All(expected[spec.Name].Zip(SomeParameters.Values(parameters, spec.Name)),
                pair => Assert.Equal(pair.First, pair.Second, 1e-7));
    }

    private sealed class Target
    {
        public double[,]? Left, Right, Mean, Square;
        public double? Norm;
        public int Step;

        /// <summary>m / (√v + ε), without the corrections.</summary>
        public double[,] Adam(double[,] g, double epsilon)
        {
            var (m, v) = (Mean ??= new double[g.GetLength(0), g.GetLength(1)], Square ??= new double[g.GetLength(0), g.GetLength(1)]);
            return Matrix(g.GetLength(0), g.GetLength(1), (i, j) =>
            {
                m[i, j] = Beta1 * m[i, j] + (1 - Beta1) * g[i, j];
                v[i, j] = Beta2 * v[i, j] + (1 - Beta2) * g[i, j] * g[i, j];
                return m[i, j] / (Math.Sqrt(v[i, j]) + epsilon);
            });
        }
    }

    [Fact]
    public void Random_projections_differ_by_matrix_and_by_renewal_and_are_the_same_in_every_run()
    {
        var (first, again, other) = (Run(1), Run(1), Run(2));
        Assert.Equal(first, again);
        Assert.NotEqual(first, other);

        static double[] Run(long seed)
        {
            using var parameters = SomeParameters.Allocate(s_specs, DType.Float32);
            using var scope = TensorScope.Enter();
            var options = Options(OptimizerKind.ApolloAdamW, "rank=2,update_proj_gap=2") with { Seed = seed };
            using var optimizer = Optimizer.Create(options, parameters);
            var projections = new List<double[]>();
            for (var step = 1; step <= 4; step++)
            {
                SomeParameters.Step(parameters, optimizer, step);
                projections.AddRange(optimizer.State.Where(state => state.Name.StartsWith("projection", StringComparison.Ordinal))
                    .Select(state => state.Value.ToArray<double>()));
            }
            Assert.Equal(12, projections.Count);
            Assert.Equal(projections[0], projections[3]);           // the second step keeps the first one's
            Assert.NotEqual(projections[0], projections[6]);
            return SomeParameters.All(parameters);
        }
    }

    [Theory]
    [InlineData("all-linear", 4), InlineData("self_attn", 2), InlineData("q_proj", 1), InlineData(@".*\.k_proj", 1), InlineData("head", 1)]
    public void Target_modules_are_named_by_parts_or_regular_expressions(string entry, int count)
    {
        using var parameters = SomeParameters.Allocate(s_specs, DType.Float32);
        using var optimizer = Optimizer.Create(Options(OptimizerKind.GaloreAdamW, "rank=2", entry), parameters);
        Assert.Contains($") for {count} matrices, and beside them AdamW", optimizer.Description);
    }

    [Fact]
    public void Target_modules_that_name_nothing_are_told()
    {
        using var parameters = SomeParameters.Allocate(s_specs, DType.Float32);
        var problem = Assert.Throws<InputException>(() => Optimizer.Create(Options(OptimizerKind.GaloreAdamW, "", "gate_proj", "norm"),
            parameters));
        Assert.Equal("optim_target_modules: gate_proj, norm names none of the 4 matrices that are trained\n"
            + "  why: galore_adamw projects the gradients of the matrices that it names, and of no others\n"
            + "  fix: write all-linear, or a part of such names as model.layers.0.self_attn.q_proj, model.layers.0.self_attn.k_proj, "
            + "layers.0.mlp.down", problem.Message);
    }

    [Fact]
    public void Target_modules_with_an_expression_that_does_not_end_are_told()
    {
        using var parameters = SomeParameters.Allocate(s_specs, DType.Float32);
        Assert.Contains("and given up", Assert.Throws<InputException>(() => Optimizer.Create(Options(OptimizerKind.GaloreAdamW, "",
            "(([a-z_.0-9])*)*!"), parameters)).What);
    }

    // ---- matrices ------------------------------------------------------------------------------------------------

    /// <summary>The eigenvectors of a symmetric matrix with the largest eigenvalues, as columns whose largest element is positive; [n,
    /// Rank].</summary>
    private static double[,] Vectors(double[,] symmetric)
    {
        var n = symmetric.GetLength(0);
        var (a, v) = ((double[,])symmetric.Clone(), Matrix(n, n, (i, j) => i == j ? 1 : 0));
        for (var sweep = 0; sweep < 60; sweep++)
            for (var p = 0; p < n; p++)
                for (var q = p + 1; q < n; q++)
                {
                    if (Math.Abs(a[p, q]) < 1e-300)
                        continue;
                    var angle = 0.5 * Math.Atan2(2 * a[p, q], a[q, q] - a[p, p]);
                    var (s, c) = Math.SinCos(angle);
                    var turn = Matrix(n, n, (i, j) => i == j ? i == p || i == q ? c : 1 : i == p && j == q ? s : i == q && j == p ? -s : 0);
                    a = Times(Turned(turn), Times(a, turn));
                    v = Times(v, turn);
                }
        var order = Enumerable.Range(0, n).OrderByDescending(i => a[i, i]).Take(Math.Min(Rank, n)).ToArray();
        var signs = order.Select(j => Math.Sign(Enumerable.Range(0, n).Select(i => v[i, j]).MaxBy(Math.Abs))).ToArray();
        return Matrix(n, order.Length, (i, j) => signs[j] * v[i, order[j]]);
    }

    private static double Norm(double[,] a, Func<(int I, int J), bool> isCounted) => Math.Sqrt(
        (from i in Enumerable.Range(0, a.GetLength(0))
         from j in Enumerable.Range(0, a.GetLength(1))
         where isCounted((i, j))
         select a[i, j] * a[i, j]).Sum());

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
