using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Data.Formats;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Models.Sharding;
using Handbook.Torch;
using Handbook.Training.Methods;
using Handbook.Training.Optimizers;
using Handbook.Training.Plans;

namespace Handbook.Training.Scale;

/// <summary>What a run would come to on many processes, in each way to share it out: memory, traffic and time. It reads no weights, only what
/// describes them.</summary>
internal sealed class ScalePlan
{
    private ScalePlan(ParameterPlan parameters, DecoderConfig config, StepLoad load, IReadOnlyList<ScaleRow> rows,
        IReadOnlyList<string> notes) =>
        (Parameters, Config, Load, Rows, Notes) = (parameters, config, load, rows, notes);

    /// <summary>How every parameter is kept, where nothing is shared out.</summary>
    public ParameterPlan Parameters { get; }

    /// <summary>The network.</summary>
    public DecoderConfig Config { get; }

    /// <summary>What a process computes in a step.</summary>
    public StepLoad Load { get; }

    /// <summary>A row for each number of processes and each way, in this order.</summary>
    public IReadOnlyList<ScaleRow> Rows { get; }

    /// <summary>What is not counted, in sentences.</summary>
    public IReadOnlyList<string> Notes { get; }

    /// <summary>Operations of all products for a token, forward and back; those of attention for rows of the mean length.</summary>
    public double FlopsPerToken { get; private init; }

    /// <summary>Tokens that one process computes in a second while it waits for nothing; null where it is not known.</summary>
    public double? Rate { get; private init; }

    /// <param name="run">Checked options.</param>
    /// <param name="described">A shape in the place of the model; null finds the model that the options name.</param>
    /// <param name="asked">What is asked.</param>
    /// <exception cref="InputException">There is no such model, or it cannot be planned.</exception>
    public static ScalePlan Of(MethodOptions run, ModelSource? described, ScaleOptions asked)
    {
        if (asked.Worlds.FirstOrDefault(world => world % run.Training.ContextParallelSize != 0) is var odd and not 0)
            throw new InputException($"context_parallel_size is {run.Training.ContextParallelSize}, but {(odd == 1 ? "1 process is" : $"{odd} processes are")} "
                + "asked about", why: "so many processes share the tokens of a row, and all groups of them are of one size",
                fix: "give --world multiples of it, or add --context_parallel_size=1");
        var source = described ?? AdapterPlan.Source(run);
        var published = TrainingPlan.WithHead(source.Config(), run.Definition, source.Name);
        if (published.Json["quantization_config"] is not null || published.Json["compression_config"] is not null)
            throw new InputException($"{source.Name}: the model is quantised, and only its files say how large its codes are",
                fix: "name the config.json of the model that it was made from, and set load_in_4bit or load_in_8bit");
        var weights = new DescribedWeights(published);
        var parameters = TrainingPlan.Kept(run, weights, AdapterPlan.Of(run, source, weights, checkpoint: null));
        var load = Loaded(run, asked);
        var work = Work(parameters, published.Decoder);
        var flops = Flops(published.Decoder, work.Sum(), load, run.Training.PerDeviceTrainBatchSize * run.Training.GradientAccumulationSteps);
        var rate = asked.Rate ?? asked.Operations / flops;
        load = load with { Seconds = load.Tokens / rate ?? 0 };
        var ring = RingTraffic.Of(published.Decoder, parameters.Compute, load.Tokens * run.Training.ContextParallelSize / load.Passes,
            run.Training.ContextParallelSize, run.Training.GradientCheckpointing);
        var isWhole = OptimizerTraits.Of(run.Training.Optimizer()).NeedsMatrices;
        var reference = Reference(run, weights, parameters, load.Largest);
        var activations = Activations(run, published.Decoder, parameters, load.Largest).Total;
        var sampling = Sampling(run, published.Decoder, parameters, LongestPrompt(run, asked));
        var rows = new List<ScaleRow>();
        foreach (var world in asked.Worlds)
        {
            ScaleRow[] modes = [.. Enum.GetValues<ShardingStage>().Where(stage => world == 1 ? stage == ShardingStage.None
                : run.Training.Deterministic ? stage >= ShardingStage.Gradients : stage == ShardingStage.None || !isWhole)
                .Select(stage => Row(parameters, stage, world, work, load, ring, run.Training, asked, memory => memory with
                {
                    Activations = activations,
                    Sampling = sampling,
                    Reference = reference,
                    KeepsReference = run.Preference.SyncRefModel,
                    Program = asked.Program,
                }))];
            var best = modes.Where(row => row.Fits).OrderBy(row => row.Step.Seconds).ThenBy(row => row.Memory.Total).FirstOrDefault();
            rows.AddRange(modes.Select(row => row with { IsBest = row == best }));
        }
        return new(parameters, published.Decoder, load, rows, [.. Uncounted(run, rate, rows)])
        {
            FlopsPerToken = flops,
            Rate = rate,
        };
    }

    private static ScaleRow Row(ParameterPlan parameters, ShardingStage stage, int world, double[] work, StepLoad load, RingTraffic ring,
        TrainingOptions training, ScaleOptions asked, Func<RankMemory, RankMemory> complete)
    {
        var plan = parameters.SharedOut(Shard.Of(stage, 0, world, training.Deterministic));
        var buckets = BucketLayout.Of(plan);
        var replay = new StepReplay(UnitNumbers.For(plan.Rules.Select(rule => rule.Spec)), [.. buckets.Where(bucket => bucket.Rule.IsTrained)],
            work, world, training.Deterministic, ring);
        var memory = complete(RankMemory.Of(plan, buckets, replay.HeadUnit, training));
        var step = world > 1 ? replay.Step(load, asked.Network) : new(default, 0, 0, 0, 0, load.Seconds);
        return new(world, stage, memory, step, asked.Memory is not { } limit || memory.Total <= limit) { Replay = replay };
    }

    private static StepLoad Loaded(MethodOptions run, ScaleOptions asked)
    {
        var training = run.Training;
        var shared = training.ContextParallelSize;
        var load = new StepLoad { Recomputes = training.GradientCheckpointing, TrainsMatrices = !run.Adapter.UsePeft };
        if (asked is { Rows: { } known, Passes: null, RowTokens: null })
            return load with
            {
                Passes = Math.Max(1, (int)Math.Round(known.Passes)),
                Tokens = (long)known.StepTokens / shared,
                Largest = new(known.Largest.Tokens / shared, known.Largest.Predicted / shared),
            };
        var rows = training.PerDeviceTrainBatchSize * training.GradientAccumulationSteps;
        var length = asked.RowTokens ?? LongestRow(run)
            ?? throw new InputException("the recipe sets no limit to the length of a row", fix: "say how long rows are with --row-tokens N");
        var together = Math.Max(1, run.Data.TokensAtOnce() / length);
        var tokens = (long)rows * length / shared;
        var largest = Math.Min(rows, together) * (long)length / shared;
        return load with
        {
            Passes = asked.Passes ?? (rows + together - 1) / together,
            Tokens = tokens,
            Largest = new(largest, largest),
        };
    }

    /// <summary>The most tokens of a row: a pair has both answers behind one prompt.</summary>
    public static int? LongestRow(MethodOptions run) => run.Definition.LongestRow(run)?.Length is not { } text ? null
        : run.Definition.Use == RowUse.Preferences ? 2 * text - Math.Min(text, run.Preference.MaxPromptLength ?? 0) : text;

    private static int LongestPrompt(MethodOptions run, ScaleOptions asked) => run.Definition.Writes(run) is not { } written ? 0
        : asked.Rows?.LongestPrompt ?? written.PromptLength ?? Math.Max(1, (asked.RowTokens ?? 0) - written.Length);

    /// <summary>Bytes of keys and values of answers while they are written, with those of their prompts, and of the logits of a token each; 0
    /// where none are.</summary>
    private static long Sampling(MethodOptions run, DecoderConfig config, ParameterPlan plan, int prompt)
    {
        if (run.Definition.Writes(run) is not { } written)
            return 0;
        var tokens = written.AtOnce * KeyValueCache.Capacity(Math.Min(written.Length, SampleRow.FirstRoom), written.Length)
            + (long)((written.AtOnce + written.PerPrompt - 1) / written.PerPrompt) * prompt;
        return tokens * KeyValueCache.BytesPerToken(config, plan.Compute)
            + written.AtOnce * (long)config.VocabularySize * (sizeof(float) + (plan.Compute == DType.Float32 ? 0 : plan.Compute.Size));
    }

    private static ActivationMemory Activations(MethodOptions run, DecoderConfig config, ParameterPlan plan, PassSize pass) =>
        ActivationMemory.Of(config, plan, pass, run.Training.GradientCheckpointing, keepsLogits: !run.Definition.ReadsTexts);

    /// <summary>Bytes of a whole model that is asked beside the trained one, and of its passes; 0 where the trained one answers itself.</summary>
    private static long Reference(MethodOptions run, DescribedWeights weights, ParameterPlan parameters, PassSize pass)
    {
        if (!run.Definition.AsksReference(run) || run.Adapter.UsePeft)
            return 0;
        var plan = ParameterPlan.Frozen(weights, parameters.Compute);
        return plan.ResidentBytes + plan.Rules.Sum(rule => rule.Storage == ParameterStorage.Mapped ? rule.Spec.Count * rule.Type.Size : 0)
            + Activations(run, weights.Config, plan, pass).ForwardAlone;
    }

    private static double Flops(DecoderConfig config, double weights, StepLoad load, int rows)
    {
        var seen = load.Tokens / (double)rows / 2;                  // a token sees half of its row on average
        var attention = 2 * seen * config.Layers * (config.QuerySize + config.MixedSize);
        return (2 * weights + attention) * (load.TrainsMatrices ? 3 : 2) + (load.Recomputes ? 2 * weights + attention : 0);
    }

    /// <summary>Products with the matrices of each unit for a token.</summary>
    private static double[] Work(ParameterPlan plan, DecoderConfig config)
    {
        var units = UnitNumbers.For(plan.Rules.Select(rule => rule.Spec));
        var work = new double[units.Count];
        foreach (var spec in plan.Rules.Where(rule => rule.Adapter is null).Select(rule => rule.Spec))
            if (spec.Name == ParameterSpec.Embedding)
                work[units.Head] += config.TiedHead ? spec.Count : 0;       // a look-up costs nothing
            else if (spec.Kind == ParameterKind.Weight && !spec.IsTable)
                work[units.Of(spec)] += spec.Name.Contains(".experts.", StringComparison.Ordinal) && config.Experts is { } experts
                    ? (double)spec.Count * experts.PerToken / experts.Count : spec.Count;
        return work;
    }

    private static IEnumerable<string> Uncounted(MethodOptions run, double? rate, IReadOnlyList<ScaleRow> rows)
    {
        if (run.Training.ContextParallelSize > 1)
            yield return "each process waits for keys and values as if nothing were computed meanwhile; a few numbers for each predicted token that "
                + "the processes of a row exchange are not counted";
        if (run.Definition.ScoresAnswers)
            yield return "the time of writing answers is not counted, only that of learning from them";
        if (rows.Any(row => row.Memory.States is null))
            yield return $"states of optim {RecipeNames.Of(run.Training.Optimizer())} depend on the shapes of matrices, and are not counted; they "
                + "cannot be shared out";
        if (rate is null && rows.Any(row => row.World > 1))
            yield return "without --rate, the tokens a second that a process computes, a step's time is that of its traffic alone";
    }
}

/// <summary>What some processes come to in one way to share a run out.</summary>
/// <param name="World">How many processes.</param>
/// <param name="Stage">What is shared out.</param>
/// <param name="Memory">Of each.</param>
/// <param name="Step">What a step comes to.</param>
/// <param name="Fits">Whether the memory is enough.</param>
internal sealed record ScaleRow(int World, ShardingStage Stage, RankMemory Memory, StepForecast Step, bool Fits)
{
    /// <summary>Whether it is the fastest that fits.</summary>
    public bool IsBest { get; init; }

    /// <summary>Walks through more of its steps.</summary>
    public required StepReplay Replay { get; init; }

    /// <summary>How the way is called.</summary>
    public string Mode => Stage == ShardingStage.None ? World > 1 ? "replicated" : "one process" : $"ZeRO-{(int)Stage}";
}
