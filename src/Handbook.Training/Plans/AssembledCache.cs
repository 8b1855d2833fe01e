using Handbook.Base.Progress;
using Handbook.Data.Cache;
using Handbook.Models;
using Handbook.Models.Files;

namespace Handbook.Training.Plans;

/// <summary>Keeps frozen weights on disk as products read them, where the model's own files have them otherwise (query, key and value apart,
/// transposed, of another type), so that all processes of a host map one copy.</summary>
/// <remarks>The file holds matrices by our names.</remarks>
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
        var kept = new ModelCacheFile
        {
            Name = "weights that processes of a host would share",
            Otherwise = "each process has its own copy",
            Content = "assembled 1"
                + string.Concat(rules.Select(rule => $"\n{rule.Spec.Name} {rule.Type} {string.Join('x', rule.Spec.Shape)}")),
            Place = cache.AssembledOf,
            Write = write => Write(write, weights, rules, observer),
            Map = weights.UseAssembled,
        };
        switch (kept.Use(folder, cache, observer, out var file))
        {
            case CacheUse.Made:
                observer.Noted($"weights that processes of this host share: {file}");
                return plan;
            case CacheUse.None:
                return plan.Stored(rule => rules.Contains(rule) ? ParameterStorage.Resident : rule.Storage);
            default:
                return plan;
        }
    }

    private static void Write(Action<IEnumerable<TensorToSave>> write, ModelWeights weights, ParameterRule[] rules, IWorkObserver observer)
    {
        using var count = observer.Began("writing weights that processes share", rules.Sum(rule => rule.Spec.Count), "weights");
        write(rules.Select(Counted));
        weights.ForgetPages();

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
