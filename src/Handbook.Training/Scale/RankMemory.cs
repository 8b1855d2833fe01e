using Handbook.Models;
using Handbook.Models.Sharding;
using Handbook.Torch;
using Handbook.Training.Optimizers;

namespace Handbook.Training.Scale;

/// <summary>Bytes that one process of many needs.</summary>
/// <param name="Frozen">Weights that are not trained, those that are mapped from their file included.</param>
/// <param name="Weights">Trained weights between steps: masters, and copies that products read.</param>
/// <param name="Gradients">Sums of gradients.</param>
/// <param name="States">The optimiser's states in memory; null where they depend on the shapes of matrices, and are not counted.</param>
/// <param name="Passing">What is here for a moment: weights that were gathered, gradients on their way, the buffer of a sum.</param>
internal readonly record struct RankMemory(long Frozen, long Weights, long Gradients, long? States, long Passing)
{
    /// <summary>What a process of the CPU needs apart from tensors: the program, libtorch, and what is read.</summary>
    public const long ProgramBytes = 300L << 20;

    private const double GapShare = 0.03;       // measured on the CPU, over methods and precisions: 0.02 to 0.07 for most, once 0.2

    private const double GapShareBehindAnswers = 0.18;      // the same where answers are written first, whose pieces are of other sizes: 0.18, 0.19

    private const long Piece = 8 << 20;         // bytes that a sum over whole buckets takes at once

    /// <summary>What lives while a pass goes through the network and back.</summary>
    public long Activations { get; init; }

    /// <summary>Room between activations that nothing fits into: batches of unlike lengths leave it behind.</summary>
    public long Gaps => (long)((Sampling > 0 ? GapShareBehindAnswers : GapShare) * Activations);

    /// <summary>Another model that the method asks, with what its passes need; 0 for none.</summary>
    public long Reference { get; init; }

    /// <summary>What writing answers needs before they are learnt from: keys and values, and the logits of a token each; 0 for none.</summary>
    public long Sampling { get; init; }

    /// <summary>The program itself, without tensors.</summary>
    public long Program { get; init; }

    /// <summary>Whether that model stays while the first one is trained; otherwise it is asked before, and leaves.</summary>
    public bool KeepsReference { get; init; }

    /// <summary>The most at once.</summary>
    public long Total
    {
        get
        {
            var kept = Program + Frozen + Weights + Gradients;
            var training = kept + (States ?? 0) + Passing + Math.Max(Activations + Gaps, Sampling);
            return KeepsReference ? training + Reference : Math.Max(training, kept + Reference);
        }
    }

    /// <param name="plan">Shared out among the processes.</param>
    /// <param name="buckets">Its buckets.</param>
    /// <param name="head">The unit that ends the network.</param>
    public static RankMemory Of(ParameterPlan plan, IReadOnlyList<BucketLayout> buckets, int head, TrainingOptions options)
    {
        var trained = buckets.Where(bucket => bucket.Rule.IsTrained).ToArray();
        var frozen = plan.Rules.Where(rule => rule.Storage != ParameterStorage.Bucket).Sum(rule =>
            rule.ResidentBytes + (rule.Storage == ParameterStorage.Mapped ? rule.Spec.Count * rule.Type.Size : 0))
            + buckets.Where(bucket => !bucket.Rule.IsTrained).Sum(bucket => bucket.WeightBytes(plan.Spills));
        int[] order = [.. Enumerable.Range(0, UnitNumbers.For(plan.Rules.Select(rule => rule.Spec)).Head), head];
        var gathered = order.Zip(order.Skip(1)).Max(pair => Of(pair.First, its => its.ComingBytes)
            + (pair.First == pair.Second ? 0 : Of(pair.Second, its => its.ComingBytes)));
        var leaving = 2 * order.Max(unit => Of(unit, its => its.LeavingBytes));         // one on its way while the next is made
        var buffer = trained.Select(its => its.Total * its.Rule.Type.Size).Select((bytes, at) => trained[at].IsCut ? bytes
            : plan.Shard.Count == 1 ? 0 : Math.Min(bytes, Piece)).DefaultIfEmpty().Max();
        return new(frozen, trained.Sum(bucket => bucket.WeightBytes(plan.Spills)), trained.Sum(bucket => bucket.GradientBytes),
            StatesOf(trained, options), gathered + leaving + buffer);

        long Of(int unit, Func<BucketLayout, long> bytes) => trained.Where(bucket => bucket.Unit == unit).Sum(bytes);
    }

    private static long? StatesOf(IEnumerable<BucketLayout> trained, TrainingOptions options)
    {
        var traits = OptimizerTraits.Of(options.Optimizer());
        if (options.IsPaged())
            return 0;
        var layout = StateLayout.Of(options);
        var kept = options.Optimizer() == OptimizerKind.Sgd && options.OptimizerArguments().Number("momentum") == 0 ? 0 : traits.States;
        return kept is not { } states ? null : (long)(states * trained.Sum(bucket =>
            bucket.Rules.Sum(rule => layout.Bytes(rule.Spec, rule.Type)) * bucket.Count / bucket.Total));
    }
}
