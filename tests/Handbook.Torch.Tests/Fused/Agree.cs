
using TestRows = Handbook.Torch.Tests.Kernels.Some;

namespace Handbook.Torch.Tests.Fused;

/// <summary>What an operation is computed in.</summary>
public enum Precision
{
    Float64,
    Float32,
    /// <summary>float32 masters and residual stream, products in bfloat16.</summary>
    Mixed,
}

/// <summary>What an input is to the model.</summary>
public enum Role
{
    /// <summary>Part of the residual stream: the master's precision.</summary>
    Stream,
    /// <summary>Input of a product: the precision of the products.</summary>
    Product,
    Weight,
    /// <summary>A weight that is never trained.</summary>
    Frozen,
}

/// <summary>One input of an operation, with its gradient afterwards.</summary>
internal sealed class Operand
{
    private readonly Tensor? _leaf;

    public Operand(Role role, double[] values, long[] shape, Precision precision, bool frozen = false, Device? device = null)
    {
        var master = precision == Precision.Float64 ? DType.Float64 : DType.Float32;
        var product = precision == Precision.Mixed ? DType.BFloat16 : master;
        frozen |= role == Role.Frozen;
        if (role is not (Role.Weight or Role.Frozen))
        {
            _leaf = Tensor.From(values, shape).To(role == Role.Stream ? master : product).To(device ?? Device.Cpu);
            _leaf.RequiresGrad = !frozen;
            return;
        }
        Parameter = new Parameter("weight", Tensor.From(values, shape).To(master).To(device ?? Device.Cpu).Clone(), trainable: !frozen);
        if (!frozen)
            Parameter.SetGradient(Tensor.Full(777, master, shape).To(device ?? Device.Cpu));             // old content that must not show
        if (product != master)
            Parameter.SetCompute(Parameter.Value.Detach().To(product));
    }

    public Parameter? Parameter { get; }

    public Tensor Value => _leaf ?? Parameter!.Value;

    /// <summary>The sum of what the fused operation put into the parameter and what libtorch put into the leaf.</summary>
    public double[] Gradient()
    {
        if (Parameter is { HasGradient: true })
            return Parameter.Gradient!.ToArray<double>();
        return Value.Grad?.ToArray<double>() ?? new double[Value.Count];
    }
}

/// <summary>Holds a fused operation to its plain version and to finite differences: its outputs and the gradient of every input.</summary>
internal sealed class Agree
{
    private readonly List<(Role Role, double[] Values, long[] Shape)> _inputs = [];

    /// <summary>The operation; an output that is not a single number is weighted by seeded numbers before it is summed.</summary>
    public required Func<Operand[], Tensor[]> Fused { get; init; }

    /// <summary>The same out of ordinary operators.</summary>
    public required Func<Operand[], Tensor[]> Plain { get; init; }

    /// <summary>Adds an input of seeded normal values, rounded to bfloat16 so that every precision starts from the same numbers.</summary>
    public Agree With(Role role, double scale, params long[] shape)
    {
        var count = (int)shape.Aggregate(1L, (a, b) => a * b);
        _inputs.Add((role, TestRows.Rounded<BFloat16>(TestRows.Normal(_inputs.Count + 1, count, scale)), shape));
        return this;
    }

    /// <param name="single">Tolerance of float32, relative to the largest element.</param>
    /// <param name="mixed">Tolerance with bfloat16: some roundings of 1/256 each; null where it is not offered.</param>
    public void Check(double single = 2e-5, double? mixed = 2e-2)
    {
        var values = _inputs.Select(i => i.Values).ToArray();
        var expected = Run(Plain, Precision.Float64, values);
        Compare(expected, Run(Fused, Precision.Float64, values), 1e-11);
        Compare(expected, Run(Fused, Precision.Float32, values), single);
        if (mixed is { } tolerance)
            Compare(expected, Run(Fused, Precision.Mixed, values), tolerance);
    }

    /// <summary>Central differences of the fused operation in float64, input by input.</summary>
    public void CheckDifferences()
    {
        var values = _inputs.Select(i => i.Values).ToArray();
        var gradients = Run(Fused, Precision.Float64, values).Gradients;
        foreach (var k in Enumerable.Range(0, values.Length).Where(k => _inputs[k].Role != Role.Frozen))
            TestRows.Gradient(x => Run(Fused, Precision.Float64, [.. values[..k], x, .. values[(k + 1)..]]).Total, values[k], gradients[k]);
    }

    /// <summary>
    /// A gradient factor other than 1, a second backward over the same graph, and inputs that are frozen one by one; in float64.
    /// </summary>
    public void CheckUses()
    {
        const double factor = 3.7;
        var values = _inputs.Select(i => i.Values).ToArray();
        var plain = Run(Plain, Precision.Float64, values);
        Compare(Times(plain, factor), Run(Fused, Precision.Float64, values, total => (total * factor).Backward()), 1e-10);
        Compare(Times(plain, 1 + factor), Run(Fused, Precision.Float64, values, total =>
        {
            total.Backward(retainGraph: true);
            (total * factor).Backward();
        }), 1e-10);
        Run(Fused, Precision.Float64, values, total =>
        {
            total.Backward();
            Assert.Contains("second time", Assert.Throws<TorchException>(() => total.Backward()).Message, StringComparison.Ordinal);
        });
        for (var frozen = 0; frozen < values.Length; frozen++)
        {
            double[][] gradients = [.. plain.Gradients];
            gradients[frozen] = new double[gradients[frozen].Length];
            Compare(Times(plain with { Gradients = gradients }, factor), Run(Fused, Precision.Float64, values,
                total => (total * factor).Backward(), frozen), 1e-10);
        }
    }

    /// <summary>The fused operation on another device, beside that of the CPU.</summary>
    public void CheckDevice(Device device)
    {
        var values = _inputs.Select(i => i.Values).ToArray();
        foreach (var (precision, tolerance) in ((Precision, double)[])[(Precision.Float32, 2e-5), (Precision.Mixed, 2e-2)])
            Compare(Run(Fused, precision, values), Run(Fused, precision, values, device: device), tolerance);
    }

    private static Result Times(Result result, double factor) =>
        result with { Gradients = [.. result.Gradients.Select(g => Array.ConvertAll(g, x => x * factor))] };

    private sealed record Result(double Total, double[][] Outputs, double[][] Gradients);

    private Result Run(Func<Operand[], Tensor[]> operation, Precision precision, double[][] values, Action<Tensor>? backward = null,
        int frozen = -1, Device? device = null)
    {
        var before = Tensor.LiveCount;
        Result result;
        using (TensorScope.Enter())
        {
            var operands = values.Select((v, i) => new Operand(_inputs[i].Role, v, _inputs[i].Shape, precision, i == frozen, device)).ToArray();
            var outputs = operation(operands);
            var total = outputs.Select((o, i) => Weighted(o, 100 + i)).Aggregate((a, b) => a + b);
            if (total.RequiresGrad)         // not where the only input is frozen
                (backward ?? (t => t.Backward()))(total);
            result = new(total.ToScalar(), [.. outputs.Select(o => o.ToArray<double>())], [.. operands.Select(o => o.Gradient())]);
            foreach (var operand in operands)
                operand.Parameter?.Dispose();
        }
        Assert.Equal(before, Tensor.LiveCount);
        return result;
    }

    private static Tensor Weighted(Tensor output, int seed) => output.Count == 1
        ? output.To(DType.Float64).To(Device.Cpu).Sum()
        : (output.To(DType.Float64).To(Device.Cpu) * Tensor.From(TestRows.Rounded<BFloat16>(TestRows.Normal(seed, (int)output.Count)),
            output.Shape)).Sum();

    private static void Compare(Result expected, Result actual, double tolerance)
    {
        foreach (var (e, a) in expected.Outputs.Concat(expected.Gradients).Zip(actual.Outputs.Concat(actual.Gradients)))
            TestRows.Close(e, a, tolerance * (1 + e.Max(Math.Abs)));
    }
}
