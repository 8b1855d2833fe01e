using System.Text.RegularExpressions;
using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Models.Serving;
using Handbook.Text.Tokenizers;
using Handbook.Torch;
using Handbook.Training.Plans;
using Decoder = Handbook.Models.Decoder;

namespace Handbook.Serving;

/// <summary>An adapter that is asked by a name of its own.</summary>
/// <param name="Name">What clients call it.</param>
/// <param name="Place">Its folder, or its name.</param>
internal sealed record NamedAdapter(string Name, string Place);

/// <summary>One model in memory with any number of adapters over it, each asked by its name, and the engine that answers for all of
/// them.</summary>
internal sealed partial class ServedModels : IDisposable
{
    private readonly Decoder _network;
    private readonly Dictionary<string, ServedModel> _byName;
    private readonly bool _isShared;

    private ServedModels(Decoder network, IReadOnlyList<ServedModel> all, AnswerEngine engine, bool isShared, IReadOnlyList<string> notes)
    {
        (_network, All, Engine, _isShared, Notes) = (network, all, engine, isShared, notes);
        _byName = all.ToDictionary(model => model.Name, StringComparer.Ordinal);
    }

    /// <summary>The model first, then the adapters as they were named.</summary>
    public IReadOnlyList<ServedModel> All { get; }

    public AnswerEngine Engine { get; }

    /// <summary>What a user should know of how they were found and read.</summary>
    public IReadOnlyList<string> Notes { get; }

    /// <summary>The model of a name; null where none is called so. Only names that were given at the start are known: no name reaches a
    /// disk.</summary>
    public ServedModel? Find(string name) => _byName.GetValueOrDefault(name);

    /// <param name="source">The model.</param>
    /// <param name="name">What clients call it; null for the last part of its folder's name.</param>
    /// <param name="adapters">What is asked beside it.</param>
    /// <param name="compute">Element type of products.</param>
    /// <param name="window">Most tokens of a prompt with its answer; null for as many as the model was made for.</param>
    /// <param name="engine">One that answers for other models, too, and stays the caller's; null makes one.</param>
    /// <param name="load">Loads what is planned where it is wanted; null on the CPU.</param>
    /// <exception cref="InputException">A name is taken or no name, or an adapter does not belong to the model.</exception>
    public static ServedModels Open(ModelSource source, string? name, IReadOnlyList<NamedAdapter> adapters, DType compute, int? window,
        EngineOptions options, IWorkObserver observer, AnswerEngine? engine = null, Func<ModelWeights, ParameterPlan, Decoder>? load = null)
    {
        TorchRuntime.Load();
        name ??= RealPath.NameOf(source.Top);
        CheckNames([name, .. adapters.Select(adapter => adapter.Name)]);
        var config = source.Config();
        if (config.Decoder.Head != ModelHead.Language)
            throw new InputException($"{source.Name} is a {(config.Decoder.Labels == 1 ? "reward model" : "classifier")}: it scores "
                + "texts and has nothing to say",
                fix: "serve a language model; `handbook score` scores texts");
        if (window > config.Decoder.GreatestLength)
            throw new InputException($"--context is {window}, but the model has {config.Decoder.GreatestLength} learned positions",
                fix: $"use {config.Decoder.GreatestLength} or less");
        var over = adapters.Select(adapter => (adapter.Name, Source: source.With(adapter.Place, $"--adapter {adapter.Name}"))).ToArray();
        foreach (var (adapter, found) in over)
            RequireNoTables(adapter, found, config);
        var network = source.Load(config, compute, roundsInputs: true, load ?? QuantisedCache.Loader(source, observer),
            [.. over.Select(adapter => (Key(adapter.Name), adapter.Source.Top))]);
        try
        {
            var below = network.Parameters.Adapters.Select(adapter => adapter.Name).ToArray();
            var own = Served(name, source, network, null);
            List<ServedModel> all = [own, .. over.Select(adapter =>
                Served(adapter.Name, adapter.Source, network.With([.. below, Key(adapter.Name)]), name))];
            Decoder.Join([.. all.Select(model => model.Network)]);
            return new(network, all, engine ?? new AnswerEngine(options.CacheBytes > 0 ? options
                : options with { CacheBytes = DevicePlan.RoomForCaches(network) }), engine is not null,
                [.. source.Notes, .. over.SelectMany(adapter => adapter.Source.Notes).Except(source.Notes)]);
        }
        catch
        {
            network.Dispose();
            throw;
        }

        ServedModel Served(string called, ModelSource from, Decoder with, string? @base)
        {
            var folder = from.HavingTokenizer;
            var defaults = GenerationDefaults.Load(from.Having(GenerationDefaults.FileName), config.Decoder);
            return new(called, folder, with, Tokenizer.Load(folder), defaults, @base, window ?? config.Decoder.MaxPositions);
        }
    }

    private static string Key(string adapter) => $"served {adapter}";

    private static void CheckNames(string[] names)
    {
        foreach (var name in names)
            if (!Name().IsMatch(name) || name.Contains("..", StringComparison.Ordinal))
                throw new InputException($"\"{name}\" cannot be the name of a model", why: "clients write it into requests and addresses",
                    fix: "use letters, digits and . _ - : / between them, e.g. --adapter french=runs/french-lora, or --name for the model");
        if (names.GroupBy(name => name).FirstOrDefault(same => same.Count() > 1) is { } twice)
            throw new InputException($"two models are called {twice.Key}", fix: "give each a name of its own");
    }

    private static void RequireNoTables(string name, ModelSource source, PublishedConfig below)
    {
        if (SavedTables.Of(source.Top, below) is { Names.Count: > 0 } tables)
            throw new InputException($"--adapter {name}: {source.Top} brings {string.Join(" and ", tables.Names.Keys)} with it",
                why: "tables that stand in the place of the model's cannot be shared with other adapters",
                fix: $"serve it by itself: handbook serve {source.Top}");
    }

    [GeneratedRegex(@"\A[A-Za-z0-9](?:[A-Za-z0-9._:/-]{0,126}[A-Za-z0-9])?\z")]
    private static partial Regex Name();

    /// <summary>Ends the engine, then frees the weights.</summary>
    public void Dispose()
    {
        if (!_isShared)
            Engine.Dispose();
        else
            foreach (var model in All)
                Engine.Forget(model.Network);
        _network.Dispose();
    }
}
