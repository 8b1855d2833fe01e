namespace Handbook.Training.Optimizers;

/// <summary>A number or word of <c>optim_args</c>, by the name that the reference implementation gives it.</summary>
/// <param name="Otherwise">What holds without it; a truth value is 1 or 0.</param>
internal sealed record OptimizerArgument(string Name, double Otherwise = 0)
{
    /// <summary>The smallest value.</summary>
    public double Least { get; init; } = double.NegativeInfinity;

    /// <summary>All values are below this.</summary>
    public double Below { get; init; } = double.PositiveInfinity;

    /// <summary>Whether it counts something.</summary>
    public bool IsWhole { get; init; }

    /// <summary>The words that it may be, the usual one first; null for a number.</summary>
    public IReadOnlyList<string>? Words { get; init; }
}

/// <summary>What one optimiser keeps and reads: a row a name.</summary>
internal sealed record OptimizerTraits
{
    /// <summary>Bits of a number of its states.</summary>
    public int Bits { get; init; } = 32;

    /// <summary>Whether its states lie in a file of the run folder.</summary>
    public bool IsPaged { get; init; }

    /// <summary>Whether its states can lie in a file.</summary>
    public bool CanPage { get; init; }

    /// <summary>Numbers that it keeps of every element; null where that depends on the shapes of matrices.</summary>
    public int? States { get; init; } = 1;

    /// <summary>Whether it reads <c>adam_beta1</c> and <c>adam_beta2</c>.</summary>
    public bool ReadsBetas { get; init; }

    /// <summary>Whether it reads <c>adam_epsilon</c>.</summary>
    public bool ReadsEpsilon { get; init; }

    /// <summary>Whether it reads <c>optim_target_modules</c>, and needs it.</summary>
    public bool ReadsTargets { get; init; }

    /// <summary>Whether it reads the steps of warm-up, whatever the schedule.</summary>
    public bool ReadsWarmup { get; init; }

    /// <summary>Whether a matrix's update depends on all of it, so that it cannot be shared out.</summary>
    public bool NeedsMatrices { get; init; }

    /// <summary>What <c>optim_args</c> may say.</summary>
    public IReadOnlyList<OptimizerArgument> Arguments { get; init; } = [];

    private static readonly OptimizerArgument[] s_coded =
        [new("min_8bit_size", 4096) { Least = 0, IsWhole = true }, new("embedding_bits") { Words = ["32", "8"] }];

    private static readonly OptimizerArgument[] s_rmsProp =
        [new("alpha", 0.99) { Least = 0, Below = 1 }, new("eps", 1e-8) { Least = 0 }];

    private static readonly OptimizerArgument[] s_lowRank =
        [new("rank", 128) { Least = 1, IsWhole = true }, new("update_proj_gap", 200) { Least = 1, IsWhole = true }];

    private static readonly OptimizerTraits s_adam = new() { States = 2, ReadsBetas = true, ReadsEpsilon = true, CanPage = true };

    private static readonly OptimizerTraits s_lion = new() { ReadsBetas = true, CanPage = true };

    private static readonly Dictionary<OptimizerKind, OptimizerTraits> s_all = new()
    {
        [OptimizerKind.AdamW] = s_adam,
        [OptimizerKind.AdamW8Bit] = s_adam with { Bits = 8, Arguments = s_coded },
        [OptimizerKind.PagedAdamW] = s_adam with { IsPaged = true },
        [OptimizerKind.PagedAdamW8Bit] = s_adam with { Bits = 8, IsPaged = true, Arguments = s_coded },
        [OptimizerKind.Lion] = s_lion,
        [OptimizerKind.Lion8Bit] = s_lion with { Bits = 8, Arguments = s_coded },
        [OptimizerKind.PagedLion] = s_lion with { IsPaged = true },
        [OptimizerKind.PagedLion8Bit] = s_lion with { Bits = 8, IsPaged = true, Arguments = s_coded },
        [OptimizerKind.RmsProp] = new() { CanPage = true, Arguments = s_rmsProp },
        [OptimizerKind.RmsProp8Bit] = new() { CanPage = true, Bits = 8, Arguments = [.. s_rmsProp, .. s_coded] },
        [OptimizerKind.Sgd] = new() { Arguments = [new("momentum") { Least = 0 }, new("nesterov")] },
        [OptimizerKind.Adagrad] = new() { Arguments = [new("eps", 1e-10) { Least = 0 }, new("lr_decay") { Least = 0 }] },
        [OptimizerKind.Adafactor] = new()
        {
            States = null,
            NeedsMatrices = true,
            Arguments = [new("clip_threshold", 1), new("decay_rate", -0.8), new("scale_parameter")],
        },
        [OptimizerKind.Muon] = s_adam with
        {
            States = null,
            NeedsMatrices = true,
            CanPage = false,
            Arguments = [new("momentum", 0.95) { Least = 0, Below = 1 }, new("nesterov", 1),
                new("ns_steps", 5) { Least = 1, Below = 100, IsWhole = true },
                new("adjust_lr_fn") { Words = ["original", "match_rms_adamw"] }],
        },
        [OptimizerKind.ScheduleFreeAdamW] = s_adam with
        {
            ReadsWarmup = true,
            CanPage = false,
            Arguments = [new("r") { Least = 0 }, new("weight_lr_power", 2) { Least = 0 }],
        },
        [OptimizerKind.GaloreAdamW] = new()
        {
            States = null,
            ReadsBetas = true,
            ReadsTargets = true,
            NeedsMatrices = true,
            Arguments = [.. s_lowRank, new("scale", 0.25), new("eps", 1e-6) { Least = 0 },
                new("proj_type") { Words = ["std", "reverse_std", "left", "right", "full"] }],
        },
        [OptimizerKind.ApolloAdamW] = s_adam with
        {
            CanPage = false,
            States = null,
            ReadsTargets = true,
            NeedsMatrices = true,
            Arguments = [.. s_lowRank, new("scale", 1) { Least = 0 }, new("proj_type") { Words = ["std"] },
                new("proj") { Words = ["random", "svd"] }, new("scale_type") { Words = ["channel", "tensor"] }],
        },
    };

    public static OptimizerTraits Of(OptimizerKind kind) => s_all[kind];
}
