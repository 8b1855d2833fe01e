using Handbook.Base;
using Handbook.Models.Adapters;
using Handbook.Text.Tokenizers.Formats;
using Handbook.Torch;
using Handbook.Torch.Quantised;

namespace Handbook.Models;

/// <summary>What a model's name means: a folder with weights, and the adapters over them.</summary>
/// <param name="Name">As it was written.</param>
/// <param name="Folder">The folder with whole weights.</param>
/// <param name="Adapters">Folders of adapters, lowest first; empty for a whole model.</param>
internal sealed record ModelSource(string Name, string Folder, ValueList<string> Adapters)
{
    /// <summary>The folder that was named: the uppermost adapter's, or the model's.</summary>
    public string Top => Adapters.Count > 0 ? Adapters[^1] : Folder;

    /// <summary>What was found and could not be checked, for the user; and of a plan how the weights are kept.</summary>
    public IReadOnlyList<string> Notes { get; private set; } = [];

    /// <summary>What an adapter over this is trained on.</summary>
    public AdapterChain Chain => _links.Value;

    /// <summary>Whether weights that the adapter was trained over as codes are taken as the file has them.</summary>
    public bool IsOverOriginal { get; private init; }

    /// <summary>The codes that the weights below the uppermost adapter were kept as while it was trained; null for as the file has
    /// them.</summary>
    public QuantisedFormat? Recorded => Adapters.Count > 0 ? AdapterChain.Of(Top)?.Codes : null;

    /// <summary>Rows for new tokens below the model's tables; null for none.</summary>
    public VocabularyGrowth? Growth { get; private init; }

    /// <summary>An adapter's folder whose tables stand in the place of the model's, though the adapter is laid over it by the caller; null
    /// for none.</summary>
    public string? GoingOnWith { get; private init; }

    /// <summary>The model's config where that is known and its weights are not; null reads it from its folder.</summary>
    private PublishedConfig? Described { get; init; }

    // Hashes of large files, which whole models are not asked for.
    private Lazy<AdapterChain> _links = new(() => new([]));

    /// <inheritdoc cref="ModelFolder.Find"/>
    /// <param name="name">A folder of a model or of an adapter, or its name.</param>
    /// <param name="other">The model below all adapters, where it is not the one that they name.</param>
    /// <exception cref="InputException">It is not there, or an adapter's model is not there or has other weights.</exception>
    public static ModelSource Find(string name, string? key = null, OtherBase? other = null) =>
        Find(name, ModelFolder.FindAny(name, key), key, other, depth: 0);

    /// <summary>A model of which nothing but its shape is known.</summary>
    public static ModelSource Of(string name, PublishedConfig config) => new(name, name, []) { Described = config };

    private static ModelSource Find(string name, string folder, string? key, OtherBase? other, int depth)
    {
        if (!ModelFolder.IsAdapter(folder))
            return new(name, folder, []) { _links = new(() => new([AdapterChain.Link(folder, name)])) };
        if (depth > 8)
            throw new InputException($"{(key is null ? "" : $"{key}: ")}{name}: its adapters lie on one another without an end",
                fix: "look at base_model_name_or_path of each");
        var config = AdapterConfigFile.Read(folder);
        if (config.BaseModel is not { Length: > 0 } based)
            throw new InputException($"{Path.Combine(folder, AdapterConfigFile.Name)}: base_model_name_or_path is missing",
                why: "an adapter is nothing without the model that it was trained on",
                fix: "write there the folder or the name of the model that it was trained on");
        var chain = AdapterChain.Of(folder);
        var below = other is not null && IsLowest(chain, based, folder) ? other.Find() : Find(based, Below(), key, other, depth + 1);
        return below.With(name, folder, chain, other);

        string Below()
        {
            if (Seen(based, folder) is { } seen)
                return seen;
            try
            {
                return ModelFolder.FindAny(based);
            }
            catch (InputException missing) when (other is null)
            {
                throw new InputException(
                    $"{(key is null ? "" : $"{key}: ")}{name} is an adapter of {based}, which is not found: {missing.What}",
                    why: "an adapter is nothing without the model that it was trained on",
                    fix: $"fetch {based}, or write its place into base_model_name_or_path of "
                        + Path.Combine(folder, AdapterConfigFile.Name),
                    inner: missing);
            }
        }
    }

    /// <summary>The same with one more adapter over it, wherever that one says its model lies.</summary>
    /// <param name="adapter">The adapter's folder, or its name.</param>
    /// <param name="key">The option that names it, for the message.</param>
    /// <exception cref="InputException">It is not there, is no adapter, or was trained on other weights.</exception>
    public ModelSource With(string adapter, string key)
    {
        var folder = ModelFolder.FindAny(adapter, key);
        return ModelFolder.IsAdapter(folder) ? With(adapter, folder, AdapterChain.Of(folder), other: null) : throw new InputException(
            $"{key}: {adapter} holds no adapter", why: $"there is no {AdapterConfigFile.Name}, or there are the weights of a whole model",
            fix: "name a folder that PEFT or a run with use_peft wrote; a whole model is named in the place of the model");
    }

    private ModelSource With(string name, string folder, AdapterChain? chain, OtherBase? other)
    {
        List<string> notes = [.. Notes];
        if (chain?.Difference(name, Chain) is { } difference)
            notes.Add(other is { AnyWeights: true } ? $"{difference.What}: {difference.Why}" : throw other?.Explain(difference)
                ?? difference);
        else if (chain is null)
            notes.Add($"{name} does not say which weights it was trained on: it is taken for an adapter of {Folder}"
                + (Adapters.Count > 0 ? $" with {string.Join(" and ", Adapters)}" : ""));
        if (AdapterConfigFile.Read(folder).UnknownKeys is [_, ..] unknown)
            notes.Add($"{Path.Combine(folder, AdapterConfigFile.Name)}: {string.Join(", ", unknown)}: unknown, and without effect here; a "
                + "later release of PEFT may compute something else by it");
        return new(name, Folder, [.. Adapters, folder])
        {
            Notes = notes,
            GoingOnWith = GoingOnWith,
            Growth = Growth,
            IsOverOriginal = IsOverOriginal,
            _links = new(() => new([.. Chain.Links, AdapterChain.Link(folder, name)])),
        };
    }

    /// <summary>The same with the tables that an adapter's folder holds, for whoever trains that adapter on.</summary>
    public ModelSource ToGoOnWith(string? folder) =>
        new(Name, Folder, Adapters) { Notes = Notes, GoingOnWith = folder, Growth = Growth, _links = _links };

    /// <summary>The same with rows for new tokens.</summary>
    /// <param name="growth">null leaves the tables as they are.</param>
    public ModelSource With(VocabularyGrowth? growth) =>
        new(Name, Folder, Adapters)
        { Notes = Notes, GoingOnWith = GoingOnWith, Growth = growth, IsOverOriginal = IsOverOriginal, _links = _links };

    /// <summary>The same over the codes that the adapter was trained over, or over the weights from which they were made.</summary>
    public ModelSource Over(bool original) => new(Name, Folder, Adapters)
    { Notes = Notes, GoingOnWith = GoingOnWith, Growth = Growth, _links = _links, IsOverOriginal = original };

    /// <summary>Whether the adapter that is gone on with brings tables that a reader of it would not find elsewhere.</summary>
    public bool HasOwnTables => Growth is not null || GoingOnWith is { } folder && SavedTables.Of(folder, ToGoOnWith(null).Config()) is var tables
        && (tables.Vocabulary is { } rows && rows != ToGoOnWith(null).Config().Decoder.VocabularySize
            || tables.Names.Values.Any(name => !name.Contains(".base_layer.", StringComparison.Ordinal)));

    /// <summary>Whether an adapter lies on a model itself: as it says, or else as what it names is.</summary>
    private static bool IsLowest(AdapterChain? chain, string based, string folder) => chain is { } known ? known.Links.Count == 1
        : Seen(based, folder) is not { } below || !ModelFolder.IsAdapter(below);

    /// <summary>The folder of a name; the model of an adapter may also be named as seen from the adapter's folder.</summary>
    private static string? Seen(string name, string? beside) => ModelFolder.TryFind(name)
        ?? (beside is not null && Directory.Exists(Path.Combine(beside, name)) ? Path.GetFullPath(Path.Combine(beside, name)) : null);

    /// <summary>The adapters laid out over the model's parameters, frozen.</summary>
    /// <exception cref="InputException">An adapter does not belong to the model.</exception>
    public IReadOnlyList<AdapterLayout> Layouts(IStoredWeights weights) =>
        [.. Adapters.Select((folder, i) => Layout($"below{i}", folder, weights))];

    private static AdapterLayout Layout(string name, string folder, IStoredWeights weights) => AdapterLayout.Of(name,
        AdapterConfigFile.Read(folder) with { Dropout = 0 }, weights.Family, weights.Config, weights.Parameters, new AdapterFolder(folder),
        Path.Combine(folder, AdapterConfigFile.Name), trained: false);

    /// <summary>Where the tokenizer of a model's or an adapter's folder lies: with the uppermost that has one.</summary>
    /// <param name="place">A folder or a file.</param>
    public static string TokenizerOf(string place) =>
        Directory.Exists(place) && ModelFolder.IsAdapter(place) && TokenizerFiles.Find(place) is null ? Find(place).HavingTokenizer : place;

    /// <summary>The config of the network: the model's, with the score head and the vocabulary that an adapter brings.</summary>
    public PublishedConfig Config() => Tables().Config;

    private (PublishedConfig Config, IReadOnlyList<SavedTables> Tables) Tables()
    {
        var config = Described ?? PublishedConfig.Load(Folder);
        if (Adapters.Any(folder => AdapterConfigFile.Read(folder).TaskType == "SEQ_CLS"))
            config = config.WithScoreHead();
        var tables = new List<SavedTables>();
        foreach (var folder in GoingOnWith is { } own ? [.. Adapters, own] : Adapters)
        {
            tables.Add(SavedTables.Of(folder, config));
            config = tables[^1].Resize(config);
        }
        if (Growth is { } growth)
            config = config.With(("vocab_size", growth.Rows));
        return (config, tables);
    }

    /// <summary>Opens the weights.</summary>
    /// <param name="config">From <see cref="Config"/>, or with a head of the caller's.</param>
    public ModelWeights Open(PublishedConfig config, long? headSeed = null) =>
        ModelWeights.Open(Folder, config, fused: true, headSeed: headSeed ?? (Adapters.Count > 0 ? 0 : null), tables: Tables().Tables,
            growth: Growth);

    /// <summary>The network as it stands, frozen, with its adapters.</summary>
    /// <inheritdoc cref="Plan"/>
    /// <param name="load">Loads what is planned, such as with codes from a cache; null makes them anew.</param>
    /// <param name="beside">Adapters that stand beside one another, by their names: each is active in a network of its own
    /// (<see cref="Decoder.With"/>), over this one's; null for none.</param>
    /// <param name="like">Of a model that it is computed beside, on the same device; null for the CPU.</param>
    public Decoder Load(PublishedConfig config, DType compute, bool roundsInputs = false, Func<ModelWeights, ParameterPlan,
        Decoder>? load = null, IReadOnlyList<(string Name, string Folder)>? beside = null, ParameterPlan? like = null)
    {
        using var weights = Open(config);
        var plan = Plan(weights, compute, roundsInputs, beside);
        return (load ?? Decoder.Load)(weights, like is null ? plan : plan.Beside(like));
    }

    /// <summary>How the network is kept as it stands, frozen, with its adapters: its weights in the codes that the uppermost adapter was
    /// trained over, unless <see cref="IsOverOriginal"/>. <see cref="Notes"/> say of it what a user should know.</summary>
    /// <param name="compute">Element type of products.</param>
    /// <param name="roundsInputs">See <see cref="WeightQuantisation.RoundsInputs"/>.</param>
    public ParameterPlan Plan(ModelWeights weights, DType compute, bool roundsInputs = false,
        IReadOnlyList<(string Name, string Folder)>? beside = null)
    {
        var quantisation = !IsOverOriginal && Recorded is { } codes
            ? new WeightQuantisation(codes, compute == DType.BFloat16 ? DType.BFloat16 : DType.Float32) : null;
        var plan = ParameterPlan.Frozen(weights, compute, quantisation, roundsInputs).With([.. Layouts(weights),
            .. (beside ?? []).Select(adapter => Layout(adapter.Name, adapter.Folder, weights) with { IsReference = true })]);
        Notes = [.. Notes, .. weights.LeftOut, .. weights.QuantisedNote is { } note ? (string[])[note] : [],
            .. AdapterChain.NotesOfOtherForm([.. Adapters, .. (beside ?? []).Select(adapter => adapter.Folder)],
                AdapterChain.KeptAs(plan))];
        return plan;
    }

    /// <summary>The first of the adapters, the model last, that has a file; the model's folder where none has it.</summary>
    public string Having(string file) => Adapters.Reverse().FirstOrDefault(folder => File.Exists(Path.Combine(folder, file))) ?? Folder;

    /// <summary>The first of the adapters, the model last, that has a tokenizer; the model's folder where none has one.</summary>
    public string HavingTokenizer => Adapters.Reverse().FirstOrDefault(folder => TokenizerFiles.Find(folder) is not null) ?? Folder;
}

/// <summary>A model that is put below adapters in the place of the one that they name.</summary>
/// <param name="Name">Its folder, or its name.</param>
/// <param name="AnyWeights">Whether it may have other weights than those that the adapters were trained on.</param>
internal sealed record OtherBase(string Name, bool AnyWeights)
{
    /// <param name="name">null for the model that the adapters name.</param>
    /// <exception cref="InputException">Other weights are allowed, but no model is named.</exception>
    public static OtherBase? Of(string? name, bool anyWeights) => name is not null ? new(name, anyWeights)
        : anyWeights ? throw new InputException("--allow-other-base without --base", why: "there is no other base to allow",
            fix: "name it with --base MODEL, or leave --allow-other-base out") : null;

    /// <summary>Says with a difference of weights how it is let pass.</summary>
    public InputException Explain(InputException difference) => new(difference.What, difference.Why,
        $"{difference.Fix}; who means {Name} says so with --allow-other-base, and looks at what comes of it", difference);

    /// <exception cref="InputException">It is not there, or is an adapter itself.</exception>
    public ModelSource Find() => ModelSource.Find(Name, "--base") is { Adapters.Count: 0 } whole ? whole : throw new InputException(
        $"--base: {Name} is an adapter", why: "--base is the model below all adapters; those between are found from the uppermost one",
        fix: "name the folder of the whole model");
}
