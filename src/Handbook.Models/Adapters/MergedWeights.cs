using Handbook.Base;
using Handbook.Models.Files;
using Handbook.Torch;
using Handbook.Torch.Fused;
using Handbook.Torch.Quantised;

namespace Handbook.Models.Adapters;

/// <summary>A network with adapters as one without them: the tensors of a model that computes the same.</summary>
/// <remarks>
/// Each adapter takes the weight that the ones before it give:
/// <code>
/// LoRA:       W' = W + s·B·A                    b' = b + s·β             β: the bias of B
/// DoRA:       V = W + s·B·A,  f = m / ‖V‖       W' = f ⊙ V,  b' = b + f ⊙ s·β      norms and factors by row
/// embedding:  E' = E + s·A·Bᵀ                   with DoRA by column:  E' = m / ‖E + s·A·Bᵀ‖ ⊙ (E + s·A·Bᵀ)
/// </code>
/// Some rows are computed at a time, in float64, and rounded to the element type of the file as they are kept: memory holds one parameter
/// in
/// that type, and one tile. Sources: Hu et al. 2021, arXiv:2106.09685, §4.1; Liu et al. 2024, arXiv:2402.09353, eq. 5.
/// </remarks>
internal sealed class MergedWeights
{
    /// <summary>Elements of a tile: 32 MB in float64.</summary>
    private const long TileElements = 1 << 22;

    private readonly Decoder _model;
    private readonly ModelWeights _values;
    private readonly DType? _dtype;
    private readonly Dictionary<string, ParameterSpec> _specs;
    private readonly bool _unties;
    private TensorData? _last;
    private double[][]? _columns;       // of adapters of the embedding, 1 / ‖…‖ of each column; empty without magnitudes

    /// <param name="model">The network with the adapters active that are merged.</param>
    /// <param name="values">The checkpoint of the network: W, but for <see cref="OfCodes"/>.</param>
    /// <param name="config">Of <paramref name="model"/>.</param>
    /// <param name="dtype">Element type of every tensor; null keeps each as the file has it, and gives codes that of the embedding.</param>
    /// <exception cref="InputException">A part of an adapter has no place in a model without it.</exception>
    public MergedWeights(Decoder model, ModelWeights values, PublishedConfig config, DType? dtype = null)
    {
        (_model, _values, _dtype) = (model, values, dtype);
        _unties = config.Decoder is { TiedHead: true, Head: ModelHead.Language } && !model.Parameters.IsTied;
        Config = _unties ? config.With(("tie_word_embeddings", false)) : config;
        if (values.Quantised is not null)
            Config = Config.WithoutQuantisation();
        if (_unties && Config.Decoder.TiedHead)
            throw new InputException($"the adapter changes the head or the embedding of a {config.Decoder.ModelType}, which has one matrix "
                + "for both", why: "a merged model would need two, and this family has no place for them",
                fix: "use the adapter as it is; wherever a model is named, its folder may be");
        Specs = Config.Family.Parameters(Config.Decoder, fused: true);
        _specs = Specs.ToDictionary(spec => spec.Name);
        foreach (var layer in model.Parameters.Adapters.SelectMany(adapter => adapter.Layers))
            if (layer.Targets.FirstOrDefault(target => target.UpBias is not null) is { } target
                && !_specs.ContainsKey(BiasOf(layer.Base.Name)))
                throw new InputException($"the adapter has a bias on {target.Module} (lora_bias), and the model has none there",
                    why: "a merged model has no place for it",
                        fix: "use the adapter as it is; wherever a model is named, its folder may be");
    }

    /// <summary>Whether W is what the network computes with where it keeps a weight as codes: their values. Otherwise it is what the
    /// checkpoint has, from which the codes were made.</summary>
    public bool OfCodes { get; init; }

    /// <summary>The config of the merged model: the network's, with a head of its own where adapters made it differ from the
    /// embedding.</summary>
    public PublishedConfig Config { get; }

    /// <summary>The parameters of the merged model.</summary>
    public IReadOnlyList<ParameterSpec> Specs { get; }

    /// <summary>Whether the head was the embedding, and no longer is.</summary>
    public bool HasOwnHead => _unties;

    /// <summary>Element type of the model as a whole: that of its embedding.</summary>
    public DType DType => _dtype ?? _values.DTypeOf(ParameterSpec.Embedding);

    /// <summary>How many published layers differ from the base's.</summary>
    public int Changed => _model.Parameters.Adapters.SelectMany(adapter => adapter.Layers.SelectMany(layer => layer.Targets)
        .Select(target => target.Module).Concat(adapter.Whole.SelectMany(pair => pair.Base.Parts)
            .Select(part => part.Published[..part.Published.LastIndexOf('.')]))
        .Concat(adapter.Tokens is null ? [] : [AdapterModules.PathOf(Config.Family.EmbeddingName)])).Distinct().Count();

    /// <summary>The tensors under their published names, computed as they are written.</summary>
    public IReadOnlyList<TensorToSave> Tensors() => PublishedTensors.Of(Specs, Read, DTypeOf);

    // The values of codes have a type that says how they were made (int8: float16), not what the model is kept in.
    private DType DTypeOf(ParameterSpec spec) => _dtype ?? (_values.HasNewHead && spec.Name == "score.weight"
        || _values.FormatOf(NameInBase(spec)) is not null ? DType : _values.DTypeOf(NameInBase(spec)));

    /// <summary>The parameter of the base that one of ours begins with.</summary>
    private string NameInBase(ParameterSpec spec) => _unties && spec.Name == ParameterSpec.Head ? ParameterSpec.Embedding : spec.Name;

    private Parameter ParameterOf(ParameterSpec spec) => spec.Name == ParameterSpec.Head ? _model.Head : _model.Parameters[spec.Name];

    private bool IsReplaced(ParameterSpec spec) => ParameterOf(spec).Name != NameInBase(spec);

    private static string BiasOf(string weight) => weight[..^".weight".Length] + ".bias";

    /// <summary>The weight whose adapters add to a bias; null where none does.</summary>
    private ParameterSpec? BiasSource(ParameterSpec spec) => spec.Kind == ParameterKind.Bias
        && _specs.GetValueOrDefault(spec.Name[..^".bias".Length] + ".weight") is { } weight
        && ParameterOf(weight).Adapters.Any(adapter => adapter.Parts.Any(part => part.UpBias is not null)) ? weight : null;

    /// <summary>A merged parameter in the element type of its file. Several published tensors may lie in it: the last one is
    /// kept.</summary>
    private TensorData Read(string name)
    {
        if (_last is { } last && last.Info.Name == name)
            return last;
        _last?.Owner.Dispose();
        var spec = _specs[name];
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var (data, values) = Base(spec, DTypeOf(spec));
        if (ParameterOf(spec).Replaced is { } trained)
            for (var i = 0; i < trained.Ids.Length; i++)
                values.Narrow(0, trained.Ids[i], 1).CopyFrom(trained.Rows.Value.Detach().Narrow(0, i, 1));
        if (BiasSource(spec) is { } weight)
            values.CopyFrom(values.To(DType.Float64) + Offset(weight));
        else if (ParameterOf(spec).Adapters.Count > 0)
            Tiles(values, (tile, start) => tile.CopyFrom(Merged(spec, tile, start).Values));
        else if (CodesOf(spec) is not null)
            Tiles(values, (tile, start) => tile.CopyFrom(Unadapted(spec, tile, start)));
        _last = data;
        return data;
    }

    /// <summary>What adapters add to the outputs of a weight; [out].</summary>
    private Tensor Offset(ParameterSpec weight)
    {
        var offset = Tensor.Zeros(DType.Float64, weight.Shape[0]);
        var (data, values) = Base(weight, DTypeOf(weight));
        using (data.Owner)
            Tiles(values, (tile, start) => offset.Narrow(0, start, tile.Size(0)).CopyFrom(Merged(weight, tile, start).Offset));
        return offset;
    }

    /// <summary>The codes whose values are W; null where numbers are.</summary>
    private QuantisedMatrix? CodesOf(ParameterSpec spec) => OfCodes && !IsReplaced(spec) ? ParameterOf(spec).Codes : null;

    /// <summary>A parameter of the base, or what an adapter has in its place, in memory of its own; of codes the memory alone.</summary>
    private unsafe (TensorData Data, Tensor Values) Base(ParameterSpec spec, DType dtype)
    {
        var buffer = new NativeBuffer(spec.Count * dtype.Size);
        var values = Tensor.Wrap(buffer.Pointer, dtype, [.. spec.Shape], new MemoryHold(buffer));
        if (CodesOf(spec) is not null)
            return (new(new(spec.Name, dtype, spec.Shape), (nint)buffer.Pointer, buffer), values);      // see Unadapted
        if (IsReplaced(spec))
            values.CopyFrom(ParameterOf(spec).Value.Detach());
        else
            _values.Read(NameInBase(spec), dtype, (nint)buffer.Pointer);
        return (new(new(spec.Name, dtype, spec.Shape), (nint)buffer.Pointer, buffer), values);
    }

    private static void Tiles(Tensor values, Action<Tensor, long> body)
    {
        var (rows, height) = (values.Size(0), Math.Max(1, TileElements / values.Size(1)));
        for (var start = 0L; start < rows; start += height)
        {
            using var scope = TensorScope.Enter();
            body(values.Narrow(0, start, Math.Min(height, rows - start)), start);
        }
    }

    /// <summary>Some rows of W in float64; [rows, in].</summary>
    private Tensor Unadapted(ParameterSpec spec, Tensor tile, long start) => CodesOf(spec) is { } codes
        ? codes.Tile(DType.Float64, start, tile.Size(0), 0, codes.Columns) : tile.To(DType.Float64);

    /// <summary>Some rows with all adapters, and what is added to their bias; [rows, in] and [rows].</summary>
    private (Tensor Values, Tensor Offset) Merged(ParameterSpec spec, Tensor tile, long start)
    {
        var (values, offset) = (Unadapted(spec, tile, start), Tensor.Zeros(DType.Float64, tile.Size(0)));
        foreach (var adapter in ParameterOf(spec).Adapters)
            foreach (var part in adapter.Parts)
                if (spec.Name == ParameterSpec.Embedding)
                {
                    values.AddInPlace(Wide(adapter.Down).Narrow(0, start, values.Size(0)).Mm(Wide(part.Up).T()), part.Scale);
                    if (part.Magnitude is { } magnitude)
                        values.CopyFrom(values * Wide(magnitude) * Columns(spec)[adapter]);
                }
                else
                    Add(adapter, part, values, offset, start);
        return (values, offset);
    }

    /// <summary>1 / ‖…‖ of each column of the embedding, by the adapter that has magnitudes; [D].</summary>
    private Dictionary<LowRank, Tensor> Columns(ParameterSpec spec)
    {
        var adapters = ParameterOf(spec).Adapters;
        _columns ??= [.. AdaptedTable.InverseNorms(ParameterOf(spec), DType.Float64).Select(inverse => inverse?.ToArray<double>() ?? [])];
        return Enumerable.Range(0, adapters.Count).Where(i => _columns[i].Length > 0).ToDictionary(i => adapters[i],
            i => Tensor.From(_columns[i]));
    }

    private static void Add(LowRank adapter, LowRankPart part, Tensor values, Tensor offset, long start)
    {
        var (first, end) = (Math.Max(part.RowStart, start), Math.Min(part.RowStart + part.Rows, start + values.Size(0)));
        if (first >= end)
            return;
        var (rows, shift) = (values.Narrow(0, first - start, end - first), offset.Narrow(0, first - start, end - first));
        Tensor Own(Parameter parameter) => Wide(parameter).Narrow(0, first - part.RowStart, end - first);
        rows.AddInPlace(Own(part.Up).Mm(Wide(adapter.Down).Narrow(0, part.RankStart, part.Rank)), part.Scale);
        if (part.UpBias is { } bias)
            shift.AddInPlace(Own(bias), part.Scale);
        if (part.Magnitude is not { } magnitude)
            return;
        var factor = Own(magnitude) / (rows * rows).Sum(1).Sqrt();
        rows.CopyFrom(rows * factor.Reshape(-1, 1));
        shift.CopyFrom(shift * factor);
    }

    private static Tensor Wide(Parameter parameter) => parameter.Value.Detach().To(DType.Float64);
}
