using Handbook.Models.Files;
using Handbook.Torch;

namespace Handbook.Models.Adapters;

/// <summary>An adapter that began with a part of the weight (PiSSA, OLoRA), as an adapter on the unchanged weight.</summary>
/// <remarks>
/// With A₀, B₀ at the start the network is W − s·B₀A₀ + s·BA, which is an adapter of twice the rank on W itself; so it is saved, and any
/// reader can use it on the published model. PEFT does the same with <c>path_initial_model_for_weight_conversion</c>.
/// <code>
/// A' = [A; A₀],   B' = [B, −B₀],   r' = 2r,   α' = 2α  (√2·α with rsLoRA: the factor stays)
/// </code>
/// </remarks>
internal static class StartedAdapter
{
    /// <summary>The config as which it is saved.</summary>
    public static AdapterConfig Doubled(AdapterConfig config)
    {
        var factor = config.UseRslora ? Math.Sqrt(2) : 2;
        return config with
        {
            Rank = 2 * config.Rank,
            Alpha = factor * config.Alpha,
            RankPattern = config.RankPattern.ToDictionary(pair => pair.Key, pair => 2 * pair.Value),
            AlphaPattern = config.AlphaPattern.ToDictionary(pair => pair.Key, pair => factor * pair.Value),
        };
    }

    /// <summary>The tensors of a layer as they are saved, in float32.</summary>
    public static IReadOnlyList<TensorToSave> Tensors(AdapterLayer layer, ModelParameters parameters)
    {
        var start = layer.Start!;
        var saved = new List<TensorToSave>();
        using var scope = TensorScope.Enter();
        for (var i = 0; i < layer.Targets.Count; i++)
        {
            var (target, begun) = (layer.Targets[i], start.Targets[i]);
            Save(layer.Down.Parts[i].Published, Tensor.Cat([Rows(layer.Down, target), Rows(start.Down, begun)], 0));
            Save(target.Up.Parts[0].Published, Published(target.Up, Tensor.Cat([Value(target.Up), Value(begun.Up) * -1], 1)));
        }
        return saved;

        Tensor Value(ParameterSpec spec) => parameters.Whole(spec.Name).Detach();

        Tensor Rows(ParameterSpec spec, AdapterTarget target) => Value(spec).Narrow(0, target.RankStart, target.Rank);

        void Save(string name, Tensor values) => saved.Add(TensorToSave.From(name, values.To(DType.Float32).ToArray<float>(), values.Shape));
    }

    /// <summary>Requires what <see cref="Read"/> reads.</summary>
    public static void Check(AdapterLayer layer, Func<string, ValueList<long>, TensorData> find)
    {
        for (var i = 0; i < layer.Targets.Count; i++)
        {
            var (target, part) = (layer.Targets[i], layer.Targets[i].Up.Parts[0]);
            find(layer.Down.Parts[i].Published, [2 * target.Rank, layer.Down.Shape[1]]);
            find(part.Published, [part.PublishedShape[0], 2 * target.Rank]);
        }
    }

    /// <summary>Reads what <see cref="Tensors"/> wrote.</summary>
    /// <param name="find">The tensor of a name, whose shape is checked.</param>
    public static void Read(AdapterLayer layer, AdapterLayer start, ModelParameters parameters,
        Func<string, ValueList<long>, TensorData> find)
    {
        using var scope = TensorScope.Enter();
        for (var i = 0; i < layer.Targets.Count; i++)
        {
            var (target, begun) = (layer.Targets[i], start.Targets[i]);
            var down = Tensors(find(layer.Down.Parts[i].Published, [2 * target.Rank, layer.Down.Shape[1]]));
            Rows(layer.Down, target).CopyFrom(down.Narrow(0, 0, target.Rank));
            Rows(start.Down, begun).CopyFrom(down.Narrow(0, target.Rank, target.Rank));
            var part = target.Up.Parts[0];
            var up = Ours(target.Up, Tensors(find(part.Published, [part.PublishedShape[0], 2 * target.Rank])));
            parameters[target.Up.Name].Value.Detach().CopyFrom(up.Narrow(1, 0, target.Rank));
            parameters[begun.Up.Name].Value.Detach().CopyFrom(up.Narrow(1, target.Rank, target.Rank) * -1);
        }

        Tensor Rows(ParameterSpec spec, AdapterTarget target) =>
            parameters[spec.Name].Value.Detach().Narrow(0, target.RankStart, target.Rank);

        static Tensor Tensors(TensorData data)
        {
            var values = new float[data.Info.Count];
            ElementConversion.Convert(data.Bytes, data.Info.DType, System.Runtime.InteropServices.MemoryMarshal.AsBytes(values.AsSpan()),
                DType.Float32);
            return Tensor.From(values, [.. data.Info.Shape]);
        }
    }

    /// <summary>Rows in the published order.</summary>
    private static Tensor Published(ParameterSpec spec, Tensor ours) => Moved(spec, ours, toOurs: false);

    /// <summary>Rows in our order.</summary>
    private static Tensor Ours(ParameterSpec spec, Tensor published) => Moved(spec, published, toOurs: true);

    private static Tensor Moved(ParameterSpec spec, Tensor rows, bool toOurs)
    {
        if (spec.Parts.Count == 1)
            return rows;
        var ordered = spec.Parts.OrderBy(part => toOurs ? part.Start : part.PublishedStart);
        return Tensor.Cat([.. ordered.Select(part => rows.Narrow(0, toOurs ? part.PublishedStart : part.Start, part.Rows))], 0);
    }
}
