using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Data;
using Handbook.Models;
using Handbook.Training.Methods;
using Handbook.Training.Optimizers;
using Handbook.Training.Reports;

namespace Handbook.Training;

/// <summary>The keys of the training loop; each property is one key, in snake_case.</summary>
public sealed record TrainingOptions
{
    private const string FloatSixteen = "float16 needs losses to be scaled, or small gradients are lost; bfloat16 needs nothing of the kind, on "
        + "CPUs and on every GPU since 2020: set bf16: true, or leave both out for float32";

    /// <summary>The run folder: checkpoints, metrics and the final model. A run starts again from its last checkpoint.</summary>
    [Key(IsUsual = true)]
    public string OutputDir { get; init; } = "trainer_output";

    /// <summary>Environment variables to set before anything starts.</summary>
    public IReadOnlyDictionary<string, string>? Env { get; init; }

    /// <summary>Start from step 0 although the run folder has checkpoints; they are removed when the new run begins.</summary>
    public bool Fresh { get; init; }

    /// <summary>A checkpoint folder to go on from, by its path or by its name in <c>output_dir</c>, or <c>true</c> for the last one there
    /// (which is also the default where there is one).</summary>
    public string? ResumeFromCheckpoint { get; init; }

    /// <summary>On resume, begin the data anew instead of where the checkpoint stood.</summary>
    public bool IgnoreDataSkip { get; init; }

    /// <summary>On resume, go on although keys that decide the result have changed; <c>run.json</c> records old and new values.</summary>
    public bool IgnoreRecipeChanges { get; init; }

    /// <summary>Rows per micro-batch in training; the global batch is this times <c>gradient_accumulation_steps</c>.</summary>
    [Key(IsUsual = true)]
    public int PerDeviceTrainBatchSize { get; init; } = 8;

    /// <summary>Rows per batch in evaluation.</summary>
    public int PerDeviceEvalBatchSize { get; init; } = 8;

    /// <summary>Micro-batches per optimiser step.</summary>
    [Key(IsUsual = true)]
    public int GradientAccumulationSteps { get; init; } = 1;

    /// <summary>Processes that share the tokens of each row, for rows that are too long for one: each computes its part of them, and keys
    /// and values go round. A divisor of the number of processes; the rows of a step are shared out among groups of so many.</summary>
    public int ContextParallelSize { get; init; } = 1;

    /// <summary>Seconds after which a process counts as hung that others wait for and that does nothing: no operator ends, no row is read,
    /// nothing is written. Where it has nothing to do but compute, in the midst of a step, ten seconds are enough, and one that is gone or
    /// stopped is found in eight.</summary>
    public int DdpTimeout { get; init; } = 1800;

    /// <summary>Passes over the training rows; fractions stop within a pass.</summary>
    [Key(IsUsual = true)]
    public double NumTrainEpochs { get; init; } = 3;

    /// <summary>Optimiser steps; -1 lets <c>num_train_epochs</c> decide.</summary>
    [Key(IsUsual = true)]
    public int MaxSteps { get; init; } = -1;

    /// <summary>The optimiser; <c>docs/guide/optimisers.md</c> says which keeps what, and when to take it. All read
    /// <c>weight_decay</c>.</summary>
    public OptimizerKind Optim { get; init; } = OptimizerKind.AdamW;

    /// <summary>What several processes share out among them (ZeRO): <c>1</c> the optimiser's states, <c>2</c> gradients too, <c>3</c> weights
    /// too, each then keeps one part of as many as there are processes and gathers the rest where it is used; <c>0</c> nothing. Without effect
    /// on one process.</summary>
    public int ZeroStage { get; init; }

    /// <summary>Whether any number of processes gives the same bits, as long as the rows of a step are the same: bins are cut without regard
    /// to how many processes there are, at least eight of a step where its rows allow it, and gradients, losses and metrics are added up in
    /// an order of their own. Without it the same number of processes gives the same bits, and another one the same to rounding.</summary>
    public bool Deterministic { get; init; }

    /// <summary>Where the optimiser's states lie: <c>none</c> and <c>cpu</c> keep them in the machine's memory, <c>nvme</c> in a file of
    /// <c>output_dir</c>, as paged optimisers do.</summary>
    public OptimizerOffload OffloadOptimizer { get; init; }

    /// <summary>Numbers of the optimiser without a key of their own, as <c>name=value,…</c>: <c>sgd</c> takes momentum and nesterov;
    /// <c>rmsprop</c> alpha and eps; <c>adagrad</c> eps and lr_decay; <c>adafactor</c> clip_threshold, decay_rate and scale_parameter;
    /// those with 8-bit states min_8bit_size and embedding_bits (32, or 8 for those of the token embedding too); <c>muon</c> momentum,
    /// nesterov, ns_steps and adjust_lr_fn;
    /// <c>schedule_free_adamw</c> r and weight_lr_power; <c>galore_adamw</c> rank, update_proj_gap, scale, proj_type and eps;
    /// <c>apollo_adamw</c> rank, update_proj_gap, scale, proj_type, proj and scale_type.</summary>
    public string? OptimArgs { get; init; }

    /// <summary>The matrices whose gradients are projected: <c>all-linear</c>, or published names of modules, parts of them, or regular
    /// expressions for them.</summary>
    public IReadOnlyList<string>? OptimTargetModules { get; init; }

    /// <summary>The older way of writing <c>optim: adafactor</c>.</summary>
    public bool Adafactor { get; init; }

    /// <summary>The peak learning rate.</summary>
    [Key(IsUsual = true)]
    public double LearningRate { get; init; } = 2e-5;

    /// <summary>The peak learning rate of the token embedding and of a head of its own; null takes <c>learning_rate</c>.</summary>
    public double? EmbeddingLearningRate { get; init; }

    /// <summary>The shape of the learning rate over the run.</summary>
    [Key(IsUsual = true)]
    public SchedulerType LrSchedulerType { get; init; } = SchedulerType.Linear;

    /// <summary>Parameters of the schedule, such as <c>min_lr_rate</c>, <c>num_cycles</c>, <c>power</c> or
    /// <c>num_decay_steps</c>.</summary>
    public IReadOnlyDictionary<string, object?>? LrSchedulerKwargs { get; init; }

    /// <summary>Share of all steps in which the learning rate rises from 0; <c>warmup_steps</c> wins where it is set.</summary>
    [Key(IsUsual = true)]
    public double? WarmupRatio { get; init; } = 0.0;

    /// <summary>Steps in which the learning rate rises from 0, or a share of all steps below 1; 0 lets <c>warmup_ratio</c>
    /// decide.</summary>
    public double WarmupSteps { get; init; }

    /// <summary>Decay of the weights per step, times the learning rate; biases and norms are left alone.</summary>
    public double WeightDecay { get; init; }

    /// <summary>Adam's β₁, the memory of the gradient's mean.</summary>
    public double AdamBeta1 { get; init; } = 0.9;

    /// <summary>Adam's β₂, the memory of the gradient's square.</summary>
    public double AdamBeta2 { get; init; } = 0.999;

    /// <summary>Adam's ε, added to the denominator.</summary>
    public double AdamEpsilon { get; init; } = 1e-8;

    /// <summary>The gradient's norm is cut to this; 0 or null cuts nothing.</summary>
    public double? MaxGradNorm { get; init; } = 1.0;

    /// <summary>Noise on the embeddings in training, NEFTune's α; the paper uses 5. null adds none.</summary>
    public double? NeftuneNoiseAlpha { get; init; }

    /// <summary>Share of the target spread over the whole vocabulary.</summary>
    public double LabelSmoothingFactor { get; init; }

    /// <summary>Weight of the loss that spreads tokens over a model's experts; 0 turns it off. null takes the model's own
    /// (<c>router_aux_loss_coef</c> in its config.json, where <c>output_router_logits</c> is true there). Without experts it has no
    /// effect.</summary>
    public double? RouterAuxLossCoef { get; init; }

    /// <summary>Compute products in bfloat16 with float32 masters. The processor should have bf16 instructions.</summary>
    [Key(IsUsual = true)]
    public bool Bf16 { get; init; }

    /// <summary>Compute on the CPU although there is a GPU. Without it a GPU is used where libtorch was built for one and this version can
    /// run the recipe there; the start of a run says which.</summary>
    [Key(Aliases = ["no_cuda"])]
    public bool UseCpu { get; init; }

    /// <summary>On a GPU, multiply float32 with ten bits of its mantissa, which is several times faster; null and <c>false</c> multiply
    /// whole numbers.</summary>
    public bool? Tf32 { get; init; }

    /// <summary>Compute in float16.</summary>
    [Key(NotBuilt = FloatSixteen)]
    public bool Fp16 { get; init; }

    /// <summary>Evaluate in bfloat16 throughout.</summary>
    [Key(NotBuilt = "evaluation computes as training does; set bf16: true for both")]
    public bool Bf16FullEval { get; init; }

    /// <summary>Evaluate in float16 throughout.</summary>
    [Key(NotBuilt = FloatSixteen)]
    public bool Fp16FullEval { get; init; }

    /// <summary>Keep only each layer's input and compute the rest again in the backward pass: less memory, about a third more
    /// time.</summary>
    public bool GradientCheckpointing { get; init; }

    /// <summary>Seed of everything random: new weights, order of rows, noise.</summary>
    [Key(IsUsual = true)]
    public long Seed { get; init; } = 42;

    /// <summary>Seed of the order of rows alone; null takes <c>seed</c>.</summary>
    public long? DataSeed { get; init; }

    /// <summary>Leave out the last rows of a pass when they do not fill a micro-batch.</summary>
    public bool DataloaderDropLast { get; init; }

    /// <summary>Batches of rows of similar length; the older way to write <c>train_sampling_strategy: group_by_length</c>. Rows are
    /// computed without padding anyway, so it gains little.</summary>
    public bool GroupByLength { get; init; }

    /// <summary>The order of rows in an epoch: <c>random</c>, <c>sequential</c> as the data has them, or <c>group_by_length</c>: random,
    /// but rows of similar length in a batch. null is random, but sequential for KTO and BCO where <c>trl_compat</c> asks for the reference
    /// trainer's order.</summary>
    public SamplingStrategy? TrainSamplingStrategy { get; init; }

    /// <summary>Halve the batch after running out of memory.</summary>
    [Key(NotBuilt = "a step takes its rows in bins of max_tokens tokens; lower max_tokens instead")]
    public bool AutoFindBatchSize { get; init; }

    /// <summary>Evaluate after training; turned on by an <c>eval_strategy</c>.</summary>
    public bool DoEval { get; init; }

    /// <summary>When to evaluate: <c>no</c>, every <c>eval_steps</c> <c>steps</c>, or after every <c>epoch</c>.</summary>
    [Key(IsUsual = true, Aliases = ["evaluation_strategy"])]
    public IntervalStrategy EvalStrategy { get; init; } = IntervalStrategy.No;

    /// <summary>Steps between evaluations, or a share of the run below 1; null takes <c>logging_steps</c>.</summary>
    public StepInterval? EvalSteps { get; init; }

    /// <summary>No evaluation before this many steps (or epochs, with strategy <c>epoch</c>).</summary>
    public double EvalDelay { get; init; }

    /// <summary>Evaluate before the first step.</summary>
    public bool EvalOnStart { get; init; }

    /// <summary>At each evaluation write what the model answers to 16 held-out prompts to <c>samples.jsonl</c> in the run folder: always
    /// the same prompts, always the likeliest words, at most <c>max_completion_length</c> or else 256 tokens. Of plain texts the prompt is
    /// the beginning. <c>watch</c> and <c>dashboard</c> show them.</summary>
    public bool GenerateDuringEval { get; init; }

    /// <summary>When to save a checkpoint: <c>no</c>, <c>steps</c>, <c>epoch</c>, or <c>best</c>: whenever an evaluation is the best so
    /// far.</summary>
    [Key(IsUsual = true)]
    public SaveStrategy SaveStrategy { get; init; } = SaveStrategy.Steps;

    /// <summary>Steps between checkpoints, or a share of the run below 1.</summary>
    public StepInterval SaveSteps { get; init; } = new(500);

    /// <summary>Checkpoints kept; older ones are removed, but never the best. null keeps all.</summary>
    public int? SaveTotalLimit { get; init; }

    /// <summary>Save checkpoints without the state of optimiser and loop: smaller, but a run cannot go on from them exactly.</summary>
    public bool SaveOnlyModel { get; init; }

    /// <summary>At the end, take the weights of the checkpoint with the best metric.</summary>
    public bool LoadBestModelAtEnd { get; init; }

    /// <summary>The metric that says which checkpoint is best; null takes the evaluation loss.</summary>
    public string? MetricForBestModel { get; init; }

    /// <summary>Whether a greater metric is better; null: yes, unless its name ends in <c>loss</c>.</summary>
    public bool? GreaterIsBetter { get; init; }

    /// <summary>When to log: every <c>logging_steps</c> <c>steps</c>, after every <c>epoch</c>, or <c>no</c>.</summary>
    public IntervalStrategy LoggingStrategy { get; init; } = IntervalStrategy.Steps;

    /// <summary>Steps between log entries, or a share of the run below 1.</summary>
    [Key(IsUsual = true)]
    public StepInterval LoggingSteps { get; init; } = new(10);

    /// <summary>Also log step 1.</summary>
    public bool LoggingFirstStep { get; init; }

    /// <summary>Folder of the TensorBoard files; null takes <c>output_dir/runs/…</c>.</summary>
    public string? LoggingDir { get; init; }

    /// <summary>Where metrics go besides <c>metrics.jsonl</c>: <c>tensorboard</c>, <c>wandb</c> (an offline run for <c>wandb sync</c>),
    /// <c>mlflow</c> (its file store), <c>csv</c> (<c>metrics.csv</c> in the run folder), <c>all</c> of them, or <c>none</c>; null writes TensorBoard files.</summary>
    public IReadOnlyList<string>? ReportTo { get; init; }

    /// <summary>Hide the progress line; null shows it on a terminal.</summary>
    public bool? DisableTqdm { get; init; }

    /// <summary>What is told beside steps and results: <c>info</c> everything, <c>warning</c> no notes, <c>error</c> no warnings
    /// either; <c>passive</c> takes <c>ACCELERATE_LOG_LEVEL</c> or <c>TRANSFORMERS_VERBOSITY</c> where one is set, else <c>info</c>.</summary>
    public LogLevel LogLevel { get; init; }

    /// <summary>Label of the run in logs; null takes <c>output_dir</c>.</summary>
    public string? RunName { get; init; }

    /// <summary>Steps of warm-up in a run of <paramref name="totalSteps"/>.</summary>
    public int Warmup(int totalSteps) =>
        WarmupSteps >= 1 ? (int)WarmupSteps : (int)Math.Ceiling(totalSteps * (WarmupSteps > 0 ? WarmupSteps : WarmupRatio ?? 0));

    /// <summary>Whether the optimiser's states lie in a file.</summary>
    internal bool IsPaged() => OffloadOptimizer == OptimizerOffload.File || OptimizerTraits.Of(Optimizer()).IsPaged;

    /// <summary>The optimiser that steps.</summary>
    public OptimizerKind Optimizer() => Adafactor ? OptimizerKind.Adafactor : Optim;

    /// <summary>What the learning rate is multiplied by for a parameter.</summary>
    internal double RateFactor(ParameterSpec spec) =>
        EmbeddingLearningRate is { } rate && LearningRate > 0 && (spec.Kind == ParameterKind.Embedding || spec.Name == "head.weight")
            ? rate / LearningRate : 1;

    /// <summary>How many rows a step has, and in which order they come.</summary>
    internal StepPlanOptions StepPlan() => new()
    {
        BatchSize = PerDeviceTrainBatchSize,
        AccumulationSteps = GradientAccumulationSteps,
        Epochs = NumTrainEpochs,
        MaxSteps = MaxSteps,
        Seed = DataSeed ?? Seed,
        DropLast = DataloaderDropLast,
        GroupByLength = GroupByLength || TrainSamplingStrategy == SamplingStrategy.GroupByLength,
        Sequential = TrainSamplingStrategy == SamplingStrategy.Sequential,
    };

    /// <summary>What <see cref="OptimArgs"/> says.</summary>
    internal OptimizerArguments OptimizerArguments() => Optimizers.OptimizerArguments.Parse(OptimArgs, Optimizer());

    /// <summary>Whether the run evaluates at all.</summary>
    public bool Evaluates() => DoEval || EvalStrategy != IntervalStrategy.No || EvalOnStart;

    /// <summary>Name of the metric that ranks checkpoints, as it is logged: with the <c>eval_</c> prefix.</summary>
    public string BestMetric() => MetricForBestModel switch
    {
        null => "eval_loss",
        var name when name.StartsWith("eval_", StringComparison.Ordinal) => name,
        var name => $"eval_{name}",
    };

    /// <summary>Whether a greater <see cref="BestMetric"/> is better.</summary>
    public bool BestIsGreatest() => GreaterIsBetter ?? !BestMetric().EndsWith("loss", StringComparison.Ordinal);

    /// <summary>Whether TensorBoard files are written.</summary>
    public bool WritesTensorBoard() => ReportTargets.Has(ReportTo, ReportTargets.TensorBoard);

    internal void Validate(Diagnostics report) => TrainingChecks.Run(this, report);
}

/// <summary>When something happens during training.</summary>
public enum IntervalStrategy
{
    /// <summary>Never.</summary>
    [Spelled("no")] No,
    /// <summary>After every so many optimiser steps.</summary>
    [Spelled("steps")] Steps,
    /// <summary>At the end of each epoch.</summary>
    [Spelled("epoch")] Epoch,
}

/// <summary>The order of rows in an epoch.</summary>
public enum SamplingStrategy
{
    /// <summary>Shuffled anew in each epoch.</summary>
    [Spelled("random")] Random,
    /// <summary>As the data set has them.</summary>
    [Spelled("sequential")] Sequential,
    /// <summary>Shuffled, but rows of about one length stand together.</summary>
    [Spelled("group_by_length")] GroupByLength,
}

/// <summary>How much is told while a run goes on.</summary>
public enum LogLevel
{
    /// <summary>What the environment says, else everything.</summary>
    [Spelled("passive")] Passive,
    /// <summary>Everything.</summary>
    [Spelled("debug", "detail")] Debug,
    /// <summary>Everything.</summary>
    [Spelled("info")] Info,
    /// <summary>Warnings and errors, no notes.</summary>
    [Spelled("warning")] Warning,
    /// <summary>Errors.</summary>
    [Spelled("error")] Error,
    /// <summary>Errors.</summary>
    [Spelled("critical")] Critical,
}

/// <summary>When a checkpoint is saved.</summary>
public enum SaveStrategy
{
    /// <summary>Never.</summary>
    [Spelled("no")] No,
    /// <summary>After every so many optimiser steps.</summary>
    [Spelled("steps")] Steps,
    /// <summary>At the end of each epoch.</summary>
    [Spelled("epoch")] Epoch,
    /// <summary>Whenever an evaluation is better than all before.</summary>
    [Spelled("best")] Best,
}
