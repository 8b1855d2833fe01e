using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Kernels;
using Handbook.Training.Optimizers;

namespace Handbook.Training.Tests.Optimizers;

/// <summary>Optimisers that keep their states in 8 bits.</summary>
[Collection("tensors")]
public sealed class CodedStatesTests
{
    private const double Rate = 0.01;

    private static readonly ParameterSpec[] s_specs =
    [
        SomeParameters.Fused("layers.0.qk", 50, ("q.weight", 101), ("k.weight", 90)),       // 5050 and 4500: neither is whole blocks
        SomeParameters.One("layers.0.small.weight", [60, 50]),                               // 3000: too few for 8 bits
        SomeParameters.One("layers.0.norm.weight", [5000], ParameterKind.NormWeight),
    ];

    [Theory]
    [InlineData(OptimizerKind.AdamW8Bit), InlineData(OptimizerKind.Lion8Bit), InlineData(OptimizerKind.RmsProp8Bit)]
    public void Weights_follow_the_definition_with_coded_states(OptimizerKind kind)
    {
        using var parameters = SomeParameters.Allocate(s_specs, DType.Float32, DType.BFloat16);
        using var optimizer = Optimizer.Create(new() { Optim = kind, WeightDecay = 0.1 }, parameters);
        var reference = new Reference(kind);
        var expected = s_specs.ToDictionary(spec => spec.Name, spec => SomeParameters.Normal(17, spec.Name, spec.Count));
        for (var step = 1; step <= 6; step++)
        {
            SomeParameters.Step(parameters, optimizer, step, Rate, scale: 0.5);
            foreach (var (spec, start, count) in Published())
                reference.Step(spec.Name + start, step, expected[spec.Name].AsSpan((int)start, (int)count),
                    SomeParameters.Gradient(step, spec).AsSpan((int)start, (int)count), spec.NoWeightDecay ? 0 : 0.1);
        }
        foreach (var spec in s_specs)
        {
            var actual = SomeParameters.Values(parameters, spec.Name);
            // A number at a border may get the neighbouring code in float32, and goes its own way from there: one in a few hundred.
            Assert.InRange(actual.Zip(expected[spec.Name]).Count(pair => Math.Abs(pair.First - pair.Second) > 1e-5), 0,
                actual.Length / 100);
            Assert.All(actual.Zip(expected[spec.Name]), pair => Assert.Equal(pair.First, pair.Second, 2 * Rate));
            Assert.Equal(actual.Select(x => (double)BFloat16.From((float)x).ToSingle()), parameters[spec.Name].Compute.ToArray<double>());
        }
    }

    /// <summary>The rows of each published tensor: its blocks begin there.</summary>
    private static IEnumerable<(ParameterSpec Spec, long Start, long Count)> Published() =>
        from spec in s_specs
        from part in spec.Parts
        let width = spec.Shape.Count > 1 ? spec.Shape[1] : 1
        select (spec, part.Start * width, part.Rows * width);

    /// <summary>The step in float64, with states that are rounded to the nearest of 256 values times the largest of 256
    /// neighbours.</summary>
    private sealed class Reference(OptimizerKind kind)
    {
        private readonly Dictionary<string, double[]> _states = [];

        public void Step(string name, int t, Span<double> p, ReadOnlySpan<double> gradient, double decay)
        {
            var m = State(name + " m", p.Length);
            var v = State(name + " v", p.Length);
            for (var i = 0; i < p.Length; i++)
            {
                var g = gradient[i] * 0.5;
                switch (kind)
                {
                    case OptimizerKind.AdamW8Bit:
                        m[i] = 0.9 * m[i] + 0.1 * g;
                        v[i] = 0.999 * v[i] + 0.001 * g * g;
                        p[i] -= Rate * decay * p[i];
                        p[i] -= Rate * (m[i] / (1 - Math.Pow(0.9, t))) / (Math.Sqrt(v[i] / (1 - Math.Pow(0.999, t))) + 1e-8);
                        break;
                    case OptimizerKind.Lion8Bit:
                        p[i] -= Rate * decay * p[i] + Rate * Math.Sign(0.9 * m[i] + 0.1 * g);
                        m[i] = 0.999 * m[i] + 0.001 * g;
                        break;
                    default:
                        g += decay * p[i];
                        m[i] = 0.99 * m[i] + 0.01 * g * g;
                        p[i] -= Rate * g / (Math.Sqrt(m[i]) + 1e-8);
                        break;
                }
            }
            if (p.Length < 4096)
                return;
            Round(m, DynamicCode.Signed.Values);
            Round(v, DynamicCode.Unsigned.Values);
        }

        private double[] State(string name, int count) =>
            _states.TryGetValue(name, out var found) ? found : _states[name] = new double[count];

        private static void Round(double[] state, ReadOnlySpan<float> values)
        {
            for (var start = 0; start < state.Length; start += 256)
            {
                var block = state.AsSpan(start, Math.Min(256, state.Length - start));
                var largest = 0.0;
                foreach (var x in block)
                    largest = Math.Max(largest, Math.Abs(x));
                if (largest == 0)
                    continue;
                foreach (ref var x in block)
                {
                    var (best, at) = (double.MaxValue, 0.0);
                    foreach (var value in values)
                        if (Math.Abs(x / largest - value) < best)
                            (best, at) = (Math.Abs(x / largest - value), value);
                    x = at * largest;
                }
            }
        }
    }

    [Fact]
    public void Coded_and_plain_AdamW_stay_close()
    {
        using var coded = SomeParameters.Allocate(s_specs, DType.Float32);
        using var plain = SomeParameters.Allocate(s_specs, DType.Float32);
        using var first = Optimizer.Create(new() { Optim = OptimizerKind.AdamW8Bit }, coded);
        using var second = Optimizer.Create(new(), plain);
        var start = SomeParameters.All(plain);
        for (var step = 1; step <= 20; step++)
        {
            SomeParameters.Step(coded, first, step);
            SomeParameters.Step(plain, second, step);
        }
        var (a, b) = (SomeParameters.All(coded), SomeParameters.All(plain));
        var moved = Math.Sqrt(b.Zip(start).Sum(pair => Math.Pow(pair.First - pair.Second, 2)));
        var apart = Math.Sqrt(a.Zip(b).Sum(pair => Math.Pow(pair.First - pair.Second, 2)));
        Assert.InRange(apart / moved, 1e-6, 0.05);        // a few per cent of the way: the codes are about one per cent apart
        // what is too small for codes is the same
        Assert.Equal(SomeParameters.Values(plain, "layers.0.small.weight"), SomeParameters.Values(coded, "layers.0.small.weight"));
    }

    [Theory]
    [InlineData(OptimizerKind.AdamW8Bit, "embedding_bits=8", 2.2), InlineData(OptimizerKind.Lion8Bit, "embedding_bits=8", 1.1)]
    [InlineData(OptimizerKind.AdamW8Bit, "embedding_bits=32", 5.1), InlineData(OptimizerKind.AdamW8Bit, null, 5.1)]
    [InlineData(OptimizerKind.AdamW, null, 8)]
    public void State_costs_so_many_bytes_a_weight(OptimizerKind kind, string? arguments, double limit)
    {
        ParameterSpec[] specs = [SomeParameters.One("embed.weight", [1000, 96], ParameterKind.Embedding),
            SomeParameters.One("layers.0.up.weight", [1000, 96]), SomeParameters.One("norm.weight", [96], ParameterKind.NormWeight)];
        using var parameters = SomeParameters.Allocate(specs, DType.Float32);
        using var scope = TensorScope.Enter();
        using var optimizer = Optimizer.Create(new() { Optim = kind, OptimArgs = arguments }, parameters);
        var bytes = optimizer.State.Sum(state => state.Value.Count * state.Value.DType.Size);
        Assert.InRange((double)bytes / parameters.Count, limit * 0.9, limit);
    }

    [Fact] // as the Python trainer tells bitsandbytes: what is an nn.Embedding there keeps 32 bits, and a head is a linear layer
    public void Tables_keep_32_bits_and_a_head_of_its_own_does_not()
    {
        string[] tables = ["embed.weight", "positions.weight", "embed.weight.default"];
        ParameterSpec[] specs = [.. tables.Select(name => SomeParameters.One(name, [100, 96], ParameterKind.Embedding)),
            SomeParameters.One("head.weight", [100, 96], ParameterKind.Embedding),
            SomeParameters.One("embed.default.lora_A.weight", [100, 96], ParameterKind.Embedding)];
        using var parameters = SomeParameters.Allocate(specs, DType.Float32);
        using var scope = TensorScope.Enter();
        using var optimizer = Optimizer.Create(new() { Optim = OptimizerKind.AdamW8Bit }, parameters);
        Assert.Equal(tables.Select(name => "exp_avg." + name).Order(), optimizer.State.Where(state => state.Value.DType == DType.Float32
            && state.Name.StartsWith("exp_avg.", StringComparison.Ordinal)).Select(state => state.Name).Order());
    }

    [Fact]
    public void A_checkpoint_names_codes_and_their_scales()
    {
        using var parameters = SomeParameters.Allocate(s_specs, DType.Float32);
        using var scope = TensorScope.Enter();
        using var optimizer = Optimizer.Create(new() { Optim = OptimizerKind.AdamW8Bit }, parameters);
        Assert.Equal(
            [
                ("exp_avg.q.weight", DType.UInt8, "101 50"), ("exp_avg_absmax.q.weight", DType.Float32, "20"),
                ("exp_avg_sq.q.weight", DType.UInt8, "101 50"), ("exp_avg_sq_absmax.q.weight", DType.Float32, "20"),
                ("exp_avg.k.weight", DType.UInt8, "90 50"), ("exp_avg_absmax.k.weight", DType.Float32, "18"),
                ("exp_avg_sq.k.weight", DType.UInt8, "90 50"), ("exp_avg_sq_absmax.k.weight", DType.Float32, "18"),
                ("exp_avg.layers.0.small.weight", DType.Float32, "60 50"), ("exp_avg_sq.layers.0.small.weight", DType.Float32, "60 50"),
                ("exp_avg.layers.0.norm.weight", DType.UInt8, "5000"), ("exp_avg_absmax.layers.0.norm.weight", DType.Float32, "20"),
                ("exp_avg_sq.layers.0.norm.weight", DType.UInt8, "5000"), ("exp_avg_sq_absmax.layers.0.norm.weight", DType.Float32, "20"),
            ],
            optimizer.State.Select(state => (state.Name, state.Value.DType, string.Join(' ', state.Value.Shape))));
    }
}
