using System.Text.Json;
using Handbook.Base;
using Handbook.Testing;
using Handbook.Torch.Kernels;


namespace Handbook.Torch.Tests.Kernels;

public sealed unsafe class OptimizerKernelTests
{
    [Theory, MemberData(nameof(OptimizerRun.All), MemberType = typeof(OptimizerRun))]
    public void Parameters_follow_the_golden_run(string file, string name)
    {
        using var run = OptimizerRun.Open(file, name);
        var bucket = run.Initial.EnumerateObject().ToDictionary(p => p.Name, p => new Bucket(p.Value));
        var t = 0L;
        foreach (var step in run.Steps)
        {
            t++;
            var squares = 0.0;
            foreach (var (parameter, values) in bucket)
            {
                OptimizerRun.Numbers(step.GetProperty("grad_" + parameter)).CopyTo(values.G);
                squares += values.SumOfSquares();
            }
            var clip = run.Number("clip_grad_norm", 0);
            var scale = clip > 0 ? Math.Min(1, clip / (Math.Sqrt(squares) + 1e-6)) : 1;
            foreach (var (parameter, values) in bucket)
            {
                values.Step(run, t, scale);
                // 1e-6: some roundings of float32 per step at values near 1.
                Some.Close([.. OptimizerRun.Numbers(step.GetProperty(parameter)).Select(x => (double)x)], values.P, 1e-6);
            }
        }
        foreach (var b in bucket.Values)
            b.Dispose();
    }

    private sealed class Bucket : IDisposable
    {
        private readonly Rows<float> _p, _g, _a, _b;
        private readonly int _rows, _width;

        public Bucket(JsonElement initial)
        {
            var values = OptimizerRun.Numbers(initial);
            _rows = initial[0].ValueKind == JsonValueKind.Array ? initial.GetArrayLength() : 0;
            _width = _rows == 0 ? values.Length : values.Length / _rows;
            (_p, _g, _a, _b) = (new(values.Length), new(values.Length), new(values.Length), new(values.Length));
            values.CopyTo(_p.Span);
        }

        public double[] P => _p.ToArray();

        public Span<float> G => _g.Span;

        public double SumOfSquares()
        {
            var sum = new ExactSum();
            ElementwiseKernel.AddSquares(_g.Pointer, _g.Count, sum);
            return sum.Value;
        }

        public void Step(OptimizerRun o, long t, double scale)
        {
            double rate = o.Number("lr", 1e-3), decay = o.Number("weight_decay", o.Kind == "AdamW" ? 0.01 : 0);
            switch (o.Kind)
            {
                case "AdamW" or "Adam":
                    Apply(new AdamRule(rate, o.Beta(0, 0.9), o.Beta(1, 0.999), o.Number("eps", 1e-8), decay, t,
                    o.Kind == "AdamW")); break;
                case "SGD": Apply(new SgdRule(rate, o.Number("momentum", 0), decay, o.Flag("nesterov", false))); break;
                case "RMSprop": Apply(new RmsPropRule(rate, o.Number("alpha", 0.99), o.Number("eps", 1e-8), decay)); break;
                case "Adagrad": Apply(new AdagradRule(rate, o.Number("eps", 1e-10), decay, o.Number("lr_decay", 0), t)); break;
                case "Lion": Apply(new LionRule(rate, o.Beta(0, 0.9), o.Beta(1, 0.99), decay)); break;
                case "Adafactor" when !o.Flag("relative_step", true):
                    var step = new AdafactorStep(rate, t)
                    {
                        ScaleParameter = o.Flag("scale_parameter", true),
                        WeightDecay = decay,
                        ClipThreshold = o.Number("clip_threshold", 1),
                        DecayRate = o.Number("decay_rate", -0.8)
                    };
                    if (_rows == 0)
                        AdafactorKernel.Step(step, _p.Pointer, _g.Pointer, _a.Pointer, _width, scale);
                    else
                        AdafactorKernel.Step(step, _p.Pointer, _g.Pointer, _a.Pointer, _b.Pointer, _rows, _width, scale);
                    break;
                default: Assert.Fail($"no kernel for {o.Kind}"); break;
            }

            void Apply<TRule>(TRule rule) where TRule : struct, IOptimizerRule =>
                OptimizerKernel.Step(rule, _p.Pointer, _g.Pointer, _a.Pointer, _b.Pointer, null, _p.Count, scale);
        }

        public void Dispose()
        {
            foreach (var rows in new[] { _p, _g, _a, _b })
                rows.Dispose();
        }
    }

    [Fact] // by hand: the first step of Adam moves by the rate, whatever the gradient; the decay takes 1 % of 2
    public void The_first_step_of_AdamW_by_hand()
    {
        using Rows<double> p = new([2]), g = new([5]), m = new(1), v = new(1);
        OptimizerKernel.Step(new AdamRule(0.1, 0.9, 0.999, 0, 0.1, 1), p.Pointer, g.Pointer, m.Pointer, v.Pointer, null, 1);
        Some.Close([2 * 0.99 - 0.1], p.ToArray(), 1e-12);
        Some.Close([0.5], m.ToArray(), 1e-12);
        Some.Close([0.025], v.ToArray(), 1e-12);
    }

    [Fact]
    // decays so small that g + λ·p stays away from 0, where Adam is a sign
    public void Float_and_bfloat16_follow_float64_for_every_rule()
    {
        Compare(t => new AdamRule(1e-2, 0.9, 0.999, 1e-8, 0.1, t));
        Compare(t => new AdamRule(1e-2, 0.9, 0.95, 1e-6, 0.01, t, decoupled: false));
        Compare(_ => new SgdRule(1e-2, 0.9, 0.01, nesterov: true));
        Compare(_ => new SgdRule(1e-2, 0, 0));
        Compare(_ => new RmsPropRule(1e-2, 0.99, 1e-8, 0.01));
        Compare(t => new AdagradRule(1e-2, 1e-10, 0.01, 0.5, t));
        Compare(_ => new LionRule(1e-2, 0.9, 0.99, 0.1));
    }

    private static void Compare<TRule>(Func<long, TRule> rule) where TRule : struct, IOptimizerRule
    {
        const int n = 20_001;                                                   // two pieces and a rest
        var exact = Run<TRule, double, double>(rule, n, out _);
        var single = Run<TRule, float, float>(rule, n, out var copy);
        Some.Close(exact, single, 2e-6);
        Some.Close(Some.Rounded<BFloat16>(single), copy, 0);
        Some.Close(exact, Run<TRule, float, BFloat16>(rule, n, out _), 2e-6);
        Some.Close(exact, Run<TRule, BFloat16, BFloat16>(rule, n, out _), 0.1, 0.05);
    }

    private static double[] Run<TRule, T, TGradient>(Func<long, TRule> rule, int n, out double[] copied) where TRule : struct,
        IOptimizerRule where T : unmanaged where TGradient : unmanaged
    {
        using Rows<T> p = new(Some.Rounded<BFloat16>(Some.Normal(1, n))), a = new(n), b = new(n);
        using var copy = new Rows<BFloat16>(n);
        for (var t = 1; t <= 3; t++)
        {
            using var g = new Rows<TGradient>(Some.Rounded<BFloat16>([.. Some.Normal(1 + t, n).Select(x => x + Math.CopySign(0.3, x))]));
            OptimizerKernel.Step(rule(t), p.Pointer, g.Pointer, a.Pointer, b.Pointer, copy.Pointer, n, gradientScale: 0.5);
        }
        copied = copy.ToArray();
        return p.ToArray();
    }

    [Fact]
    public void A_nan_gradient_reaches_the_parameter_under_every_rule()
    {
        Check(new AdamRule(0.1, 0.9, 0.999, 1e-8, 0, 1));
        Check(new SgdRule(0.1, 0.9, 0));
        Check(new RmsPropRule(0.1, 0.99, 1e-8, 0));
        Check(new AdagradRule(0.1, 1e-10, 0, 0, 1));
        Check(new LionRule(0.1, 0.9, 0.99, 0));

        static void Check<TRule>(TRule rule) where TRule : struct, IOptimizerRule
        {
            using Rows<float> p = new([1, 1]), g = new([double.NaN, 0]), a = new(2), b = new(2);
            OptimizerKernel.Step(rule, p.Pointer, g.Pointer, a.Pointer, b.Pointer, null, 2);
            Assert.True(double.IsNaN(p[0]));
        }
    }

    [Fact] // one step from zero state: R and C are means of g² (c = −0.8, t = 1: β₂ = 0), so by hand for g = ((1, 2), (3, 4))
    public void Adafactor_of_a_matrix_by_hand()
    {
        using Rows<float> p = new([0, 0, 0, 0]), g = new([1, 2, 3, 4]), row = new(2), column = new(2);
        AdafactorKernel.Step(new AdafactorStep(0.1, 1) { ClipThreshold = 100 }, p.Pointer, g.Pointer, row.Pointer, column.Pointer, 2, 2);
        double[] r = [2.5, 12.5], c = [5, 10];
        double[] g4 = [1, 2, 3, 4];
        Some.Close([.. Enumerable.Range(0, 4).Select(i => -0.1 * g4[i] / Math.Sqrt(r[i / 2] * c[i % 2] / 7.5))], p.ToArray(), 1e-6);
    }
}
