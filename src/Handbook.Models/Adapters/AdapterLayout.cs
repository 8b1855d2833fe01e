using Handbook.Base;
using Handbook.Models.Families;
using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Models.Adapters;

/// <summary>Where an adapter joins the network.</summary>
internal enum AdapterPlace
{
    /// <summary>A linear layer.</summary>
    Layer,

    /// <summary>The look-up of tokens.</summary>
    Embedding,

    /// <summary>The product that predicts tokens.</summary>
    Head,
}

/// <summary>One published layer with its B.</summary>
/// <param name="Module">Its path.</param>
/// <param name="Up">B; [rows, r].</param>
/// <param name="UpBias">[rows]; null for none.</param>
/// <param name="Magnitude">[rows]; null without DoRA.</param>
/// <param name="RankStart">First row of its A.</param>
/// <param name="RowStart">First row of the output.</param>
/// <param name="Scale">Factor.</param>
internal sealed record AdapterTarget(string Module, ParameterSpec Up, ParameterSpec? UpBias, ParameterSpec? Magnitude, long RankStart,
    long RowStart, double Scale)
{
    public long Rank => Up.Shape[1];
}

/// <summary>A parameter of ours with the published layers in it that have an adapter.</summary>
/// <param name="Base">The parameter.</param>
/// <param name="Place">How it is used where the adapter joins.</param>
/// <param name="Down">A of all of them below one another; [R, in], of an embedding [V, r].</param>
/// <param name="Targets">The layers.</param>
internal sealed record AdapterLayer(ParameterSpec Base, AdapterPlace Place, ParameterSpec Down, IReadOnlyList<AdapterTarget> Targets)
{
    /// <summary>What the adapter took out of the weight when it began (PiSSA, OLoRA): subtracted for good, so that the weight itself
    /// stays what it was. null where it began with nothing.</summary>
    public AdapterLayer? Start { get; init; }

    /// <summary>Everything that is trained.</summary>
    public IEnumerable<ParameterSpec> Specs => [Down, .. Targets.SelectMany(target =>
        ((ParameterSpec?[])[target.Up, target.UpBias, target.Magnitude]).OfType<ParameterSpec>())];
}

/// <summary>An adapter laid out over a model: the parameters that it adds, and where its tensors stand in a PEFT folder.</summary>
internal sealed record AdapterLayout
{
    /// <summary>What tells it from other adapters of the model.</summary>
    public required string Name { get; init; }

    public required AdapterConfig Config { get; init; }

    public required IReadOnlyList<AdapterLayer> Layers { get; init; }

    /// <summary>Parameters that it replaces by its own, trained whole: the model's, and its own. Of a vector of several biases its own may
    /// have few of the parts; the rows of the others stay the model's. Where head and embedding are trained as one, both have the same
    /// own.</summary>
    public required IReadOnlyList<(ParameterSpec Base, ParameterSpec Own)> Whole { get; init; }

    /// <summary>The rows of tokens that are trained by themselves, and which tokens; null for none.</summary>
    public (ParameterSpec Own, ValueList<int> Ids)? Tokens { get; init; }

    /// <summary>The published layers of the model, by their paths.</summary>
    public required AdapterModules Modules { get; init; }

    /// <summary>Whether it brings the model's tables, embedding and head, with it: then they are saved beside it.</summary>
    public bool HasOwnTables { get; init; }

    /// <summary>Gives its parameters their values.</summary>
    public required IAdapterSource Source { get; init; }

    /// <summary>Whether it is trained; a frozen one lies below another, or is a reference.</summary>
    public bool IsTrained { get; init; }

    /// <summary>Whether it is kept in bfloat16 while it is trained: numbers, gradients and optimiser states.</summary>
    public bool IsBFloat16 { get; init; }

    /// <summary>Whether it stands beside the trained one, to be compared with, instead of below it.</summary>
    public bool IsReference { get; init; }

    /// <summary>Everything that it is.</summary>
    public IEnumerable<ParameterSpec> Specs => Saved.DistinctBy(spec => spec.Name);

    /// <summary>The same as it is saved: what head and embedding have in common under both names.</summary>
    public IEnumerable<ParameterSpec> Saved => [.. Layers.SelectMany(layer => layer.Specs), .. Whole.Select(pair => pair.Own),
        .. Tokens is { } tokens ? (ParameterSpec[])[tokens.Own] : []];

    /// <summary>What never changes: the starts of its layers.</summary>
    public IEnumerable<ParameterSpec> FixedSpecs => Layers.Where(layer => layer.Start is not null).SelectMany(layer => layer.Start!.Specs);

    /// <summary>Whether LoRA+ gives a parameter the higher rate: B and everything that is a vector.</summary>
    public bool IsUp(ParameterSpec spec) => Layers.Any(layer => layer.Targets.Any(target =>
        spec == target.Up || spec == target.UpBias || spec == target.Magnitude));

    /// <summary>Prefix of every tensor's name in a PEFT folder.</summary>
    public const string Prefix = "base_model.model.";

    /// <param name="file">The file that the config is from, for messages; null for a recipe.</param>
    /// <exception cref="InputException">The config names layers that the model does not have.</exception>
    public static AdapterLayout Of(string name, AdapterConfig config, Family family, DecoderConfig decoder,
        IReadOnlyList<ParameterSpec> specs, IAdapterSource source, string? file, bool trained)
    {
        var modules = new AdapterModules(family, decoder, specs);
        var chosen = modules.Targets(config, file);
        var (stacks, parameters) = modules.Parameters(config, file, chosen);
        RequirePlain(config, file);
        chosen = [.. chosen, .. parameters];
        foreach (var module in chosen)
            Require(module, PlaceOf(module), modules, config, file);
        var layers = new List<AdapterLayer>();
        foreach (var group in chosen.GroupBy(module => (module.Spec, Place: PlaceOf(module))))
        {
            var layer = Layer(name, group.Key.Spec, group.Key.Place, [.. group.Select(module => module.Path)], config, "");
            layers.Add(config.Init is AdapterInit.Pissa or AdapterInit.Olora
                ? layer with
                {
                    Start = Layer(name, group.Key.Spec, group.Key.Place, [.. group.Select(module => module.Path)], config with
                    {
                        UseDora = false,
                        LoraBias = false,
                    }, ".start")
                }
                : layer);
        }
        foreach (var (stack, wrapper) in ExpertStack.Wrappers(stacks))
            layers.AddRange(stack.Layers(name, config, wrapper));
        var layout = new AdapterLayout
        {
            Name = name,
            Config = config,
            Layers = layers,
            Whole = [.. Replaced(name, config, modules, file),
                .. Biases(name, config, specs, [.. chosen.Select(module => module.Path)],
                    module => stacks.Count(stack => stack.Module == module))],
            Tokens = TokensOf(name, config, modules, decoder, file),
            Modules = modules,
            Source = source,
            IsTrained = trained,
        };
        source.Check(layout);
        return layout;
    }

    /// <summary>What adapters on parameters cannot have.</summary>
    private static void RequirePlain(AdapterConfig config, string? file)
    {
        if (config.TargetParameters.Count == 0)
            return;
        var (key, why) = config.Dropout > 0 ? ("lora_dropout",
            "B·A is added to the parameter itself, so that no input of A's can be dropped")
            : config.UseDora ? ("use_dora", "a stack of matrices has no rows of its own to be measured")
            : config.LoraBias ? ("lora_bias", "B·A is added to the parameter itself, so that B has no output")
            : config.Init is AdapterInit.Pissa or AdapterInit.Olora ? ("init_lora_weights",
                "the reference implementation decomposes weights of layers alone") : (null, "");
        if (key is not null)
            throw new InputException($"{AdapterConfigFile.Key(file, key)} cannot be used with "
                + AdapterConfigFile.Key(file, "target_parameters"), why,
                fix: key == "lora_dropout" ? "set lora_dropout: 0" : $"remove {key}, or name layers instead of parameters");
    }

    /// <summary>What the head and the look-up of tokens cannot have.</summary>
    private static void Require(AdapterModule module, AdapterPlace place, AdapterModules modules, AdapterConfig config,
        string? file)
    {
        string Key(string key) => AdapterConfigFile.Key(file, key);

        if (modules.IsWhole(config, module.Path))
            throw new InputException($"{Key("modules_to_save")} ({string.Join(", ", config.ModulesToSave)}) trains {module.Path} whole, "
                + "which gets an adapter",
                why: "the adapter would be added to what is trained anyway", fix: "name it in one of the two");
        if (place == AdapterPlace.Layer)
            return;
        var what = place == AdapterPlace.Head ? "the head" : "the embedding of tokens";
        if (config.TieWeights)
            throw new InputException(
                $"{Key("ensure_weight_tying")} asks for one adapter on head and embedding, and {module.Path} is {what}",
                why: "an adapter of the look-up is no adapter of the product",
                    fix: "remove ensure_weight_tying, or train embed_tokens whole");
        if (place == AdapterPlace.Embedding && config.TrainedTokens.Count > 0)
            throw new InputException($"{Key("trainable_token_indices")} trains rows of {module.Path}, which gets an adapter",
                fix: "use one of the two");
        if (Unfit(place, config) is { } key)
            throw new InputException($"{Key(key)}: {module.Path} cannot have an adapter with it",
                why: "a look-up adds A·B, and has no outputs with a bias", fix: $"leave it out of the targets, or leave {key} out");
    }

    private static (ParameterSpec Own, ValueList<int> Ids)? TokensOf(string name, AdapterConfig config, AdapterModules modules,
        DecoderConfig decoder, string? file)
    {
        if (config.TrainedTokens.Count == 0)
            return null;
        var key = AdapterConfigFile.Key(file, "trainable_token_indices");
        if (config.TrainedTokens.Keys.FirstOrDefault(table => table != "embed_tokens"
            && !ModuleNames.EndsWith(modules.Embedding, table)) is { } other)
            throw new InputException($"{key}: {other} is not the embedding of tokens",
                fix: $"write a list of token ids, or name {modules.Embedding}");
        ValueList<int> ids = [.. config.TrainedTokens.Values.SelectMany(list => list).Distinct()];
        if (ids.Count == 0 || ids.Any(id => id < 0 || id >= decoder.VocabularySize))
            throw new InputException($"{key}: {(ids.Count == 0 ? "the list is empty"
                : $"token {ids.First(id => id < 0 || id >= decoder.VocabularySize)} is outside the vocabulary of {decoder.VocabularySize}")}",
                fix: "name ids of the tokenizer, from 0");
        if (modules.IsWhole(config, modules.Embedding))
            throw new InputException($"{key}: modules_to_save trains the whole embedding already",
                fix: "remove one of the two");
        if (modules.IsTied && modules.IsWhole(config, modules.Head))
            throw new InputException($"{key}: modules_to_save trains {modules.Head} whole, which is the embedding",
                why: "rows that are trained by themselves are the head's rows too, and a head of its own has others",
                fix: $"remove one of the two, or name {modules.Embedding} in modules_to_save as well");
        var size = decoder.TableSize;
        return (new($"embed.{name}.tokens", [ids.Count, size], [new($"{Prefix}{modules.Embedding}.token_adapter.trainable_tokens_delta",
            [ids.Count, size], 0, 0, ids.Count, false)], ParameterKind.Embedding, 0), ids);
    }

    /// <summary>The key that a place cannot follow; null where it can.</summary>
    private static string? Unfit(AdapterPlace place, AdapterConfig config) => place != AdapterPlace.Embedding ? null
        : config.LoraBias ? "lora_bias"
        : config.Init is AdapterInit.Pissa or AdapterInit.Olora ? "init_lora_weights that decomposes it" : null;

    private static AdapterPlace PlaceOf(AdapterModule module) => module.Spec.Name switch
    {
        ParameterSpec.Head => AdapterPlace.Head,
        ParameterSpec.Embedding => AdapterPlace.Embedding,
        _ => AdapterPlace.Layer,
    };

    private static AdapterLayer Layer(string name, ParameterSpec spec, AdapterPlace place, string[] modules, AdapterConfig config,
        string suffix)
    {
        var inputs = spec.Shape[1];
        var own = $"{spec.Name[..^".weight".Length]}.{name}{suffix}";
        var (downs, targets) = (new List<ParameterPart>(), new List<AdapterTarget>());
        var rank = 0L;
        foreach (var module in modules)
        {
            var (published, r) = (Prefix + module, config.RankOf(module));
            ParameterPart[] parts = [.. spec.Parts.Where(part => AdapterModules.PathOf(part.Published) == module)];
            var (start, rows, width) = (parts.Min(part => part.Start), parts.Sum(part => part.Rows), Width(parts[0]));
            if (place == AdapterPlace.Embedding)
            {
                downs.Add(new(published + ".lora_embedding_A", [r, width], 0, 0, width, Transposed: true));
                targets.Add(new(module, new($"{own}.lora_B.weight", [inputs, r],
                    [new(published + ".lora_embedding_B", [inputs, r], 0, 0, inputs, false)], ParameterKind.Weight, 0), null,
                    config.UseDora ? new($"{own}.magnitude", [inputs], [new(published + ".lora_magnitude_vector", [inputs], 0, 0, inputs,
                        false)],
                        ParameterKind.Weight, 0) : null, 0, 0, config.ScaleOf(module)));
                continue;
            }
            downs.Add(new(published + ".lora_A.weight", [r, inputs], 0, rank, r, false));
            ParameterSpec Rows(string what, string file, bool matrix) => new($"{own}.{what}.{targets.Count}",
                matrix ? [rows, r] : [rows], [.. parts.Select(part => new ParameterPart(published + file, matrix ? [width, r] : [width],
                    part.PublishedStart, part.Start - start, part.Rows, false))],
                what == "lora_bias" ? ParameterKind.Bias : ParameterKind.Weight, 0);
            targets.Add(new(module, Rows("lora_B", ".lora_B.weight", matrix: true),
                config.LoraBias ? Rows("lora_bias", ".lora_B.bias", matrix: false) : null,
                config.UseDora ? Rows("magnitude", ".lora_magnitude_vector", matrix: false) : null, rank, start, config.ScaleOf(module)));
            rank += r;
        }
        var down = place == AdapterPlace.Embedding
            ? new ParameterSpec(own + ".lora_A.weight", [downs[0].PublishedShape[1], downs[0].PublishedShape[0]], [.. downs],
                ParameterKind.Embedding, 0)
            : new ParameterSpec(own + ".lora_A.weight", [rank, inputs], [.. downs], ParameterKind.Weight, 0);
        return new(spec, place, down, targets);
    }

    /// <summary>Outputs of a published layer.</summary>
    private static long Width(ParameterPart part) => part.PublishedShape[part.Transposed ? 1 : 0];

    private static IEnumerable<(ParameterSpec Base, ParameterSpec Own)> Replaced(string name, AdapterConfig config, AdapterModules modules,
        string? file)
    {
        foreach (var spec in modules.Specs)
        {
            bool[] meant = [.. spec.Parts.Select(part => part.Published[..part.Published.LastIndexOf('.')])
                .Select(module => modules.IsWhole(config, module))];
            if (!meant.Contains(true))
                continue;
            if (meant.Contains(false))
                throw new InputException($"{AdapterConfigFile.Key(file, "modules_to_save")} names "
                    + $"{spec.Parts[Array.IndexOf(meant, true)].Published}, which is multiplied together with its neighbours",
                    why: "a part of one product cannot be trained whole while the rest is frozen",
                    fix: "give it an adapter instead, or name its neighbours as well");
            var isSecond = spec.Name == ParameterSpec.Head && modules.AreOne(config);
            yield return (spec, spec with
            {
                Name = $"{(isSecond ? ParameterSpec.Embedding : spec.Name)}.{name}",
                Parts = [.. spec.Parts.Select(part => part with { Published = Prefix + part.Published })],
            });
        }
    }

    /// <summary>The biases that are trained as they are. A layer that has an adapter is wrapped, and its own parts are called
    /// <c>base_layer</c>.</summary>
    private static List<(ParameterSpec Base, ParameterSpec Own)> Biases(string name, AdapterConfig config,
        IReadOnlyList<ParameterSpec> specs, HashSet<string> targets, Func<string, int> wrapped)
    {
        var biases = new List<(ParameterSpec, ParameterSpec)>();
        foreach (var spec in specs.Where(spec => spec.Kind == ParameterKind.Bias && config.Bias != AdapterBias.None))
        {
            ParameterPart[] own = [.. from part in spec.Parts
                let module = part.IsStacked ? part.Published : part.Published[..^".bias".Length]
                where (config.Bias == AdapterBias.All || targets.Contains(module))
                    && !config.ModulesToSave.Any(saved => ModuleNames.EndsWith(module, saved))
                select part with
                {
                    Published = part.IsStacked ? Prefix + Inside(module, wrapped)
                        : $"{Prefix}{module}{(targets.Contains(module) ? ".base_layer" : "")}.bias"
                }];
            if (own.Length > 0)
                biases.Add((spec, spec with { Name = $"{spec.Name}.{name}", Parts = [.. own] }));
        }
        return biases;
    }

    /// <summary>A parameter's path where its module is wrapped.</summary>
    private static string Inside(string parameter, Func<string, int> wrapped)
    {
        var end = parameter.LastIndexOf('.');
        return ExpertStack.Wrapped(parameter[..end], wrapped(parameter[..end])) + parameter[end..];
    }

    /// <summary>Requires that adapters over one another leave each other's work in place.</summary>
    /// <param name="adapters">Lowest first.</param>
    /// <exception cref="InputException">One trains whole what a lower one changed otherwise.</exception>
    public static void RequireTogether(IReadOnlyList<AdapterLayout> adapters)
    {
        for (var i = 1; i < adapters.Count; i++)
            foreach (var lower in adapters.Take(i).Where(adapter => !adapter.IsReference))
                foreach (var (weight, _) in adapters[i].Whole)
                    if (adapters[i].Loses(lower, weight) is { } what)
                        throw new InputException($"modules_to_save trains {AdapterModules.PathOf(weight.Parts[0].Published)} whole, and an "
                            + $"adapter below it {what}",
                            why: "the copy begins with the model's own weight, and what is below would be lost",
                            fix: "merge the lower one into its model first with `handbook merge`");
    }

    /// <summary>What of a lower adapter a weight that this one trains whole does not have; null for nothing.</summary>
    private string? Loses(AdapterLayout lower, ParameterSpec weight)
    {
        var isTable = weight.Name == ParameterSpec.Embedding || weight.Name == ParameterSpec.Head && Modules.IsTied;
        return lower.Layers.Any(layer => layer.Base.Name == weight.Name) ? "has A and B there"
            : isTable && lower.Tokens is not null ? "has trained some of its rows (trainable_token_indices)"
            : isTable && Modules.AreOne(Config) && !Modules.AreOne(lower.Config)
                && lower.Whole.Any(pair => pair.Base.Name is ParameterSpec.Embedding or ParameterSpec.Head)
            ? "has made head and embedding two (ensure_weight_tying makes them one)" : null;
    }

    /// <summary>The rows of parameters in <see cref="Whole"/> that stay the model's: parameter, first row, rows.</summary>
    public IEnumerable<(string Name, long Start, long Rows)> KeptRows()
    {
        foreach (var (_, own) in Whole)
        {
            var end = 0L;
            foreach (var part in own.Parts.OrderBy(part => part.Start))
            {
                if (part.Start > end)
                    yield return (own.Name, end, part.Start - end);
                end = part.Start + part.Rows;
            }
            if (end < own.Shape[0])
                yield return (own.Name, end, own.Shape[0] - end);
        }
    }

    /// <summary>The model's own value of a parameter, with the adapters below this one.</summary>
    public Tensor Below(ModelParameters parameters, string name) =>
        parameters.With([.. parameters.Adapters.Where(other => other != this).Select(other => other.Name)])[name].Value.Detach();

    /// <summary>The adapter as products read it.</summary>
    public LowRank Operation(AdapterLayer layer, ModelParameters parameters, double sign = 1) => new()
    {
        Down = parameters[layer.Down.Name],
        Dropout = Config.Dropout,
        Layer = NameNumber.Of(layer.Base.Name),
        Parts = [.. layer.Targets.Select(target => new LowRankPart
        {
            Up = parameters[target.Up.Name],
            UpBias = target.UpBias is null ? null : parameters[target.UpBias.Name],
            Magnitude = target.Magnitude is null ? null : parameters[target.Magnitude.Name],
            RankStart = target.RankStart,
            RowStart = target.RowStart,
            Scale = sign * target.Scale,
        })],
    };
}

/// <summary>Where an adapter's values come from.</summary>
internal interface IAdapterSource
{
    /// <summary>Requires that the values are there, before anything large is loaded.</summary>
    /// <exception cref="InputException">Tensors are missing, left over or of another shape.</exception>
    void Check(AdapterLayout layout)
    {
    }

    /// <summary>Gives the adapter's parameters their values.</summary>
    /// <param name="parameters">With everything else loaded: the base, and the adapters before this one.</param>
    void Fill(AdapterLayout layout, ModelParameters parameters);
}
