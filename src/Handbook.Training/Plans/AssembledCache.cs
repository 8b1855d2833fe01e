using System.Text;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Base.Progress;
using Handbook.Data.Cache;
using Handbook.Models;
using Handbook.Models.Files;

namespace Handbook.Training.Plans;

/// <summary>Keeps frozen weights on disk as products read them, where the model's own files have them otherwise (query, key and value apart,
/// transposed, of another type), so that all processes of a host map one copy.</summary>
/// <remarks>A file of the cache holds matrices by our names, and is named by the hashes of the model's files and by what it holds. It is
/// there whole or not at all.</remarks>
internal static class AssembledCache
{
    /// <summary>Makes what the plan maps and the files do not have; one process of a host at a time.</summary>
    /// <param name="folder">The model's folder.</param>
    /// <param name="weights">The checkpoint in it.</param>
    /// <param name="observer">Hears how far the work is, and that the cache cannot be written: then each process has its own copy.</param>
    /// <returns>The plan, where that is so with what stays in memory.</returns>
    public static ParameterPlan Use(string folder, ModelWeights weights, ParameterPlan plan, CacheFolder cache, IWorkObserver observer)
    {
        var rules = plan.Rules.Where(rule => rule is { Storage: ParameterStorage.Mapped, Adapter: null }
            && !(weights.CanMap(rule.Spec.Name) && weights.DTypeOf(rule.Spec.Name) == rule.Type)).ToArray();
        if (rules.Length == 0)
            return plan;
        var file = cache.AssembledOf(Key(folder, rules, cache));
        try
        {
            if (File.Exists(file))
            {
                weights.UseAssembled(file);
                return plan;
            }
        }
        catch (InputException)
        {
            // A damaged file is only a lost saving: it is made again.
        }
        try
        {
            Write(file, weights, rules, observer);
            weights.UseAssembled(file);
            observer.Noted($"weights that processes of this host share: {file}");
            return plan;
        }
        catch (Exception failure) when (failure is InputException || failure is IOException or UnauthorizedAccessException)
        {
            observer.Warned($"weights that processes of a host would share cannot be kept ({failure.Message}); each process has its own "
                + "copy");
            return plan.Stored(rule => rules.Contains(rule) ? ParameterStorage.Resident : rule.Storage);
        }
    }

    private static string Key(string folder, IEnumerable<ParameterRule> rules, CacheFolder cache) => CacheFolder.Hash(
        Encoding.UTF8.GetBytes("assembled 1" + string.Concat(rules.Select(rule => $"\n{rule.Spec.Name} {rule.Type} {string.Join('x', rule.Spec.Shape)}"))
        + string.Concat(ModelFolder.Files(folder).Select(file => $"\n{Path.GetFileName(file)} {cache.HashOf(file)}"))));

    private static void Write(string file, ModelWeights weights, IReadOnlyList<ParameterRule> rules, IWorkObserver observer)
    {
        using var count = observer.Began("writing weights that processes share", rules.Sum(rule => rule.Spec.Count), "weights");
        var unfinished = WholeFile.Unfinished(file);
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        try
        {
            using (var stream = Disk.Real.Create(unfinished))
                SafetensorsWriter.Write(stream, rules.Select(Counted), new Dictionary<string, string> { ["format"] = "pt" });
            weights.ForgetPages();
            WholeFile.Publish(unfinished, file);
        }
        catch
        {
            WholeFile.Forget(unfinished);
            throw;
        }

        TensorToSave Counted(ParameterRule rule)
        {
            var tensor = weights.Assemble(rule.Spec.Name, rule.Type);
            return tensor with
            {
                Write = to =>
                {
                    tensor.Write(to);
                    count.Advance(rule.Spec.Count);
                }
            };
        }
    }
}
