using Handbook.Torch.Devices;
using Handbook.Torch.Fused;
using Handbook.Torch.Quantised;

namespace Handbook.Torch;

/// <summary>One weight of a model: its master value, the copy that products read, and the place where its gradient is summed.</summary>
/// <remarks>
/// Fused operations add to <see cref="Gradient"/> themselves, in the precision of the master, so a step needs neither a copy of each
/// gradient nor a pass to clear them: <see cref="HasGradient"/> says whether the memory holds a sum yet. Operators recorded by libtorch add
/// to the same memory through <see cref="Tensor.Grad"/> once <see cref="ShareGradient"/> was called.
/// </remarks>
internal sealed class Parameter : IDisposable
{
    private readonly Parameter? _whole;         // whose memory it is; null for its own
    private Tensor? _rowSquares;

    /// <param name="name">Path in the model, e.g. <c>layers.0.attention.qkv.weight</c>.</param>
    /// <param name="value">The master value; owned from here on, outside every scope.</param>
    /// <param name="trainable">Whether gradients are wanted.</param>
    public Parameter(string name, Tensor value, bool trainable)
    {
        Name = name;
        Value = TensorScope.Detach(value);
        Compute = Value;
        if (trainable)
            Value.RequiresGrad = true;
    }

    private Parameter(Parameter whole, IReadOnlyList<LowRank> adapters)
    {
        (_whole, Name, Value, Compute, Codes, Adapters) = (whole, whole.Name, whole.Value, whole.Compute, whole.Codes, adapters);
    }

    public string Name { get; }

    /// <summary>What is added to products with it, first to last; empty for most.</summary>
    public IReadOnlyList<LowRank> Adapters { get; set; } = [];

    /// <summary>The weight with the adapters of each group of rows (<see cref="Fused.RowGroups"/>); null where all rows have the
    /// same.</summary>
    public IReadOnlyList<Parameter>? ByGroup { get; private init; }

    /// <summary>Sees what products with it read, [N, in]; for measuring. null: nobody does.</summary>
    public Action<Tensor>? InputObserver { get; set; }

    /// <summary>Rows that are used instead of its own; null for none.</summary>
    public ReplacedRows? Replaced { get; private init; }

    /// <summary>The same frozen weight with other adapters; its memory stays this one's.</summary>
    /// <param name="replaced">Rows that are used instead of its own; null for none.</param>
    public Parameter With(IReadOnlyList<LowRank> adapters, ReplacedRows? replaced = null) => IsTrainable
        ? throw new InvalidOperationException($"{Name} is trained: only one of two weights would know its gradient")
        : new(_whole ?? this, adapters) { Replaced = replaced };

    /// <summary>The same frozen weight for rows of several groups; its memory stays this one's.</summary>
    /// <param name="views">The weight with the adapters of each group, without magnitudes.</param>
    public Parameter Grouped(IReadOnlyList<Parameter> views) => new(_whole ?? this, []) { ByGroup = views };

    /// <summary>Σ of the squares of each row of a frozen weight, in the master's precision; [out]. Computed once.</summary>
    public Tensor RowSquares()
    {
        if (_whole is not null)
            return _whole.RowSquares();
        if (_rowSquares is { } known)
            return known;
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        return _rowSquares = TensorScope.Detach(Product.RowSquares(this));
    }

    /// <summary>A frozen weight that is kept as codes.</summary>
    /// <param name="name">Path in the model.</param>
    /// <param name="codes">Owned from here on.</param>
    public Parameter(string name, QuantisedMatrix codes)
        : this(name, Tensor.Empty(DType.Float32, Device.Meta, codes.Rows, codes.Columns), trainable: false) => Codes = codes;

    /// <summary>The values where they are kept as codes; null where <see cref="Value"/> holds them.</summary>
    public QuantisedMatrix? Codes { get; }

    /// <summary>The master value, a leaf of the graph; of a weight that is kept as codes the shape alone, without memory.</summary>
    public Tensor Value { get; private set; }

    /// <summary>What products read: the master itself, or its copy in bfloat16.</summary>
    public Tensor Compute { get; private set; }

    /// <summary>What a linear layer multiplies with.</summary>
    public WeightOperand Operand => Codes is null ? Compute : Codes;

    /// <summary>The sum of the gradients of this step, in the master's precision; null where the weight is frozen.</summary>
    public Tensor? Gradient { get; private set; }

    /// <summary>Whether <see cref="Gradient"/> holds a sum; otherwise its memory is undefined and the next product overwrites it.</summary>
    public bool HasGradient { get; set; }

    public bool IsTrainable => Gradient is not null;

    /// <summary>Gives the gradient a place; owned from here on.</summary>
    public void SetGradient(Tensor gradient)
    {
        Gradient = TensorScope.Detach(gradient);
        HasGradient = false;
    }

    /// <summary>Gives products their own copy of the value; owned from here on.</summary>
    public void SetCompute(Tensor compute) => Compute = TensorScope.Detach(compute);

    /// <summary>Lets libtorch's own operators accumulate into <see cref="Gradient"/>, which is cleared first.</summary>
    public void ShareGradient()
    {
        Gradient!.ZeroInPlace();
        HasGradient = true;
        Value.Grad = Gradient;
    }

    /// <summary>Adds left · right to the gradient; the operands may be of lower precision.</summary>
    public void AddProduct(Tensor left, Tensor right)
    {
        if (Gradient is null)
            return;
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        if (!Product.TrySum(Gradient, left, right, HasGradient))
            Add(left.Mm(right));
        HasGradient = true;
    }

    /// <summary>Adds a gradient of the value's shape, of any precision.</summary>
    public void Add(Tensor gradient)
    {
        if (Gradient is null)
            return;
        using var mode = GradMode.Disabled();
        DeviceKernels.Of(gradient).Accumulate(gradient, Gradient, HasGradient);
        HasGradient = true;
    }

    /// <summary>The gradient's memory with a defined content: zeros where nothing was summed yet. For kernels that add to it.</summary>
    public Tensor GradientToAddTo()
    {
        if (!HasGradient)
            Gradient!.ZeroInPlace();
        HasGradient = true;
        return Gradient!;
    }

    public void Dispose()
    {
        if (_whole is not null)
            return;
        _rowSquares?.Dispose();
        if (!ReferenceEquals(Compute, Value))
            Compute.Dispose();
        Value.Dispose();
        Codes?.Dispose();
        Gradient?.Dispose();
    }
}
