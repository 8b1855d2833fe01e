namespace Handbook.Models.Adapters;

/// <summary>A parameter of a published network that holds the matrices of all experts of a layer.</summary>
/// <remarks>
/// PEFT wraps the module that holds it, once for each of its parameters that has an adapter, the one that the module made first innermost.
/// In its files the matrices of all experts are two, with E experts, rank r and expert e:
/// <code>
/// A_e = lora_A[e·r … e·r + r − 1, :]        lora_A [E·r, in]
/// B_e = lora_B[:, e], lora_B[:, E + e], …       lora_B [out, r·E]
/// </code>
/// Families whose experts are published one by one are held so by transformers 5, which names the parameters as here.
/// </remarks>
/// <param name="Path">Its path, e.g. <c>model.layers.0.mlp.experts.gate_up_proj</c>.</param>
/// <param name="Experts">Our weights, one for each expert.</param>
internal sealed record ExpertStack(string Path, IReadOnlyList<ParameterSpec> Experts)
{
    /// <summary>Path of the module that holds it.</summary>
    public string Module => Path[..Path.LastIndexOf('.')];

    /// <summary>All of a model, those of a module in the order in which it makes them.</summary>
    /// <param name="specs">The model's parameters, fused.</param>
    public static IReadOnlyList<ExpertStack> Of(IEnumerable<ParameterSpec> specs) => [.. specs
        .Where(spec => spec.Kind == ParameterKind.Weight && spec.Name.Contains(InExperts, StringComparison.Ordinal))
        .GroupBy(PathOf).Select(group => new ExpertStack(group.Key, [.. group]))];

    private const string InExperts = ".experts.";

    private static string PathOf(ParameterSpec spec)
    {
        var published = spec.Parts[0].Published;
        if (spec.IsStacked)
            return published;
        var layer = spec.Name[(spec.Name.LastIndexOf(InExperts, StringComparison.Ordinal) + InExperts.Length)..].Split('.')[1];
        return published[..(published.LastIndexOf(InExperts, StringComparison.Ordinal) + InExperts.Length)]
            .Replace(".block_sparse_moe.", ".mlp.", StringComparison.Ordinal) + layer + "_proj";
    }

    /// <summary>Those that names mean.</summary>
    /// <param name="all">Of the model.</param>
    /// <param name="names">Ends of paths.</param>
    public static IReadOnlyList<ExpertStack> Chosen(IReadOnlyList<ExpertStack> all, IEnumerable<string> names) =>
        [.. all.Where(stack => names.Any(name => ModuleNames.EndsWith(stack.Path, name)))];

    /// <summary>The paths of the modules that wrap them, where all of them have an adapter.</summary>
    public static IEnumerable<(ExpertStack Stack, string Module)> Wrappers(IEnumerable<ExpertStack> chosen) =>
        chosen.GroupBy(stack => stack.Module).SelectMany(group => group.Reverse().Select((stack, i) => (stack, Wrapped(stack.Module, i))));

    /// <summary>The adapter of each expert.</summary>
    /// <param name="name">The adapter's.</param>
    /// <param name="wrapper">Path of the module that wraps it.</param>
    public IEnumerable<AdapterLayer> Layers(string name, AdapterConfig config, string wrapper)
    {
        var published = AdapterLayout.Prefix + wrapper;
        var (rank, count) = (config.RankOf(Path), Experts.Count);
        for (var e = 0; e < count; e++)
        {
            var spec = Experts[e];
            var (own, rows, inputs) = ($"{spec.Name[..^".weight".Length]}.{name}", spec.Shape[0], spec.Shape[1]);
            var down = new ParameterSpec(own + ".lora_A.weight", [rank, inputs],
                [new(published + ".lora_A.weight", [(long)count * rank, inputs], (long)e * rank, 0, rank, false)], ParameterKind.Weight, 0);
            // experts of their own stand in the stack as in ours
            var up = new ParameterSpec(own + ".lora_B.0", [rows, rank], [.. spec.Parts.Select(part => new ParameterPart(
                published + ".lora_B.weight", [rows, (long)count * rank], spec.IsStacked ? part.PublishedStart : part.Start, part.Start,
                part.Rows, false)
            {
                Step = part.Step,
                ColumnStart = e,
                ColumnStep = count,
            })], ParameterKind.Weight, 0);
            yield return new(spec, AdapterPlace.Layer, down, [new(Path, up, null, null, 0, 0, config.ScaleOf(Path))]);
        }
    }

    /// <summary>A module's path below so many adapters.</summary>
    public static string Wrapped(string module, int times) => module + string.Concat(Enumerable.Repeat(".base_layer", times));
}
