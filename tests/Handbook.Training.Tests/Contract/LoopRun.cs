using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Models.Sharding;
using Handbook.Torch;
using Handbook.Training.Checkpoints;
using Handbook.Training.Distributed;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Sft;

namespace Handbook.Training.Tests.Contract;

/// <summary>A run of the training loop on a tiny model and rows in memory.</summary>
internal static class LoopRun
{
    /// <summary>Runs to the end, or until <paramref name="cancel"/>; returns the masters' elements.</summary>
    /// <param name="saved">Hears the weights that each checkpoint's model gets.</param>
    /// <param name="own">An adapter of no kind; null for that of <paramref name="adapter"/>.</param>
    /// <param name="seed">Of the model's first weights, which a resumed run must not depend on.</param>
    public static double[] Run(string folder, TrainingOptions options, Checkpoint? resume = null,
        Func<ITrainingMethod, ITrainingMethod>? wrap = null,
        int seed = 1, Action<double[]>? saved = null, AdapterKind? adapter = null, AdapterConfig? own = null, Workers? workers = null,
            DType? dtype = null,
        string network = "llama", CancellationToken cancel = default)
    {
        var (all, type) = ((workers ?? Workers.Alone).Ordered(options.Deterministic), dtype ?? DType.Float32);
        using var scope = TensorScope.Enter();
        var shard = Shard.Of((ShardingStage)options.ZeroStage, all.Rank, all.Count, options.Deterministic);
        using var model = own is not null ? Tiny.Adapted(network, own, seed: seed, dtype: type, shard: shard) : adapter is not { } kind
            ? Tiny.Model(network, seed, type, options.Bf16 ? DType.BFloat16 : type, shard: shard)
            : Tiny.Adapted(network, kind, dtype: type, upRate: 4, adapterSeed: seed, shard: shard);
        all.Join(model.Parameters);
        ITrainingMethod method = new SupervisedMethod("sft", labelSmoothing: options.LabelSmoothingFactor);
        var train = Tiny.Rows(21, 24);
        var job = new TrainingJob
        {
            Options = options with { OutputDir = folder },
            Plan = new StepPlan(train, options.StepPlan()),
            Method = wrap?.Invoke(method) ?? method,
            Model = model,
            Train = train,
            Evaluation = options.Evaluates() ? Tiny.Rows(22, 6) : null,
            TrainSamples = train.Count,
            DataKey = "rows 21",
            SaveModel = where =>
            {
                File.WriteAllText(Path.Combine(where, "note.txt"), "the weights are in the optimiser's file");
                saved?.Invoke(Weights(model));
            },
            ModelBytes = 1000,
            MaxTokens = 40,
            Workers = all,
            Dropout = adapter is { } its ? AdapterKinds.Config(its).Dropout : 0,
        };
        using var run = all.IsFirst ? RunFolder.Open(folder, resume, tensorBoard: false) : RunFolder.Watch(folder, resume);
        using var loop = new TrainingLoop(job, run, resume);
        loop.Run(cancel);
        var weights = Weights(model);
        all.Meet();
        return weights;
    }

    private static double[] Weights(Decoder model) =>
        [.. model.Parameters.Plan.Rules.Where(rule => rule.IsTrained).SelectMany(rule =>
            model.Parameters.Whole(rule.Spec.Name).ToArray<double>())];
}
