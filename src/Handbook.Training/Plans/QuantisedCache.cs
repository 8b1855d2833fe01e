using System.Text;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Base.Progress;
using Handbook.Data.Cache;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Models.Quantised;
using Handbook.Torch.Quantised;
using Decoder = Handbook.Models.Decoder;

namespace Handbook.Training.Plans;

/// <summary>Keeps the codes of quantised weights on disk, so that a second start maps them instead of making them.</summary>
/// <remarks>
/// A file of the cache has bitsandbytes' layout, holds the codes alone, and is named by the hashes of the model's files and the format. It
/// is there whole or not at all.
/// </remarks>
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
        var file = cache.QuantisedOf(Key(folder, format, cache));
        try
        {
            if (File.Exists(file))
            {
                weights.UseCodes(file);
                observer.Noted($"quantised weights ({format}): {file}");
                return;
            }
        }
        catch (InputException)
        {
            // A damaged file is only a lost saving: it is made again.
        }
        try
        {
            Write(file, weights, format, observer);
            weights.UseCodes(file);
        }
        catch (Exception failure) when (failure is InputException || failure is IOException or UnauthorizedAccessException)
        {
            observer.Warned($"quantised weights cannot be kept ({failure.Message}); they are made at every start");
        }
    }

    private static string Key(string folder, QuantisedFormat format, CacheFolder cache) =>
        CacheFolder.Hash(Encoding.UTF8.GetBytes($"quantised 1 {format}"
            + string.Concat(ModelFolder.Files(folder).Select(file => $"\n{Path.GetFileName(file)} {cache.HashOf(file)}"))));

    private static void Write(string file, ModelWeights weights, QuantisedFormat format, IWorkObserver observer)
    {
        using var count = observer.Began($"quantising ({format})",
            weights.Parameters.Where(WeightQuantisation.Applies).Sum(spec => spec.Count), "weights");
        using var codes = QuantisedTensors.Of(weights, format, codesOnly: true, done => count.Advance(done));
        weights.ForgetPages();
        var unfinished = WholeFile.Unfinished(file);
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        try
        {
            using (var stream = Disk.Real.Create(unfinished))
                SafetensorsWriter.Write(stream, codes.Tensors, new Dictionary<string, string> { ["format"] = "pt" });
            WholeFile.Publish(unfinished, file);
        }
        catch
        {
            WholeFile.Forget(unfinished);
            throw;
        }
    }
}
