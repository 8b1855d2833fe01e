using Handbook.Torch;

namespace Handbook.Models;

/// <summary>Parameters that lie behind one another, so that norm, clipping and update are one pass over memory.</summary>
/// <param name="Values">Masters; [n].</param>
/// <param name="Gradients">Sums of gradients; [n], null where the model is frozen.</param>
/// <param name="Compute">The copy that products read, in bfloat16; [n], null where products read the masters.</param>
/// <param name="Decays">Whether weight decay applies.</param>
/// <param name="Parameters">The parameters in order with their offsets; gaps between them hold zeros.</param>
public sealed record ParameterBucket(Tensor Values, Tensor? Gradients, Tensor? Compute, bool Decays, IReadOnlyList<(Parameter Parameter, long Offset)> Parameters);

/// <summary>All parameters of a model, in two flat buckets: with and without weight decay.</summary>
public sealed class ModelParameters : IDisposable
{
    private const int Alignment = 32;          // elements: 128 bytes of float32, 64 of bfloat16

    private readonly Dictionary<string, Parameter> _byName = [];

    private ModelParameters(IReadOnlyList<ParameterSpec> specs, DType dtype) => (Specs, DType) = (specs, dtype);

    public IReadOnlyList<ParameterSpec> Specs { get; }

    /// <summary>Element type of the masters.</summary>
    public DType DType { get; }

    public IReadOnlyList<ParameterBucket> Buckets { get; private set; } = [];

    public Parameter this[string name] =>
        _byName.TryGetValue(name, out var found) ? found : throw new ArgumentException($"the model has no parameter {name}", nameof(name));

    /// <summary>The parameter, or null where this model has none of the name (a bias, a tied head).</summary>
    public Parameter? Find(string name) => _byName.GetValueOrDefault(name);

    /// <summary>Number of weights.</summary>
    public long Count => Specs.Sum(s => s.Count);

    /// <summary>Makes room for a model's parameters; their values are zeros.</summary>
    /// <param name="specs">What the model consists of.</param>
    /// <param name="dtype">Element type of masters and gradients.</param>
    /// <param name="compute">Element type of products: <paramref name="dtype"/>, or bfloat16 for mixed precision.</param>
    /// <param name="trainable">Whether gradients are wanted.</param>
    public static ModelParameters Allocate(IReadOnlyList<ParameterSpec> specs, DType dtype, DType compute, bool trainable)
    {
        var result = new ModelParameters(specs, dtype);
        var decayed = result.Bucket([.. specs.Where(s => !s.NoWeightDecay)], decays: true, dtype, compute, trainable);
        var others = result.Bucket([.. specs.Where(s => s.NoWeightDecay)], decays: false, dtype, compute, trainable);
        result.Buckets = [.. new[] { decayed, others }.OfType<ParameterBucket>()];
        return result;
    }

    private ParameterBucket? Bucket(ParameterSpec[] specs, bool decays, DType dtype, DType compute, bool trainable)
    {
        if (specs.Length == 0)
            return null;
        using var scope = TensorScope.Enter();
        var total = specs.Sum(s => Aligned(s.Count));
        var values = TensorScope.Detach(Tensor.Zeros(dtype, total));
        var gradients = trainable ? TensorScope.Detach(Tensor.Zeros(dtype, total)) : null;
        var copies = compute == dtype ? null : TensorScope.Detach(Tensor.Zeros(compute, total));
        var placed = new List<(Parameter, long)>();
        var offset = 0L;
        foreach (var spec in specs)
        {
            var parameter = new Parameter(spec.Name, Part(values, offset, spec), trainable);
            if (gradients is not null)
                parameter.SetGradient(Part(gradients, offset, spec));
            if (copies is not null)
                parameter.SetCompute(Part(copies, offset, spec));
            _byName.Add(spec.Name, parameter);
            placed.Add((parameter, offset));
            offset += Aligned(spec.Count);
        }
        return new(values, gradients, copies, decays, placed);
    }

    private static long Aligned(long count) => (count + Alignment - 1) / Alignment * Alignment;

    private static Tensor Part(Tensor flat, long offset, ParameterSpec spec) => flat.Narrow(0, offset, spec.Count).View([.. spec.Shape]).Detach();

    /// <summary>Fills the parameters from a checkpoint.</summary>
    public unsafe void Load(ModelWeights weights)
    {
        foreach (var spec in Specs)
            weights.Read(spec.Name, DType, (nint)this[spec.Name].Value.Data);
        RefreshCompute();
    }

    /// <summary>Copies the masters into the copies that products read; the optimiser does so itself.</summary>
    public void RefreshCompute()
    {
        using var mode = GradMode.Disabled();
        foreach (var bucket in Buckets)
            bucket.Compute?.CopyFrom(bucket.Values);
    }

    /// <summary>Forgets the gradients of the last step; the memory is overwritten by the next.</summary>
    public void ClearGradients()
    {
        foreach (var bucket in Buckets)
            foreach (var (parameter, _) in bucket.Parameters)
                parameter.HasGradient = false;
    }

    /// <summary>Gives every gradient that nothing reached in this step its value, 0; for whoever reads the memory of a whole bucket.</summary>
    public void SettleGradients()
    {
        foreach (var bucket in Buckets)
            foreach (var (parameter, _) in bucket.Parameters)
                if (parameter is { IsTrainable: true, HasGradient: false })
                    parameter.GradientToAddTo();
    }

    public void Dispose()
    {
        foreach (var bucket in Buckets)
        {
            foreach (var (parameter, _) in bucket.Parameters)
                parameter.Dispose();
            bucket.Values.Dispose();
            bucket.Gradients?.Dispose();
            bucket.Compute?.Dispose();
        }
    }
}
