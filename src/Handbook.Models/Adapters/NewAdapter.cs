using Handbook.Base;
using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Models.Adapters;

/// <summary>An adapter that has not learnt anything: the first values of its parameters.</summary>
/// <remarks>Every parameter has its own stream of numbers, which follows from the seed and the published name, so that ranks and layers
/// that
/// are added elsewhere change nothing here.</remarks>
/// <param name="seed">The run's.</param>
internal sealed class NewAdapter(long seed) : IAdapterSource
{
    /// <summary>Requires that weights which an adapter begins with have as many singular vectors as it asks for.</summary>
    /// <exception cref="InputException">One has fewer.</exception>
    public static void RequireRanks(AdapterLayout layout)
    {
        if (layout.Config.Init is not (AdapterInit.Pissa or AdapterInit.Olora))
            return;
        foreach (var layer in layout.Layers.Where(layer => layer.Place != AdapterPlace.Embedding))
            foreach (var target in layer.Targets)
                if (Math.Min(target.Up.Shape[0], layer.Down.Shape[^1]) is var most && target.Rank > most)
                    throw new InputException($"lora_r is {target.Rank}, but {target.Module} has only {most} rows or columns",
                        why: $"init_lora_weights: {(layout.Config.Init == AdapterInit.Pissa ? "pissa" : "olora")} begins with as many vectors of the weight as the rank says",
                        fix: $"set lora_r: {most} or less, or leave init_lora_weights out");
    }

    public void Fill(AdapterLayout layout, ModelParameters parameters)
    {
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        foreach (var (replaced, own) in layout.Whole.DistinctBy(pair => pair.Own.Name))
            parameters[own.Name].Value.Detach().CopyFrom(layout.Below(parameters, replaced.Name));
        if (layout.Tokens is { } tokens)
        {
            var (table, rows) = (layout.Below(parameters, ParameterSpec.Embedding), parameters[tokens.Own.Name].Value.Detach());
            for (var i = 0; i < tokens.Ids.Count; i++)
                rows.Narrow(0, i, 1).CopyFrom(table.Narrow(0, tokens.Ids[i], 1));
        }
        foreach (var layer in layout.Layers)
        {
            if (layer.Start is { } start)
            {
                Decompose(layout, layer, start, parameters);
                continue;
            }
            Draw(layout.Config.Init, layer, parameters);
            foreach (var target in layer.Targets)
                if (target.Magnitude is { } magnitude)
                    parameters[magnitude.Name].Value.Detach().CopyFrom(layer.Place switch
                    {
                        AdapterPlace.Embedding => AdaptedTable.InverseNorms(parameters[layer.Base.Name],
                            parameters.Plan.Residual)[^1]!.Pow(-1),
                        _ => AdaptedLinear.RowNorms(parameters[layer.Base.Name]).Narrow(0, target.RowStart, target.Up.Shape[0]),
                    });
        }
    }

    private void Draw(AdapterInit init, AdapterLayer layer, ModelParameters parameters)
    {
        for (var i = 0; i < layer.Targets.Count; i++)
        {
            var target = layer.Targets[i];
            var (down, up) = (parameters[layer.Down.Name].Value.Detach(), parameters[target.Up.Name].Value.Detach());
            if (layer.Place == AdapterPlace.Embedding)
            {
                // The reference draws B of an embedding, and leaves A zero.
                up.CopyFrom(Normal(target.Up.Parts[0].Published, up, 1));
                continue;
            }
            var own = down.Narrow(0, target.RankStart, target.Rank);
            var name = Own(layer.Down.Parts[i].Published, layer.Down.Parts[i].PublishedStart);
            own.CopyFrom(init == AdapterInit.Gaussian ? Normal(name, own, 1.0 / target.Rank) : Uniform(name, own,
                1 / Math.Sqrt(own.Size(1))));
            if (init == AdapterInit.Random)
                up.CopyFrom(Uniform(Own(target.Up.Parts[0].Published, target.Up.Parts[0].ColumnStart), up, 1 / Math.Sqrt(target.Rank)));
        }
    }

    /// <summary>A name of its own for each expert whose matrices lie in one tensor.</summary>
    private static string Own(string published, long place) => place == 0 ? published : $"{published}:{place}";

    /// <summary>What the weight begins with goes into the adapter, and out of the weight.</summary>
    private static void Decompose(AdapterLayout layout, AdapterLayer layer, AdapterLayer start, ModelParameters parameters)
    {
        var weight = parameters[layer.Base.Name];
        for (var i = 0; i < layer.Targets.Count; i++)
        {
            using var scope = TensorScope.Enter();
            var (target, begun) = (layer.Targets[i], start.Targets[i]);
            var rank = (int)target.Rank;
            var matrix = Linear.Whole(weight, target.RowStart, target.Up.Shape[0]);
            Tensor down, up;
            if (layout.Config.Init == AdapterInit.Pissa)
            {
                var (left, values, right) = matrix.Svd();
                var root = (values.Narrow(0, 0, rank) * (1 / target.Scale)).Sqrt();
                (up, down) = (left.Narrow(1, 0, rank) * root, right.Narrow(0, 0, rank) * root.Reshape(rank, 1));
            }
            else
            {
                var (q, r) = matrix.Qr();
                (up, down) = (q.Narrow(1, 0, rank), r.Narrow(0, 0, rank));
            }
            foreach (var (spec, place) in (ReadOnlySpan<(AdapterLayer, AdapterTarget)>)[(layer, target), (start, begun)])
            {
                parameters[spec.Down.Name].Value.Detach().Narrow(0, place.RankStart, rank).CopyFrom(down);
                parameters[place.Up.Name].Value.Detach().CopyFrom(up);
            }
        }
    }

    private Tensor Normal(string name, Tensor like, double deviation)
    {
        var values = new float[like.Count];
        new NormalNumbers(seed, name).Fill(0, values, deviation);
        return Tensor.From(values, like.Shape).To(like.DType);
    }

    private Tensor Uniform(string name, Tensor like, double bound)
    {
        var values = new float[like.Count];
        var random = new SplitMix(SplitMix.Mix((ulong)seed) ^ NameNumber.Of(name));
        foreach (ref var value in values.AsSpan())
            value = (float)(((random.Next() >> 11) * (1.0 / (1L << 52)) - 1) * bound);
        return Tensor.From(values, like.Shape).To(like.DType);
    }
}
