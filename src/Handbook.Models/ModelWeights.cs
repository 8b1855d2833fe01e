using Handbook.Base;
using Handbook.Models.Adapters;
using Handbook.Models.Families;
using Handbook.Models.Files;
using Handbook.Models.Quantised;
using Handbook.Torch;
using Handbook.Torch.Quantised;

namespace Handbook.Models;

/// <summary>A checkpoint seen through its family: our parameters by our names, assembled from the published tensors.</summary>
/// <remarks>Every name and shape is checked when it is opened; after that, reading cannot fail for a reason the user could fix.</remarks>
internal sealed class ModelWeights : IStoredWeights, IDisposable
{
    private readonly WeightFiles _files;
    private readonly Dictionary<string, ParameterSpec> _specs;
    private readonly Dictionary<string, string> _names = [];
    private readonly long? _headSeed;
    private readonly IReadOnlyList<string> _configNotes;
    private readonly string? _lacking;      // sizes that the config leaves out
    private readonly string? _whole;        // the model whose text model this is; null for a model by itself
    private readonly IReadOnlyDictionary<string, QuantisedTensor> _codes;
    private readonly List<WeightFiles> _others = [];
    private readonly Dictionary<string, (WeightFiles Files, string Name)> _replaced = [];       // by the published name
    private (WeightFiles Files, IReadOnlyDictionary<string, QuantisedTensor> Codes)? _kept;
    private WeightFiles? _assembled;        // by our names
    private readonly VocabularyGrowth? _growth;
    private readonly Dictionary<string, Lazy<TensorData>> _grown = [];      // tables by their names in the file, made when they are read

    private ModelWeights(WeightFiles files, PublishedConfig config, IReadOnlyList<ParameterSpec> parameters, long? headSeed,
        IReadOnlyList<SavedTables> tables, VocabularyGrowth? growth)
    {
        _growth = growth;
        foreach (var saved in tables.Where(saved => saved.Names.Count > 0))
        {
            _others.Add(WeightFiles.Open(saved.File));
            foreach (var (published, name) in saved.Names)
                _replaced[published] = (_others[^1], name);
        }
        _files = files;
        _codes = QuantisedCheckpoint.Find(files, config);
        _headSeed = headSeed;
        Config = config.Decoder;
        Family = config.Family;
        (_whole, _configNotes, _lacking) = (config.PartOf, [.. UnreadKeys.Note(files.Path, config)], UnreadKeys.Lacking(config));
        Parameters = parameters;
        _specs = parameters.ToDictionary(p => p.Name);
    }

    /// <summary>The network that the weights are of.</summary>
    public DecoderConfig Config { get; }

    /// <summary>The family whose published names the files use.</summary>
    public Family Family { get; }

    /// <summary>Every parameter of the decoder, in the order the published library creates them.</summary>
    public IReadOnlyList<ParameterSpec> Parameters { get; }

    /// <summary>Tensors of the checkpoint that no parameter uses.</summary>
    public IReadOnlyList<string> Unused { get; private set; } = [];

    /// <summary>What a user should know of keys and tensors that are left out.</summary>
    public IEnumerable<string> LeftOut => _configNotes.Concat(_whole is null
        ? Unused.Take(5).Select(name => $"{_files.Path}: tensor {name} belongs to no parameter and is left out")
        : [$"{_files.Path} is a {_whole}: its text model alone is read and saved, without {Unused.Count} tensors of its other parts"
            + (Unused.Count == 0 ? "" : $" ({string.Join(", ", Unused.Select(PartOf).Distinct().Take(5))})")]);

    private static string PartOf(string tensor) => tensor.Split('.') is ["model", var part, ..] ? part : tensor.Split('.')[0];

    /// <summary>Whether the score head is a new one, because the checkpoint is a language model's.</summary>
    public bool HasNewHead { get; private set; }

    /// <param name="path">A folder with weights, a weights file, or an index.</param>
    /// <param name="config">The model's own <c>config.json</c>.</param>
    /// <param name="fused">Hand out query, key and value as one parameter, and gate and up as one.</param>
    /// <param name="headSeed">Where the config asks for a score head and the checkpoint has none: the seed
    /// of a new one; null refuses.</param>
    /// <param name="tables">What stands in the place of the files' own tables, lowest first; null for nothing.</param>
    /// <param name="growth">Rows for new tokens, which <paramref name="config"/> counts already; null for none.</param>
    /// <exception cref="InputException">Tensors are missing or have another shape than the config asks for; the
    /// message names them.</exception>
    public static ModelWeights Open(string path, PublishedConfig config, bool fused = false, long? headSeed = null,
        IReadOnlyList<SavedTables>? tables = null, VocabularyGrowth? growth = null)
    {
        var files = WeightFiles.Open(path);
        try
        {
            var weights = new ModelWeights(files, config, config.Family.Parameters(config.Decoder, fused), headSeed, tables ?? [], growth);
            weights.Bind();
            return weights;
        }
        catch
        {
            files.Dispose();
            throw;
        }
    }

    /// <summary>What is known of one of our parameters.</summary>
    public ParameterSpec Spec(string name) => _specs.TryGetValue(name, out var spec)
        ? spec
        : throw new ArgumentException($"{Family.ModelType} has no parameter {name}", nameof(name));

    /// <summary>The element type a parameter is stored with; of codes that of their values.</summary>
    public DType DTypeOf(string name) => IsNew(name) ? DType.Float32 : InfoOf(_names[Spec(name).Parts[0].Published]).DType;

    /// <summary>How the checkpoint's weights are quantised, in words; null where it is a plain one.</summary>
    public string? Quantised => _codes.Count == 0 ? null : string.Join(" and ", _codes.Values.Select(tensor => tensor.Kind).Distinct());

    /// <summary>What a user should know of quantised weights; null where there are none, or their codes are multiplied as they
    /// are.</summary>
    public string? QuantisedNote => _codes.Values.FirstOrDefault(tensor => tensor.Format is null) is { } read
        ? $"the weights are quantised ({Quantised}); they are read as {read.Type.ToString().ToLowerInvariant()}, and take the memory of it"
        : null;

    /// <summary>The format of a parameter's codes; null where it is stored otherwise, or only a part of it is.</summary>
    public QuantisedFormat? FormatOf(string name)
    {
        QuantisedFormat? format = null;
        foreach (var part in Spec(name).Parts)
            if (!_names.TryGetValue(part.Published, out var stored) || CodesOf(stored)?.Format is not { } its)
                return null;
            else
                format = its;
        return format;
    }

    /// <summary>A parameter as codes: those of the checkpoint, or new ones.</summary>
    /// <param name="quantisation">How to make new ones, and how they are multiplied.</param>
    /// <returns>The caller's, who disposes it.</returns>
    /// <remarks>Blocks run over each published matrix, as the Python library has them, however many of these one parameter
    /// consists of.</remarks>
    public QuantisedMatrix Codes(string name, WeightQuantisation quantisation)
    {
        var matrices = new Dictionary<string, CodedMatrix>();
        try
        {
            var parts = new List<CodedPart>();
            foreach (var part in Spec(name).Parts)
            {
                if (!matrices.TryGetValue(part.Published, out var matrix))
                    matrices.Add(part.Published, matrix = Codes(part, quantisation.Format));
                parts.Add(new(matrix, part.PublishedStart, part.Rows));
            }
            return new(parts, quantisation.Compute, quantisation.RoundsInputs);
        }
        catch
        {
            foreach (var matrix in matrices.Values)
                matrix.Dispose();
            throw;
        }
    }

    /// <summary>The whole published matrix that holds a part as codes: those of the checkpoint, or new ones.</summary>
    internal CodedMatrix Codes(ParameterPart part, QuantisedFormat format)
    {
        using var scope = TensorScope.Enter();
        if (CodesOf(_names[part.Published]) is { Format: not null } stored)
            return stored.Codes();
        if (_kept?.Codes.GetValueOrDefault(part.Published) is { } kept && kept.Format == format)
            return kept.Codes();
        var made = QuantisedCodec.Quantise(format, Values(part));
        ForgetPages();          // they are not read again, and would count as memory of this process
        return made;
    }

    /// <summary>Takes new codes from a file that <see cref="QuantisedTensors"/> wrote of these weights; they are mapped, and outlive this
    /// object.</summary>
    /// <exception cref="InputException">The file is damaged.</exception>
    internal void UseCodes(string file)
    {
        var files = WeightFiles.Open(file);
        _kept?.Files.Dispose();
        _kept = (files, QuantisedCheckpoint.Read(files, Config.DType));
    }

    /// <summary>The whole published tensor that holds a part, as it is stored, under its published name.</summary>
    internal TensorData Published(ParameterPart part)
    {
        var data = Source(part with { Matrix = 0 });
        return data with { Info = data.Info with { Name = part.Published } };
    }

    /// <summary>Element type of the published tensor that holds a part.</summary>
    internal DType TypeOf(ParameterPart part) => InfoOf(_names[part.Published]).DType;

    /// <summary>The whole published matrix that holds a part, [out, in], where it lies in the file or as a copy that suits.</summary>
    private unsafe Tensor Values(ParameterPart part)
    {
        var data = Source(part);
        var type = data.Info.DType is DType.BFloat16 or DType.Float16 ? data.Info.DType : DType.Float32;
        var (rows, columns) = ShapeOf(part);
        if (!IsTurned(part) && type == data.Info.DType && data.Pointer % type.Size == 0)
            return Tensor.Wrap((void*)data.Pointer, type, [rows, columns], new MemoryHold(data.Owner));
        var copy = Tensor.Empty(type, Device.Cpu, rows, columns);
        PartCopy.ToOurs(data, AsStored(part) with { PublishedStart = 0, Start = 0, Rows = rows }, columns, type, (nint)copy.Data);
        GC.KeepAlive(data.Owner);
        return copy;
    }

    /// <summary>[out, in] of the published matrix that holds a part.</summary>
    private static (long Rows, long Columns) ShapeOf(ParameterPart part) =>
        part.Transposed ? (part.MatrixShape[1], part.MatrixShape[0]) : (part.MatrixShape[0], part.MatrixShape[1]);

    /// <summary>A published tensor: its values, whatever they are stored as; of stacked codes the matrix that holds a part.</summary>
    private TensorData Source(ParameterPart part) => _names[part.Published] is var stored && CodesOf(stored) is { } codes
        ? codes.Dense(codes.Matrices > 1 ? part.Matrix : 0) : ReadStored(stored);

    private TensorData ReadStored(string stored) => !_grown.TryGetValue(stored, out var table) ? ReadPlain(stored)
        : table.Value;

    private TensorData ReadPlain(string stored) => _replaced.TryGetValue(stored, out var other) ? other.Files.Read(other.Name)
        : _files.Read(stored);

    private QuantisedTensor? CodesOf(string stored) => _replaced.ContainsKey(stored) ? null : _codes.GetValueOrDefault(stored);

    /// <summary>Whether a part has to be transposed; codes lie as ours do, whatever the family's plain weights do.</summary>
    private bool IsTurned(ParameterPart part) => part.Transposed && CodesOf(_names[part.Published]) is null;

    /// <summary>The part as it lies in this file.</summary>
    private ParameterPart AsStored(ParameterPart part) => part.Transposed && !IsTurned(part)
        ? part with
        {
            Transposed = false,
            PublishedShape = [.. part.PublishedShape.SkipLast(2), ShapeOf(part).Rows, ShapeOf(part).Columns]
        } : part;

    /// <summary>The part in what <see cref="Source"/> gives.</summary>
    private ParameterPart InSource(ParameterPart part) => CodesOf(_names[part.Published]) is { Matrices: > 1 }
        ? AsStored(part) with { IsStacked = false, PublishedShape = AsStored(part).MatrixShape } : AsStored(part);

    private TensorInfo InfoOf(string stored) => CodesOf(stored) is { } codes
        ? new(stored, codes.Type, codes.Matrices > 1 ? [codes.Matrices, codes.Rows, codes.Columns] : [codes.Rows, codes.Columns])
        : _grown.ContainsKey(stored) ? _growth!.Grown(PlainInfo(stored)) : PlainInfo(stored);

    private TensorInfo PlainInfo(string stored) =>
        _replaced.TryGetValue(stored, out var other) ? other.Files.Info(other.Name) : _files.Info(stored);

    private bool Has(string stored) => _codes.ContainsKey(stored) || _files.Has(stored);

    private string FileOf(string stored) => _replaced.TryGetValue(stored, out var other)
        ? other.Files.Path : _files.FileOf(CodesOf(stored) is { } codes ? codes.Names.First() : stored);

    private bool IsNew(string name) => HasNewHead && Spec(name).Parts[0].Published == Family.ScoreName;

    /// <summary>Whether a parameter lies in the file as it is used: one tensor, not transposed, at an address that
    /// suits its elements.</summary>
    public bool CanMap(string name) => IsAssembled(name) || !IsNew(name) && Spec(name).Parts is [{ IsAsPublished: true } part]
        && CodesOf(_names[part.Published]) is null && ReadStored(_names[part.Published]).Pointer % DTypeOf(name).Size == 0
            && DTypeOf(name) is DType.Float32 or DType.BFloat16 or DType.Float16;

    /// <summary>A parameter's values where they lie in the file, which stays mapped as long as the tensor lives.</summary>
    /// <exception cref="ArgumentException">It has to be assembled, transposed or converted; see <see cref="CanMap"/>.</exception>
    public unsafe Tensor Map(string name)
    {
        if (IsAssembled(name))
        {
            var whole = _assembled!.Read(name);
            return Tensor.Wrap((void*)whole.Pointer, whole.Info.DType, [.. whole.Info.Shape], new MemoryHold(whole.Owner));
        }
        if (!CanMap(name))
            throw new ArgumentException($"{name} does not lie in the file as it is used", nameof(name));
        var part = Spec(name).Parts[0];
        var data = ReadStored(_names[part.Published]);
        return Tensor.Wrap((byte*)data.Pointer + part.Offset * data.Info.DType.Size, data.Info.DType, [.. Spec(name).Shape], new MemoryHold(data.Owner));
    }

    private bool IsAssembled(string name) => _assembled?.Has(name) == true;

    /// <summary>Takes parameters as they are used from a file that holds them by our names, made by <see cref="Assemble"/>; they are mapped,
    /// and outlive this object.</summary>
    /// <exception cref="InputException">The file is damaged.</exception>
    internal void UseAssembled(string file)
    {
        _assembled?.Dispose();
        _assembled = WeightFiles.Open(file);
    }

    /// <summary>A parameter as it is used, by our name, for such a file; it is put together when it is written.</summary>
    internal TensorToSave Assemble(string name, DType dtype)
    {
        var info = new TensorInfo(name, dtype, [.. Spec(name).Shape]);
        return new(info, stream =>
        {
            using var scope = TensorScope.Enter();
            var values = Tensor.Empty(dtype, Device.Cpu, [.. info.Shape]);
            Read(name, dtype, TensorKeeper.Address(values));
            TensorToSave.From(new TensorData(info, TensorKeeper.Address(values), new TensorKeeper(values))).Write(stream);
        });
    }

    /// <summary>Gives the pages back that were read; those that are mapped come again when they are touched.</summary>
    internal void ForgetPages()
    {
        foreach (var files in _others.Prepend(_files))
            files.ForgetPages();
    }

    /// <summary>Writes a parameter, row-major in our shape, to <paramref name="destination"/>.</summary>
    /// <param name="destination">Room for <c>Spec(name).Count</c> elements of <paramref name="dtype"/>.</param>
    public void Read(string name, DType dtype, nint destination)
    {
        var spec = Spec(name);
        var columns = spec.Count / Math.Max(spec.Shape[0], 1);
        var (source, published, matrix) = (default(TensorData), "", 0L);
        foreach (var part in spec.Parts)
        {
            if (part.Published != published || part.Matrix != matrix)
            {
                Release(source, published);
                source = IsNew(name) ? NewModel.Make(spec, Config, _headSeed!.Value) : Source(part);
                (published, matrix) = (part.Published, part.Matrix);
            }
            PartCopy.ToOurs(source, IsNew(name) ? part : InSource(part), columns, dtype, destination);
            GC.KeepAlive(source.Owner);
        }
        Release(source, published);
    }

    /// <summary>Frees the values of codes, which were made to be read once.</summary>
    private void Release(TensorData source, string published)
    {
        if (_names.TryGetValue(published, out var stored) && CodesOf(stored) is not null)
            source.Owner.Dispose();
    }

    /// <summary>A parameter as float32, row-major in our shape.</summary>
    public unsafe float[] ReadSingles(string name)
    {
        var values = new float[Spec(name).Count];
        fixed (float* pointer = values)
            Read(name, DType.Float32, (nint)pointer);
        return values;
    }

    /// <summary>Closes the files; what was mapped from them by a network lives on.</summary>
    public void Dispose()
    {
        _files.Dispose();
        _kept?.Files.Dispose();
        _assembled?.Dispose();
        foreach (var files in _others)
            files.Dispose();
    }

    private void Bind()
    {
        var missing = new List<string>();
        var misshapen = new List<string>();
        foreach (var part in Parameters.SelectMany(p => p.Parts).DistinctBy(p => p.Published))
        {
            if (Resolve(part.Published) is not { } name)
            {
                if (part.Published == Family.ScoreName && _headSeed is not null)
                    HasNewHead = true;
                else
                    missing.Add(part.Published);
                continue;
            }
            _names[part.Published] = name;
            if (_growth is not null && IsTable(part.Published))
                _grown[name] = CodesOf(name) is null ? new(() => _growth.Grow(ReadPlain(name))) : throw new InputException(
                    $"{FileOf(name)}: tensor \"{name}\" is quantised, and new tokens need rows in it",
                    fix: "name the model in full precision that it was made from");
            var info = InfoOf(name);
            if (!info.Shape.Equals(AsStored(part).PublishedShape))
                misshapen.Add($"{FileOf(name)}: tensor \"{name}\" has shape {info.Shape}, but the config asks "
                    + $"for {AsStored(part).PublishedShape}");
            if (!info.DType.IsFloat)
                misshapen.Add($"{FileOf(name)}: tensor \"{name}\" holds {info.DType}, but weights must be floats");
        }
        if (missing.Count > 0)
            throw new InputException($"{_files.Path}: lacks {missing.Count} of the model's tensors: {Some(missing, ", ")}", _lacking,
                fix: missing is [var only] && only == Family.HeadName
                    ? "if the head is the embedding itself, set tie_word_embeddings to true in config.json"
                    : "check that config.json and the weights belong to the same model");
        if (misshapen.Count > 0)
            throw new InputException(Some(misshapen, "\n"), _lacking, _lacking is null
                ? "check that config.json and the weights belong to the same model" : "write into config.json what it lacks, as the weights have it");
        var used = _names.Values.SelectMany(name => CodesOf(name) is { } codes ? codes.Names : [name]).ToHashSet();
        Unused = [.. _files.Names.Where(name =>
            !used.Contains(name) && !IsReplaced(name) && !Family.IsBuffer(name) && !IsCopyOfEmbedding(name)
                && !(HasNewHead && AdapterModules.IsOf(name, Family.HeadName)))];
    }

    /// <summary>Whether a published tensor has a row for each token.</summary>
    private bool IsTable(string published) => published == Family.EmbeddingName
        || Config.Head == ModelHead.Language && (published == Family.HeadName
            || published == AdapterModules.PathOf(Family.HeadName) + ".bias");

    /// <summary>The tensors of the files that get rows for new tokens, by their names there.</summary>
    public IEnumerable<string> GrownTables => _grown.Keys;

    /// <summary>The name a published tensor has in this file: its own, without the network's prefix, or the one a shared
    /// tensor was saved under.</summary>
    private string? Resolve(string published)
    {
        var bare = published.StartsWith(Family.BasePrefix) ? published[Family.BasePrefix.Length..] : published;
        if (_replaced.ContainsKey(published))
            return published;
        var names = _whole is null ? [published, bare] : TextPart.Names(published, bare);
        foreach (var name in names)
        {
            if (Has(name))
                return name;
            // safetensors stores a tensor that two names share once, and notes the other name.
            if (_files.Metadata.TryGetValue(name, out var other) && _files.Has(other))
                return other;
        }
        return Config.TiedHead && published == Family.EmbeddingName && _files.Has(Family.HeadName) ? Family.HeadName : null;
    }

    /// <summary>Whether a tensor is one that another stands in the place of, under any of its names.</summary>
    private bool IsReplaced(string name) => _replaced.Keys.Any(published => published == name || published == Family.BasePrefix + name)
        || Config.TiedHead && name == Family.HeadName && _replaced.ContainsKey(Family.EmbeddingName);

    private bool IsCopyOfEmbedding(string name)
    {
        if (!Config.TiedHead || name != Family.HeadName)
            return false;
        var (head, embedding) = (_files.Read(name), _files.Read(_names[Family.EmbeddingName]));
        if (!head.Info.Shape.Equals(embedding.Info.Shape) || head.Info.DType != embedding.Info.DType)
            return false;
        const int chunk = 1 << 24;
        for (var at = 0L; at < head.Info.ByteCount; at += chunk)
        {
            var length = (int)Math.Min(chunk, head.Info.ByteCount - at);
            if (!head.Slice(at, length).SequenceEqual(embedding.Slice(at, length)))
                return false;
        }
        return true;
    }

    private static string Some(List<string> all, string separator) =>
        string.Join(separator, all.Take(5)) + (all.Count > 5 ? $"{separator}and {all.Count - 5} more" : "");
}
