using Handbook.Models;
using Handbook.Torch;
using Handbook.Training.Optimizers;

namespace Handbook.Training.Tests.Optimizers;

/// <summary>Parameters for the tests of optimisers, with values and gradients made from a seed.</summary>
internal static class SomeParameters
{
    /// <summary>A parameter that is one published tensor.</summary>
    public static ParameterSpec One(string name, ValueList<long> shape, ParameterKind kind = ParameterKind.Weight) =>
        new(name, shape, [new(name, shape, 0, 0, shape[0], false)], kind, 0.02);

    /// <summary>A parameter [rows, width] that fuses published matrices.</summary>
    public static ParameterSpec Fused(string name, long width, params (string Name, long Rows)[] parts)
    {
        var starts = parts.Select((_, i) => parts[..i].Sum(part => part.Rows)).ToArray();
        return new(name, [parts.Sum(part => part.Rows), width],
            [.. parts.Select((part, i) => new ParameterPart(part.Name, [part.Rows, width], 0, starts[i], part.Rows, false))],
            ParameterKind.Weight, 0.02);
    }

    /// <summary>An embedding, fused and single matrices of a layer, a norm, a head.</summary>
    public static ParameterSpec[] Model(int width = 6) =>
    [
        One("embed.weight", [9, width], ParameterKind.Embedding),
        Fused("layers.0.attention.query_key_value", width, ("model.layers.0.self_attn.q_proj.weight", width),
            ("model.layers.0.self_attn.k_proj.weight", 4)),
        One("layers.0.mlp.down.weight", [width, 2 * width]),
        One("layers.0.mlp_norm.weight", [width], ParameterKind.NormWeight),
        One("head.weight", [9, width]),
    ];

    public static ModelParameters Allocate(IReadOnlyList<ParameterSpec> specs, DType master, DType? compute = null,
        Func<ParameterSpec, double>? rates = null, string? mastersIn = null)
    {
        var plan = ParameterPlan.Trained(specs, master, compute ?? master).WithRates(rates ?? (_ => 1));
        var parameters = ModelParameters.Allocate(mastersIn is null ? plan : plan.WithMastersIn(mastersIn));
        foreach (var spec in specs)
            Write(parameters[spec.Name].Value, Normal(17, spec.Name, spec.Count));
        parameters.RefreshCompute();
        return parameters;
    }

    /// <summary>A step on gradients that depend on seed and name alone.</summary>
    public static void Step(ModelParameters parameters, Optimizer optimizer, int seed, double rate = 0.01, double scale = 1)
    {
        foreach (var spec in parameters.Specs)
        {
            Write(parameters[spec.Name].Gradient!, Gradient(seed, spec));
            parameters[spec.Name].HasGradient = true;
        }
        optimizer.Step(rate, scale);
    }

    public static double[] Gradient(int seed, ParameterSpec spec) => Normal(seed, "gradient of " + spec.Name, spec.Count);

    public static double[] Values(ModelParameters parameters, string name) => parameters[name].Value.ToArray<double>();

    public static double[] All(ModelParameters parameters) =>
        [.. parameters.Specs.SelectMany(spec => Values(parameters, spec.Name))];

    /// <summary>Normally distributed numbers, each a float32.</summary>
    public static double[] Normal(int seed, string name, long count)
    {
        var numbers = new float[count];
        new NormalNumbers(seed, name).Fill(0, numbers, 1);
        return [.. numbers.Select(x => (double)x)];
    }

    private static void Write(Tensor target, double[] values)
    {
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        target.Detach().CopyFrom(Tensor.From(values, target.Shape));
    }
}
