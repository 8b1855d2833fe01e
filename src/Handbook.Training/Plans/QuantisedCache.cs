using Handbook.Base.Progress;
using Handbook.Data.Cache;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Models.Quantised;
using Handbook.Torch.Quantised;
using Decoder = Handbook.Models.Decoder;

namespace Handbook.Training.Plans;

/// <summary>Keeps the codes of quantised weights on disk, so that a second start maps them instead of making them.</summary>
/// <remarks>The file has bitsandbytes' layout, and holds the codes alone.</remarks>
internal static class QuantisedCache
{
    /// <summary>Loads a model of a name with its codes from the cache.</summary>
    public static Func<ModelWeights, ParameterPlan, Decoder> Loader(ModelSource source, IWorkObserver observer) =>
        (weights, plan) => Load(source.Folder, weights, plan, CacheFolder.Default, observer);

    /// <summary>A model with its weights kept as planned; what the plan quantises comes from the cache, and goes there first where it is
    /// missing.</summary>
    /// <param name="folder">The model's folder.</param>
    /// <param name="weights">The checkpoint in it.</param>
    /// <param name="observer">Hears how far the work is, and that the cache cannot be written: then the codes stay in memory.</param>
    public static Decoder Load(string folder, ModelWeights weights, ParameterPlan plan, CacheFolder cache, IWorkObserver observer)
    {
        foreach (var format in plan.Rules.Where(rule => rule.Quantisation is not null && weights.FormatOf(rule.Spec.Name) is null)
            .Select(rule => rule.Quantisation!.Format).Distinct())
            Use(folder, weights, format, cache, observer);
        return Decoder.Load(weights, AssembledCache.Use(folder, weights, plan, cache, observer));
    }

    private static void Use(string folder, ModelWeights weights, QuantisedFormat format, CacheFolder cache, IWorkObserver observer)
    {
        var kept = new ModelCacheFile
        {
            Name = "quantised weights",
            Otherwise = "they are made at every start",
            Content = $"quantised 1 {format}",
            Place = cache.QuantisedOf,
            Write = write => Write(write, weights, format, observer),
            Map = weights.UseCodes,
        };
        if (kept.Use(folder, cache, observer, out var file) == CacheUse.Found)
            observer.Noted($"quantised weights ({format}): {file}");
    }

    private static void Write(Action<IEnumerable<TensorToSave>> write, ModelWeights weights, QuantisedFormat format, IWorkObserver observer)
    {
        using var count = observer.Began($"quantising ({format})",
            weights.Parameters.Where(WeightQuantisation.Applies).Sum(spec => spec.Count), "weights");
        using var codes = QuantisedTensors.Of(weights, format, codesOnly: true, done => count.Advance(done));
        weights.ForgetPages();
        write(codes.Tensors);
    }
}
