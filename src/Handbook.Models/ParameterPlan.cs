using Handbook.Base;
using Handbook.Models.Adapters;
using Handbook.Models.Sharding;
using Handbook.Torch;
using Handbook.Torch.Quantised;

namespace Handbook.Models;

/// <summary>Where a parameter's values lie.</summary>
internal enum ParameterStorage
{
    /// <summary>Behind others in flat memory, so that norm, clipping and update are one pass.</summary>
    Bucket,

    /// <summary>In memory of its own.</summary>
    Resident,

    /// <summary>In the file that they were read from: nothing is copied, pages come when they are touched.</summary>
    Mapped,

    /// <summary>As codes with scales, which products read tile by tile.</summary>
    Codes,
}

/// <summary>How the linear weights of a model's layers are kept where they are quantised: <c>load_in_4bit</c>, <c>load_in_8bit</c>.</summary>
/// <param name="Format">The codes.</param>
/// <param name="Compute">Element type of products (<c>bnb_4bit_compute_dtype</c>): float32, or bfloat16 for values that are rounded to
/// it.</param>
/// <param name="RoundsInputs">Rounds the inputs of int8 weights too, as LLM.int8 does where it does not train: a result then depends on the
/// rows that come with it.</param>
internal sealed record WeightQuantisation(QuantisedFormat Format, DType Compute, bool RoundsInputs = false)
{
    /// <summary>Whether the reference quantises such a parameter: linear weights. Embeddings and the head stay as they
    /// are, and so do the router and the score head, which are multiplied in full precision, and experts that are published as one tensor,
    /// which are no linear layers there.</summary>
    public static bool Applies(ParameterSpec spec) => spec.Kind == ParameterKind.Weight && !spec.IsExact && !spec.IsStacked
        && (spec.Name.StartsWith("layers.", StringComparison.Ordinal)
            || spec.Name.StartsWith(ParameterSpec.Projection, StringComparison.Ordinal));
}

/// <summary>How one parameter is kept.</summary>
internal sealed record ParameterRule
{
    public required ParameterSpec Spec { get; init; }

    public required ParameterStorage Storage { get; init; }

    /// <summary>Element type of the values; the master's where it is trained.</summary>
    public required DType Type { get; init; }

    /// <summary>Element type of a copy that products read; null where they read the values themselves, widened tile by tile where
    /// those are narrower.</summary>
    public DType? Copy { get; init; }

    /// <summary>The codes; null where the values are kept themselves.</summary>
    public WeightQuantisation? Quantisation { get; init; }

    /// <summary>Whether it has a gradient and a place in the optimiser's state.</summary>
    public bool IsTrained { get; init; }

    /// <summary>The adapter that it belongs to; null for the model's own.</summary>
    public string? Adapter { get; init; }

    /// <summary>Whether the master, its gradient and the optimiser's states are rounded to bfloat16 after every step, as if they were kept in
    /// it.</summary>
    public bool Rounds { get; init; }

    /// <summary>Whether weight decay applies.</summary>
    public bool Decays => !Spec.NoWeightDecay;

    /// <summary>Whether something reads the values themselves where products read a copy: look-ups, norms, exact products, adapters.</summary>
    public bool ReadsMaster => Adapter is not null || Spec.NoWeightDecay || Spec.IsTable || Spec.IsExact
        || Spec.Kind == ParameterKind.Vector;

    /// <summary>What the learning rate is multiplied by for this parameter: 1, or as LoRA+ and <c>embedding_learning_rate</c>
    /// say.</summary>
    public double RateFactor { get; init; } = 1;

    /// <summary>Bytes of memory that values and copy take, apart from the file's own pages.</summary>
    public long ResidentBytes => Quantisation is { } codes ? codes.Format.Bytes(Spec.Shape[0], Spec.Count / Spec.Shape[0])
        : Spec.Count * ((Storage == ParameterStorage.Mapped ? 0 : Type.Size) + (Copy?.Size ?? 0));

    /// <summary>Bytes of the gradient.</summary>
    public long GradientBytes => IsTrained ? Spec.Count * Type.Size : 0;
}

/// <summary>For every parameter of a model: whether it is trained, where its values lie and with which precision, what products read. Made
/// before anything is loaded.</summary>
/// <remarks>
/// <code>
/// trained, float32:   values f32 in buckets, which products read              4 bytes a weight, and the gradient
/// trained, mixed:     values f32 in buckets, a bf16 copy that products read   6 bytes a weight, and the gradient
/// frozen:             values as the file has them, mapped where one tensor of the file is one parameter      what the file costs
/// quantised:          codes with scales, mapped where the file has them                     nf4 0.56, double 0.52, int8 1.0 bytes a weight
/// </code>
/// </remarks>
internal sealed record ParameterPlan
{
    private ParameterPlan(DType residual, DType compute, IEnumerable<ParameterRule> rules) =>
        (Residual, Compute, Rules) = (residual, compute, [.. rules]);

    /// <summary>Element type of the residual stream, of norms and of sums: float32, or float64 in tests.</summary>
    public DType Residual { get; }

    /// <summary>Element type of what products read and write.</summary>
    public DType Compute { get; }

    /// <summary>One rule per parameter, in the order of the model.</summary>
    public IReadOnlyList<ParameterRule> Rules { get; private init; }

    /// <summary>The adapters over the model, lowest first; empty where weights are trained themselves.</summary>
    public IReadOnlyList<AdapterLayout> Adapters { get; private init; } = [];

    /// <summary>The folder in which masters lie in a file where products read a copy of them, so that only the optimiser touches them; null
    /// keeps them in memory.</summary>
    public string? SpillFolder { get; private init; }

    /// <summary>Whether any masters lie in a file.</summary>
    public bool Spills => SpillFolder is not null && Compute != Residual;

    /// <summary>Where everything lies that products read; what a file maps is copied there.</summary>
    public Device Device { get; private init; } = Device.Cpu;

    /// <summary>Which part of what is trained is this process's.</summary>
    public Shard Shard { get; private init; } = Shard.Alone;

    /// <summary>Weights that are trained.</summary>
    public long TrainedCount => Rules.Where(rule => rule.IsTrained).Sum(rule => rule.Spec.Count);

    /// <summary>Bytes that values and copies take.</summary>
    public long ResidentBytes => Rules.Sum(rule => rule.ResidentBytes);

    /// <summary>Everything is trained.</summary>
    /// <param name="master">Element type of masters and gradients.</param>
    /// <param name="compute">Element type of products: <paramref name="master"/>, or bfloat16 for mixed precision.</param>
    public static ParameterPlan Trained(IReadOnlyList<ParameterSpec> specs, DType master, DType compute) =>
        new(master, compute, specs.Select(spec => Kept(spec, master, compute, trained: true)));

    /// <summary>Some parameters are trained, the others are kept as the file has them.</summary>
    /// <param name="weights">The checkpoint that will be loaded.</param>
    /// <param name="trained">Says of a parameter whether it is trained.</param>
    /// <param name="quantisation">How the frozen linear weights are quantised; null for as the file has them.</param>
    public static ParameterPlan Partly(IStoredWeights weights, DType master, DType compute, Func<ParameterSpec, bool> trained,
        WeightQuantisation? quantisation = null) =>
        new(master, compute,
            weights.Parameters.Select(spec =>
            trained(spec) ? Kept(spec, master, compute, trained: true) : AsStored(weights, spec, compute, quantisation)));

    /// <summary>Nothing is trained, but values lie in flat memory in the master's precision, for a model that is changed as a whole (a
    /// reference that follows its policy).</summary>
    public static ParameterPlan Resident(IReadOnlyList<ParameterSpec> specs, DType master, DType compute) =>
        new(master, compute, specs.Select(spec => Kept(spec, master, compute, trained: false)));

    /// <summary>Nothing is trained: values stay in the file's own element type, mapped where they can be.</summary>
    /// <param name="weights">The checkpoint that will be loaded.</param>
    /// <param name="compute">Element type of products.</param>
    /// <param name="quantisation">How linear weights are quantised; null for as the file has them. What the file has as codes keeps
    /// its own.</param>
    /// <param name="roundsInputs">See <see cref="WeightQuantisation.RoundsInputs"/>.</param>
    public static ParameterPlan Frozen(IStoredWeights weights, DType compute, WeightQuantisation? quantisation = null,
        bool roundsInputs = false) =>
        compute == DType.Float64 && quantisation is null
        ? Resident(weights.Parameters, DType.Float64, DType.Float64)
        : new(compute == DType.Float64 ? DType.Float64 : DType.Float32, compute,
            weights.Parameters.Select(spec => AsStored(weights, spec, compute, quantisation, roundsInputs)));

    /// <summary>The same model, frozen, with adapters over it.</summary>
    /// <param name="adapters">Lowest first.</param>
    /// <param name="upRate">What the learning rate of B matrices and vectors is multiplied by (LoRA+, arXiv:2402.12354).</param>
    /// <exception cref="InputException">They undo one another.</exception>
    public ParameterPlan With(IReadOnlyList<AdapterLayout> adapters, double upRate = 1)
    {
        AdapterLayout.RequireTogether(adapters);
        return this with
        {
            Adapters = adapters,
            Rules = [.. Rules, .. adapters.SelectMany(adapter => adapter.Specs.Select(spec => Of(adapter, spec, adapter.IsTrained, upRate))
                .Concat(adapter.FixedSpecs.Select(spec => Of(adapter, spec, trained: false, 1))))],
        };
    }

    private ParameterRule Of(AdapterLayout adapter, ParameterSpec spec, bool trained, double upRate)
    {
        var read = adapter.IsBFloat16 ? DType.BFloat16 : Compute;
        return (trained ? Kept(spec, Residual, read, trained) : new()
        {
            Spec = spec,
            Storage = ParameterStorage.Resident,
            Type = Residual,
            Copy = read == Residual ? null : read,
        }) with
        { Adapter = adapter.Name, RateFactor = adapter.IsUp(spec) ? upRate : 1, Rounds = trained && adapter.IsBFloat16 };
    }

    /// <summary>The same with a factor on each parameter's learning rate.</summary>
    public ParameterPlan WithRates(Func<ParameterSpec, double> factor) =>
        this with { Rules = [.. Rules.Select(rule => rule with { RateFactor = rule.RateFactor * factor(rule.Spec) })] };

    /// <summary>The same with masters that products do not read in a file of a folder.</summary>
    public ParameterPlan WithMastersIn(string folder) => this with { SpillFolder = folder };

    /// <summary>The same on another device: nothing is mapped there, and weights are kept as wide as products are, which only the CPU's widen
    /// on their way.</summary>
    public ParameterPlan On(Device device) => device.IsCpu ? this with { Device = device } : this with
    {
        Device = device,
        Rules = [.. Rules.Select(rule => rule.Storage == ParameterStorage.Mapped ? rule with { Storage = ParameterStorage.Resident } : rule)
            .Select(rule => !IsNarrow(rule) ? rule : rule.Spec.Kind == ParameterKind.Embedding ? rule with { Copy = Compute }
                : rule with { Type = Compute })],
    };

    /// <summary>The same on the device of another plan.</summary>
    public ParameterPlan Beside(ParameterPlan other) => On(other.Device);

    private bool IsNarrow(ParameterRule rule) => rule is { Quantisation: null, Copy: null, Adapter: null, Spec.IsExact: false }
        && rule.Spec.Kind is ParameterKind.Weight or ParameterKind.Embedding && rule.Type.Size < Compute.Size;

    /// <summary>The same with what is trained shared out among processes.</summary>
    public ParameterPlan SharedOut(Shard shard) => this with { Shard = shard };

    /// <summary>The same with frozen matrices of layers that no file holds as they are used (fused, transposed, of another type) where
    /// <see cref="ModelWeights.UseAssembled"/> finds them, so that processes of a host share them.</summary>
    public ParameterPlan Assembled() => Stored(rule => rule is
    {
        Storage: ParameterStorage.Resident, Adapter: null, Copy: null,
        Spec: { Kind: ParameterKind.Weight, IsExact: false }
    } && rule.Spec.Name.StartsWith("layers.", StringComparison.Ordinal)
        ? ParameterStorage.Mapped : rule.Storage);

    /// <summary>The same with values that lie elsewhere.</summary>
    public ParameterPlan Stored(Func<ParameterRule, ParameterStorage> where) =>
        this with { Rules = [.. Rules.Select(rule => rule with { Storage = where(rule) })] };

    private static ParameterRule Kept(ParameterSpec spec, DType master, DType compute, bool trained) => spec.Kind == ParameterKind.Buffer
        ? new() { Spec = spec, Storage = ParameterStorage.Resident, Type = master } : new()
        {
            Spec = spec,
            Storage = ParameterStorage.Bucket,
            Type = master,
            Copy = compute == master ? null : compute,
            IsTrained = trained,
        };

    private static ParameterRule AsStored(IStoredWeights weights, ParameterSpec spec, DType compute, WeightQuantisation? quantisation,
        bool roundsInputs = false)
    {
        var coded = CodesOf(weights, spec, compute, quantisation);
        if (compute == DType.Float64 && coded is null)
            return Kept(spec, compute, compute, trained: false);
        // Norms and biases are few; the router and the score head are multiplied in full precision.
        if (spec.Kind is not (ParameterKind.Weight or ParameterKind.Embedding) || spec.IsExact)
            return new()
            {
                Spec = spec,
                Storage = ParameterStorage.Resident,
                Type = DType.Float32,
                Copy = spec.Kind == ParameterKind.Bias && compute != DType.Float32 ? compute : null
            };
        if (coded is not null)
            return new()
            {
                Spec = spec,
                Storage = ParameterStorage.Codes,
                Type = coded.Compute,
                Quantisation = coded with { RoundsInputs = roundsInputs },
            };
        var stored = weights.DTypeOf(spec.Name);
        var isTable = spec.Name is ParameterSpec.Embedding or ParameterSpec.Positions;
        var isRead = !isTable || weights.Config.TiedHead && spec.Name == ParameterSpec.Embedding;        // by a product
        var fits = stored == compute || compute == DType.Float32 && stored is DType.BFloat16 or DType.Float16;
        if (!fits && !isTable)
            return new() { Spec = spec, Storage = ParameterStorage.Resident, Type = compute };
        return new()
        {
            Spec = spec,
            Storage = weights.CanMap(spec.Name) ? ParameterStorage.Mapped : ParameterStorage.Resident,
            Type = stored == DType.Float64 ? DType.Float32 : stored,
            Copy = isRead && !fits ? compute : null,
        };
    }

    /// <summary>The codes of the file, or else those that are asked for; null where a weight is kept as values.</summary>
    private static WeightQuantisation? CodesOf(IStoredWeights weights, ParameterSpec spec, DType compute, WeightQuantisation? quantisation)
    {
        if (!WeightQuantisation.Applies(spec))
            return null;
        var products = quantisation?.Compute ?? (compute == DType.BFloat16 ? DType.BFloat16 : DType.Float32);
        return (weights.FormatOf(spec.Name) ?? quantisation?.Format) is { } format ? new(format, products) : null;
    }
}
