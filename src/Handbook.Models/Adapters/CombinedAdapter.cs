using System.Runtime.InteropServices;
using Handbook.Base;
using Handbook.Models.Families;
using Handbook.Models.Files;
using Handbook.Torch;

namespace Handbook.Models.Adapters;

/// <summary>An adapter made of several on the same weights.</summary>
/// <remarks>Semantics: PEFT's <c>add_weighted_adapter</c>; a layer that only some of them have is combined from those.</remarks>
internal sealed class CombinedAdapter
{
    private const string DownEnd = ".lora_A.weight", UpEnd = ".lora_B.weight", TableDownEnd = ".lora_embedding_A",
        TableUpEnd = ".lora_embedding_B";

    private readonly IReadOnlyList<(AdapterConfig Config, WeightFiles Files, Dictionary<string, string> Names, double Weight)> _adapters;
    private readonly CombinationMethod _method;
    private readonly CombinationOptions _options;
    private readonly HashSet<string> _tables;
    private readonly Dictionary<string, ExpertStack> _stacks;       // by the modules that wrap them

    private CombinedAdapter(IReadOnlyList<(AdapterConfig Config, WeightFiles, Dictionary<string, string>, double)> adapters,
        CombinationMethod method, CombinationOptions options, PublishedConfig model)
    {
        (_adapters, _method, _options, _tables) = (adapters, method, options, [.. SavedTables.Known(model.Family)]);
        var stacks = ExpertStack.Of(model.Family.Parameters(model.Decoder, fused: true));
        _stacks = ExpertStack.Wrappers(ExpertStack.Chosen(stacks, adapters[0].Config.TargetParameters)).ToDictionary(
            pair => pair.Module, pair => pair.Stack);
    }

    /// <summary>Combines adapters.</summary>
    /// <param name="adapters">Their folders, each with its weight.</param>
    /// <param name="model">The model below them.</param>
    /// <param name="advance">Hears of every layer that is done.</param>
    /// <returns>Its tensors, and its config without the base's name.</returns>
    /// <exception cref="InputException">An adapter has more than A and B, or they do not fit together.</exception>
    public static (IReadOnlyList<TensorToSave> Tensors, AdapterConfig Config) Of(IReadOnlyList<(string Folder, double Weight)> adapters,
        PublishedConfig model, CombinationMethod method, CombinationOptions options, Action<string> advance)
    {
        var opened = new List<(AdapterConfig, WeightFiles, Dictionary<string, string>, double)>();
        try
        {
            foreach (var (folder, weight) in adapters)
            {
                var config = AdapterConfigFile.Read(folder);
                var files = WeightFiles.Open(AdapterFolder.FileOf(folder));
                opened.Add((config, files, AdapterFolder.Names(files), weight));
            }
            var all = new CombinedAdapter(opened, method, options, model);
            foreach (var ((folder, _), adapter) in adapters.Zip(all._adapters))
                all.RequirePlain(folder, adapter.Config, adapter.Names.Keys);
            return all.Make(advance);
        }
        finally
        {
            foreach (var (_, files, _, _) in opened)
                files.Dispose();
        }
    }

    private void RequirePlain(string folder, AdapterConfig config, IEnumerable<string> names)
    {
        if (!config.TargetParameters.Order().SequenceEqual(_adapters[0].Config.TargetParameters.Order()))
            throw new InputException($"{folder}: target_parameters is {Shown(config)}, but that of the first adapter is "
                + Shown(_adapters[0].Config),
                why: "which parameter a tensor belongs to follows from all that have an adapter",
                fix: "combine adapters on the same parameters, or merge one with handbook merge and train the other on the result");
        foreach (var name in names)
            if ((!IsTable(name) || IsTrained(name, config))
                && !((string[])[DownEnd, UpEnd, TableDownEnd, TableUpEnd]).Any(end => name.EndsWith(end, StringComparison.Ordinal)))
                throw new InputException($"{folder}: tensor \"{name}\" is no A or B of a layer",
                    why: $"{_method.Name} sums changes B·A; a magnitude (use_dora), a bias (lora_bias) or a whole layer (modules_to_save) "
                    + "is none", fix: "combine adapters without them, or merge one with handbook merge and train the other on the result");
    }

    private (IReadOnlyList<TensorToSave> Tensors, AdapterConfig Config) Make(Action<string> advance)
    {
        string[] downs = [.. _adapters.SelectMany(adapter => adapter.Names.Keys).Where(IsDown).Distinct().Order(StringComparer.Ordinal)];
        var made = new List<(string Name, long[] Shape, float[] Values, long Experts)>();
        foreach (var name in downs)
        {
            using var scope = TensorScope.Enter();
            var module = ModuleOf(name);
            var stack = _stacks.GetValueOrDefault(module);
            var (factors, experts) = (Factors(name, stack?.Path ?? module), stack?.Experts.Count ?? 1);
            var each = Enumerable.Range(0, experts).Select(e => AdapterFactors.Combine(
                stack is null ? factors : [.. factors.Select(factor => factor.Of(e, experts))], stack is null ? module : $"{stack.Path} {e}",
                _method, _options, _options.Rank ?? _adapters.Max(adapter => adapter.Config.Rank))).ToArray();
            Add(name, Tensor.Cat([.. each.Select(pair => pair.Down)], 0), experts);
            // the columns of the experts take turns
            Add(UpOf(name), Tensor.Cat([.. each.Select(pair => pair.Up.Unsqueeze(2))], 2).Reshape(each[0].Up.Size(0), -1), experts);
            advance(module);
        }
        var rank = made.Where(tensor => IsDown(tensor.Name)).Max(tensor => tensor.Shape[0] / tensor.Experts);
        return ([.. made.Select(tensor => Padded(tensor.Name, tensor.Shape, tensor.Values, rank, tensor.Experts)), .. Tables()],
            Config((int)rank, downs));

        void Add(string name, Tensor values, long experts) =>
            made.Add((name, [.. values.Shape], values.To(DType.Float32).ToArray<float>(), experts));
    }

    private static string Shown(AdapterConfig config) =>
        config.TargetParameters.Count == 0 ? "empty" : string.Join(", ", config.TargetParameters);

    /// <summary>The model's own tables, which lie beside adapters of them.</summary>
    /// <exception cref="InputException">They differ: the adapters were not trained over the same weights.</exception>
    private IEnumerable<TensorToSave> Tables()
    {
        foreach (var name in _adapters.SelectMany(adapter => adapter.Names.Keys).Where(IsTable).Distinct().ToArray())
        {
            var all = _adapters.Where(adapter => adapter.Names.ContainsKey(name)).Select(adapter =>
                adapter.Files.Read(adapter.Names[name])).ToArray();
            if (Array.Find(all, table => !SavedTables.IsSame(all[0], table)) is { Info: not null })
                throw new InputException($"the adapters hold different tensors \"{name}\"{Sizes(all)}",
                    why: "it is the model's own table below them: they "
                    + "were trained over different ones", fix: "combine adapters of one model");
            yield return TensorToSave.From(Copy(name, all[0]));
        }

        static string Sizes(TensorData[] all) =>
            all.Select(table => table.Info.Shape.ToString()).Distinct().ToArray() is { Length: > 1 } sizes
            ? $" ({string.Join(" and ", sizes)})" : "";
    }

    /// <summary>A tensor in memory of its own, which outlives its file.</summary>
    private static unsafe TensorData Copy(string name, TensorData data)
    {
        var copy = new NativeBuffer(data.Info.ByteCount);
        Buffer.MemoryCopy((void*)data.Pointer, copy.Pointer, copy.Size, copy.Size);
        GC.KeepAlive(data.Owner);
        return new(data.Info with { Name = name }, (nint)copy.Pointer, copy);
    }

    private AdapterFactors[] Factors(string down, string module)
    {
        AdapterFactors[] all = [.. _adapters.Where(adapter => adapter.Names.ContainsKey(down)).Select(adapter => new AdapterFactors(
            Read(adapter.Files, adapter.Names, down), Read(adapter.Files, adapter.Names, UpOf(down)),
            adapter.Weight * adapter.Config.ScaleOf(module)))];
        if (all.Any(factors => factors.Down.Size(1) != all[0].Down.Size(1) || factors.Up.Size(0) != all[0].Up.Size(0)
            || factors.Up.Size(1) != factors.Rank))
            throw new InputException($"{module}: the adapters' matrices do not fit together: "
                + string.Join(", ", all.Select(factors => $"A {Shown(factors.Down)}, B {Shown(factors.Up)}")),
                why: "they were trained on different models, or a file is broken", fix: "combine adapters of one model");
        return all;

        static string Shown(Tensor tensor) => $"[{string.Join(", ", tensor.Shape)}]";
    }

    private static Tensor Read(WeightFiles files, Dictionary<string, string> names, string name)
    {
        if (!names.TryGetValue(name, out var own))
            throw new InputException($"{files.Path}: tensor \"{name}\" is missing", why: "its layer has the other half of an adapter",
                fix: "fetch the file again");
        var data = files.Read(own);
        var values = new double[data.Info.Count];
        ElementConversion.Convert(data.Bytes, data.Info.DType, MemoryMarshal.AsBytes(values.AsSpan()), DType.Float64);
        GC.KeepAlive(data.Owner);
        return Tensor.From(values, [.. data.Info.Shape]);
    }

    /// <summary>Every layer gets the same rank: zeros add nothing.</summary>
    private static TensorToSave Padded(string name, long[] shape, float[] values, long rank, long experts)
    {
        // of A the rows of an expert stand together, of B those of a rank
        var (parts, now, then) = IsDown(name) ? (experts, shape[0] / experts * shape[1], rank * shape[1])
            : (shape[0], shape[1], rank * experts);
        var padded = new float[parts * then];
        for (var part = 0L; part < parts; part++)
            Array.Copy(values, part * now, padded, part * then, now);
        return IsDown(name) ? TensorToSave.From(name, padded, rank * experts, shape[1])
            : TensorToSave.From(name, padded, shape[0], rank * experts);
    }

    /// <summary>The first adapter's, with the factor 1; the layers by their paths where the adapters do not name the same ones.</summary>
    private AdapterConfig Config(int rank, string[] downs)
    {
        var first = _adapters[0].Config;
        var same = _adapters.All(adapter => Equals(adapter.Config.Targets, first.Targets) && Equals(adapter.Config.Excluded, first.Excluded)
            && adapter.Config.Layers.Equals(first.Layers) && adapter.Config.LayersPattern.Equals(first.LayersPattern));
        var config = first with
        {
            Rank = rank,
            Alpha = rank,
            RankPattern = new Dictionary<string, double>(),
            AlphaPattern = new Dictionary<string, double>(),
            UseRslora = false,
        };
        return same ? config : config with
        {
            Targets = ModuleNames.Of(downs.Select(ModuleOf).Where(module => !_stacks.ContainsKey(module))),
            Excluded = null,
            Layers = [],
            LayersPattern = [],
        };
    }

    /// <summary>Whether a tensor is one of the model's own.</summary>
    private bool IsTable(string name) => _tables.Contains(name);

    /// <summary>Whether a table is the adapter's own copy of it.</summary>
    private static bool IsTrained(string name, AdapterConfig config) =>
        name[AdapterLayout.Prefix.Length..name.LastIndexOf('.')] is var module && config.ModulesToSave.Any(saved => ModuleNames.EndsWith(module, saved));

    private static bool IsDown(string name) => name.EndsWith(DownEnd, StringComparison.Ordinal)
        || name.EndsWith(TableDownEnd, StringComparison.Ordinal);

    private static string UpOf(string down) => down.EndsWith(DownEnd, StringComparison.Ordinal) ? down[..^DownEnd.Length] + UpEnd
        : down[..^TableDownEnd.Length] + TableUpEnd;

    private static string ModuleOf(string down) => down[AdapterLayout.Prefix.Length..down.LastIndexOf(".lora_", StringComparison.Ordinal)];
}
