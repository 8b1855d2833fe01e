using Handbook.Base;
using Handbook.Models.Families;

namespace Handbook.Models.Adapters;

/// <summary>One published layer that gets an adapter.</summary>
/// <param name="Path">Its path in the published network, e.g. <c>model.layers.0.self_attn.q_proj</c>.</param>
/// <param name="Spec">The parameter of ours that holds it.</param>
internal sealed record AdapterModule(string Path, ParameterSpec Spec);

/// <summary>The layers of a published network by their paths, and which of them an adapter means.</summary>
internal sealed class AdapterModules
{
    private readonly Family _family;
    private readonly DecoderConfig _config;
    private readonly IReadOnlyList<AdapterModule> _all;
    private readonly IReadOnlyList<string> _paths;      // of everything that has parameters

    /// <param name="specs">The model's parameters, fused.</param>
    public AdapterModules(Family family, DecoderConfig config, IReadOnlyList<ParameterSpec> specs)
    {
        (_family, _config) = (family, config);
        Head = config.Head == ModelHead.Score ? "score" : PathOf(family.HeadName);
        if (IsTied)
        {
            var table = specs.First(spec => spec.Name == ParameterSpec.Embedding);
            specs = [.. specs, table with
            {
                Name = ParameterSpec.Head,
                Parts = [.. table.Parts.Select(part => part with { Published = family.HeadName })]
            }];
        }
        Specs = specs;
        _all = [.. specs.Where(spec => spec.Kind is ParameterKind.Weight or ParameterKind.Embedding && !spec.IsStacked)
            .SelectMany(spec => spec.Parts.Select(part => part.Published).Distinct().Select(name => new AdapterModule(PathOf(name), spec)))];
        Stacks = ExpertStack.Of(specs);
        _paths = [.. specs.SelectMany(spec => spec.Parts.Select(part => part.Published[..part.Published.LastIndexOf('.')])).Distinct()];
    }

    /// <summary>The model's parameters, and a tied head as one: an adapter may give it values of its own.</summary>
    public IReadOnlyList<ParameterSpec> Specs { get; }

    /// <summary>The parameters that hold the weights of all experts of a layer.</summary>
    public IReadOnlyList<ExpertStack> Stacks { get; }

    /// <summary>The head's path.</summary>
    public string Head { get; }

    /// <summary>The model's family.</summary>
    public Family Family => _family;

    /// <summary>The token embedding's path.</summary>
    public string Embedding => PathOf(_family.EmbeddingName);

    /// <summary>Whether the model's head is its embedding.</summary>
    public bool IsTied => HasTiedHead(_config);

    private static bool HasTiedHead(DecoderConfig config) => config is { TiedHead: true, Head: ModelHead.Language };

    /// <summary>Whether an adapter trains a module whole: its own copy, or that of embedding and head together
    /// (<see cref="AdapterConfig.TieWeights"/>).</summary>
    /// <param name="module">Its path.</param>
    public static bool IsWhole(AdapterConfig config, string module, Family family, DecoderConfig decoder)
    {
        string[] tables = [PathOf(family.EmbeddingName), PathOf(family.HeadName)];
        return config.TieWeights && HasTiedHead(decoder) && tables.Contains(module) ? tables.Any(IsNamed) : IsNamed(module);

        bool IsNamed(string path) => config.ModulesToSave.Any(saved => ModuleNames.EndsWith(path, saved));
    }

    /// <inheritdoc cref="IsWhole(AdapterConfig, string, Family, DecoderConfig)"/>
    public bool IsWhole(AdapterConfig config, string module) => IsWhole(config, module, _family, _config);

    /// <summary>Whether head and embedding are trained whole as the one matrix that they are.</summary>
    public bool AreOne(AdapterConfig config) => config.TieWeights && IsTied && IsWhole(config, Head);

    /// <summary>A published tensor's module.</summary>
    public static string PathOf(string published) => published.EndsWith(".weight", StringComparison.Ordinal) ? published[..^7] : published;

    /// <summary>Whether a tensor is of the same module as another: its weight or its bias.</summary>
    public static bool IsOf(string tensor, string weight) => tensor == weight || tensor == PathOf(weight) + ".bias";

    /// <summary>The layers that get an adapter, in the order of the model.</summary>
    /// <param name="file">The file that the config is from, for messages; null for a recipe.</param>
    /// <exception cref="InputException">A name means nothing, or a layer that cannot have one.</exception>
    public IReadOnlyList<AdapterModule> Targets(AdapterConfig config, string? file)
    {
        var where = AdapterConfigFile.Key(file, "target_modules");
        if (config.TargetParameters.Count > 0 && (config.Targets ?? ModuleNames.Of(_family.AdapterTargets ?? [])) is
            { IsAllLinear: false, Pattern: null, Names.Count: 0 })
            return [];
        var targets = config.Targets ?? (_family.AdapterTargets is { } usual ? ModuleNames.Of(usual) : throw new InputException(
            $"{where} is missing, and {_family.ModelType} has no usual targets",
            why: "the reference implementation knows usual layers of some families only",
            fix: $"name the layers, such as all-linear, or [{string.Join(", ", LayerNames().Take(4))}]"));
        if (targets.Pattern is { } pattern && ModuleNames.Problem(pattern) is { } problem)
            throw new InputException($"{where}: \"{pattern}\" is not a regular expression: {problem}",
                fix: "one word is matched against whole paths; write names of layers as a list");
        if (targets is { IsAllLinear: false, Pattern: null, Names.Count: 0 })
            throw new InputException($"{where}: the list is empty", why: "an adapter without layers trains nothing",
                fix: $"name layers, such as all-linear, or [{string.Join(", ", LayerNames().Take(4))}]");
        foreach (var (key, wrong) in Patterns(config).Where(pair => ModuleNames.Problem(pair.Pattern) is not null))
            throw new InputException($"{AdapterConfigFile.Key(file, key)} is \"{wrong}\", which is not a regular expression: "
                + ModuleNames.Problem(wrong),
                fix: "write names of layers as a list, or repair the expression");
        foreach (var name in targets.Names.Where(name => Specs.Any(spec => spec.IsStacked
            && ModuleNames.EndsWith(PathOf(spec.Parts[0].Published), name))))
            throw new InputException($"{where}: {name} is one tensor for all experts, and cannot have an adapter",
                why: "an adapter belongs to a linear layer, and a tensor of many matrices is none",
                fix: $"name it in {AdapterConfigFile.Key(file, "target_parameters")} instead");
        foreach (var name in targets.Names.Where(name => !_all.Any(module => ModuleNames.EndsWith(module.Path, name))))
            throw new InputException($"{where}: no layer of this {_family.ModelType} is called {name}",
                why: "an adapter on a layer that does not exist would train nothing",
                fix: Suggestion(name));
        AdapterModule[] named = [.. _all.Where(module => targets.IsAllLinear ? IsOrdinary(module) : targets.Match(module.Path))];
        AdapterModule[] kept = [.. named.Where(module => !(config.Excluded is { } excluded && excluded.Match(module.Path)))];
        AdapterModule[] chosen = [.. kept.Where(module => InLayers(module.Path, config))];
        if (named.Length == 0)
            throw new InputException($"{where}: \"{targets}\" matches no layer", why: "an adapter without layers trains nothing",
                fix: $"the paths look like {_all.First(IsOrdinary).Path}; all-linear means every linear layer but the head");
        if (kept.Length == 0)
            throw new InputException($"{AdapterConfigFile.Key(file, "exclude_modules")}: {config.Excluded} means all {named.Length} "
                + $"layers that get an adapter ({targets})", why: "an adapter without layers trains nothing", fix: "exclude fewer");
        if (chosen.Length == 0)
            throw new InputException($"{AdapterConfigFile.Key(file, "layers_to_transform")}: {string.Join(", ", config.Layers)} is the "
                + $"number of none of the {kept.Length} layers that get an adapter ({targets})"
                + (config.LayersPattern.Count > 0 ? $", behind {string.Join(" or ", config.LayersPattern)} (layers_pattern)" : ""),
                why: "an adapter without layers trains nothing",
                fix: $"this model's layers are 0 to {_config.Layers - 1}, and its paths look like {_all.First(IsOrdinary).Path}");
        foreach (var module in chosen)
            if (module.Spec.IsExact)
                throw new InputException($"{where}: {module.Path} cannot have an adapter",
                    why: "its few outputs are multiplied in full precision (a router, or a score head)",
                    fix: module.Path == "score" ? "name it in lora_modules_to_save, where it is for reward models anyway"
                        : "leave it out of the targets");
            else if (module.Spec.Name == ParameterSpec.Positions)
                throw new InputException($"{where}: {module.Path}, a table of positions, cannot have an adapter",
                    fix: "leave it out of the targets");
        return chosen;
    }

    /// <summary>The parameters that get an adapter by their own names, and the layers whose weights they are.</summary>
    /// <param name="file">The file that the config is from, for messages; null for a recipe.</param>
    /// <param name="layers">What <see cref="Targets"/> chose.</param>
    /// <exception cref="InputException">A name means nothing, or a parameter that cannot have one.</exception>
    public (IReadOnlyList<ExpertStack> Stacks, IReadOnlyList<AdapterModule> Layers) Parameters(AdapterConfig config, string? file,
        IReadOnlyList<AdapterModule> layers)
    {
        var where = AdapterConfigFile.Key(file, "target_parameters");
        var (stacks, own) = (new List<ExpertStack>(), new List<AdapterModule>());
        foreach (var name in config.TargetParameters)
        {
            var named = ExpertStack.Chosen(Stacks, [name]);
            AdapterModule[] weights = [.. _all.Where(module => ModuleNames.EndsWith(module.Path + ".weight", name) && !IsOfExpert(module))];
            if (named.Count + weights.Length == 0)
                throw new InputException(Specs.Any(spec => spec.Parts.Any(part => ModuleNames.EndsWith(part.Published, name)))
                    ? $"{where}: {name} cannot have an adapter: it is no matrix by which tokens are multiplied"
                    : $"{where}: no parameter of this {_family.ModelType} is called {name}",
                    why: "an adapter on a parameter that does not exist would train nothing",
                    fix: Stacks.Count == 0 ? "this model has no parameters that layers do not hold; name layers in "
                        + AdapterConfigFile.Key(file, "target_modules")
                        : Suggestion(name, "parameters of experts", [.. Stacks.Select(stack => stack.Path.Split('.')).Select(path =>
                            string.Join('.', path[^Math.Min(3, path.Length)..])).Distinct()]));
            if (weights.FirstOrDefault(module => !IsOrdinary(module)) is { } other)
                throw new InputException($"{where}: {other.Path}.weight cannot have an adapter as a parameter",
                    why: other.Spec.IsExact ? "its few outputs are multiplied in full precision (a router, or a score head)"
                        : "it is a table of tokens or the head, whose adapters have forms of their own",
                    fix: other.Spec.IsExact ? "leave it out" : $"name it in {AdapterConfigFile.Key(file, "target_modules")}");
            stacks.AddRange(named.Except(stacks));
            own.AddRange(weights.Except(own));
        }
        foreach (var module in layers)
            if (own.Contains(module) || stacks.Any(stack => stack.Experts.Any(expert => expert.Name == module.Spec.Name)))
                throw new InputException($"{where} and {AdapterConfigFile.Key(file, "target_modules")} both mean {module.Path}",
                    why: "one weight would have two adapters", fix: "name it in one of the two");
        return ([.. Stacks.Where(stacks.Contains)], [.. _all.Where(own.Contains)]);
    }

    private static bool IsOfExpert(AdapterModule module) => module.Spec.Name.Contains(".experts.", StringComparison.Ordinal);

    /// <summary>Requires that everything that a recipe says of a new adapter means something; in published configs such words do no
    /// harm.</summary>
    /// <param name="layout">The adapter that the config led to.</param>
    /// <exception cref="InputException">A name, a pattern or a number means nothing in this model.</exception>
    public void RequireUsed(AdapterLayout layout)
    {
        var config = layout.Config;
        string[] adapted = [.. layout.Layers.SelectMany(layer => layer.Targets.Select(target => target.Module))];
        foreach (var name in config.ModulesToSave.Where(name => name is not ("classifier" or "score") && !_paths.Any(path =>
            ModuleNames.EndsWith(path, name))))
            throw new InputException($"lora_modules_to_save: no module of this {_family.ModelType} is called {name}",
                why: "nothing would be trained whole, and nothing saved",
                fix: Suggestion(name, "modules", [.. _paths.Select(LastName).Distinct()]));
        foreach (var (key, patterns) in new[] { ("rank_pattern", config.RankPattern), ("alpha_pattern", config.AlphaPattern) })
            foreach (var pattern in patterns.Keys.Where(pattern => !adapted.Any(module => ModuleNames.Fits(pattern, module))))
                throw new InputException($"{key}: {pattern} fits no layer that has an adapter",
                    why: "its value would change nothing", fix: $"the layers are {string.Join(", ", adapted.Select(LastName).Distinct())}");
        if (config.Excluded is { } excluded && !_paths.Any(excluded.Match))
            throw new InputException($"exclude_modules: {excluded} means no module of this "
                + _family.ModelType, why: "nothing would be left out",
                fix: $"name some of the layers {string.Join(", ", LayerNames())}, or remove the key");
        if (config.Bias != AdapterBias.None && !layout.Whole.Any(pair => pair.Base.Kind == ParameterKind.Bias))
            throw new InputException($"bias is {AdapterConfigFile.Word(config.Bias)}, but "
                + (config.Bias == AdapterBias.All ? "this model has no biases" : "no layer with an adapter has a bias in this model"),
                why: "nothing would be trained by it", fix: "remove bias, or set it to none");
        if (config.TargetParameters.Count > 0 && (config.Layers.Count > 0 || config.Excluded is not null)
            && Targets(config, null).Count == 0)
            throw new InputException($"{(config.Layers.Count > 0 ? "layers_to_transform" : "exclude_modules")} is given, but only "
                + "lora_target_parameters names what gets an adapter",
                why: "as in the reference implementation it chooses among layers, not among parameters, which are those of all layers",
                fix: "remove it, or name parameters by longer ends of their paths, such as layers.0.mlp.experts.down_proj");
        foreach (var number in config.Layers.Where(number => number >= _config.Layers))
            throw new InputException($"layers_to_transform: there is no layer {number}",
                fix: $"this model's layers are 0 to {_config.Layers - 1}");
    }

    private static string LastName(string path) => path[(path.LastIndexOf('.') + 1)..];

    /// <summary>What else of a config is a regular expression, and is matched against paths.</summary>
    private static IEnumerable<(string Key, string Pattern)> Patterns(AdapterConfig config) =>
        [.. config.Excluded?.Pattern is { } excluded ? [("exclude_modules", excluded)] : Array.Empty<(string, string)>(),
            .. config.LayersPattern.Select(pattern => ("layers_pattern", pattern))];

    /// <summary>The parameters that modules trained whole mean, head and embedding by their paths.</summary>
    /// <param name="names">Ends of paths; such as mean nothing are left out, as in the reference.</param>
    public IReadOnlyList<AdapterModule> Whole(IEnumerable<string> names)
    {
        string[] wanted = [.. names];
        return [.. _all.Where(module => wanted.Any(name => ModuleNames.EndsWith(module.Path, name)))];
    }

    private bool IsOrdinary(AdapterModule module) => module.Spec is { Kind: ParameterKind.Weight, IsExact: false } && module.Path != Head;

    private IEnumerable<string> LayerNames() => _all.Where(IsOrdinary).Select(module => LastName(module.Path)).Distinct();

    private string Suggestion(string name) => Suggestion(name, "layers", [.. LayerNames()]);

    private static string Suggestion(string name, string what, string[] known) =>
        (Spelling.Nearest(name, known) is { } near ? $"did you mean {near}? " : "") + $"its {what} are {string.Join(", ", known)}";

    /// <summary>PEFT's rule of <c>layers_to_transform</c>: the number behind the list's name, or behind whatever stands before a
    /// number.</summary>
    private static bool InLayers(string path, AdapterConfig config)
    {
        if (config.Layers.Count == 0)
            return true;
        string[] names = config.LayersPattern.Count == 0 ? ["[^.]*"] : [.. config.LayersPattern];
        foreach (var name in names)
            if (ModuleNames.Find($@".*\.(?:{name})\.(?<number>[0-9]+)\.", path) is { Success: true } match)
                return config.Layers.Contains(int.Parse(match.Groups["number"].Value));
        return false;
    }
}
