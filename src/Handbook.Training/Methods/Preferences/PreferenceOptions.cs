using Handbook.Base.Keys;
using Handbook.Training.Methods.Orpo;

namespace Handbook.Training.Methods.Preferences;

/// <summary>The keys of the preference methods; each property is one key, in snake_case.</summary>
public sealed record PreferenceOptions
{
    /// <summary>β: how strongly the policy is held to its reference; the loss's temperature where there is none.</summary>
    [Key(IsUsual = true)]
    public double? Beta { get; init; }

    /// <summary>The loss; for <c>dpo</c> also a list of several to add up; for <c>sft</c> the mean negative log-likelihood, <c>nll</c>, or
    /// <c>dft</c>.</summary>
    [Key(IsUsual = true)]
    public IReadOnlyList<string>? LossType { get; init; }

    /// <summary>Weights of several losses, in their order; null weighs each with 1.</summary>
    public IReadOnlyList<double>? LossWeights { get; init; }

    /// <summary>ε: the share of pairs that are believed to be labelled the wrong way round.</summary>
    public double LabelSmoothing { get; init; }

    /// <summary>The divergence between policy and reference.</summary>
    public Divergence FDivergenceType { get; init; } = Divergence.ReverseKl;

    /// <summary>α of <c>alpha_divergence</c>; null takes 0.5, and 1.0 with <c>trl_compat: "0.24"</c>, where it means 1 − α.</summary>
    public double? FAlphaDivergenceCoef { get; init; }

    /// <summary>Take the reference's log-probabilities as 0: no reference model.</summary>
    public bool ReferenceFree { get; init; }

    /// <summary>WPO: weigh each pair by how likely the policy is to say it.</summary>
    public bool UseWeighting { get; init; }

    /// <summary>The older way of writing <c>loss_type: [sigmoid, sft]</c> with <c>loss_weights: [1, rpo_alpha]</c>.</summary>
    public double? RpoAlpha { get; init; }

    /// <summary>LD-DPO's α from 0 to 1: what a token counts beyond the length of the shorter answer. null counts all alike.</summary>
    public double? LdAlpha { get; init; }

    /// <summary>τ of the loss <c>discopop</c>.</summary>
    public double DiscopopTau { get; init; } = 0.05;

    /// <summary>TR-DPO: let the reference follow the policy.</summary>
    public bool SyncRefModel { get; init; }

    /// <summary>TR-DPO's α: the share of the policy in the new reference.</summary>
    public double RefModelMixupAlpha { get; init; } = 0.6;

    /// <summary>TR-DPO: steps between two changes of the reference.</summary>
    public int RefModelSyncSteps { get; init; } = 512;

    /// <summary>The reference model's folder; null takes the model that is trained, as it is before the first step.</summary>
    public string? RefModelNameOrPath { get; init; }

    /// <summary>Compute the reference's log-probabilities once, before training, and keep them in the cache; the reference then leaves
    /// memory. false keeps it beside the policy, as <c>sync_ref_model</c> needs it.</summary>
    public bool? PrecomputeRefLogProbs { get; init; }

    /// <summary>Which release of the reference trainer to agree with where releases differ; null takes each paper's meaning, and the newest
    /// release's for rows and counts.</summary>
    public TrlRelease? TrlCompat { get; init; }

    /// <summary>Which tokens ORPO's likelihood term covers.</summary>
    public OrpoNll OrpoNll { get; init; } = OrpoNll.PromptAndCompletion;

    /// <summary>Weight of a good answer in KTO's loss.</summary>
    [Key(IsUsual = true)]
    public double DesirableWeight { get; init; } = 1.0;

    /// <summary>Weight of a bad answer in KTO's loss.</summary>
    public double UndesirableWeight { get; init; } = 1.0;

    /// <summary>Weight of the chosen answers' negative log-likelihood in CPO's loss; 0 gives SimPO.</summary>
    [Key(IsUsual = true)]
    public double CpoAlpha { get; init; } = 1.0;

    /// <summary>γ: SimPO's target margin.</summary>
    [Key(IsUsual = true)]
    public double SimpoGamma { get; init; } = 0.5;

    /// <summary>AlphaPO's α, the shape of the reward; 0 is the plain log-probability.</summary>
    public double Alpha { get; init; }

    /// <summary>BCO: weigh bad answers by how much their prompts look like those of good ones, to the model as it is before
    /// training.</summary>
    public bool UseDensityRatio { get; init; }

    /// <summary>Least weight that <c>use_density_ratio</c> gives.</summary>
    public double MinDensityRatio { get; init; } = 0.5;

    /// <summary>Greatest weight that <c>use_density_ratio</c> gives.</summary>
    public double MaxDensityRatio { get; init; } = 10.0;

    /// <summary>Most tokens of a prompt; its last ones are kept. null cuts none. With <c>dataset_mixer</c> only prompts of rows that are
    /// longer than <c>max_length</c> are cut.</summary>
    public int? MaxPromptLength { get; init; }

    /// <summary>Most tokens of an answer; null cuts none.</summary>
    [Key(Aliases = ["max_target_length"])]
    public int? MaxCompletionLength { get; init; }

    /// <summary>Which end of a row that is too long is kept: <c>keep_start</c>, or <c>keep_end</c> as older releases had it.</summary>
    public TruncationMode? TruncationMode { get; init; }

    /// <summary>Compute the prompt once for all its answers; false computes it with each, for comparison: the results are the
    /// same.</summary>
    [Key(Elsewhere = "its results are the same with either value")]
    public bool SharePrompts { get; init; } = true;

    /// <summary>Tools that every row's prompt is rendered with.</summary>
    public object? Tools { get; init; }

    /// <summary>β, or what a method takes without one.</summary>
    public double BetaOr(double otherwise = 0.1) => Beta ?? otherwise;

    /// <summary>The losses to add up, in order.</summary>
    public IReadOnlyList<string> LossesOr(string otherwise) => LossType is { Count: > 0 } named ? named : [otherwise];

    /// <summary>The weight of the loss at a place of <see cref="LossType"/>.</summary>
    public double WeightAt(int index) => LossWeights?.ElementAtOrDefault(index) ?? 1.0;

    /// <summary>Whether an older release is to be reproduced where releases differ.</summary>
    public bool IsCompatible(TrlRelease release) => TrlCompat == release;

    /// <summary>α of <see cref="Divergence.Alpha"/>, in the meaning of the release that is asked for.</summary>
    public double AlphaDivergence() => FAlphaDivergenceCoef ?? (TrlCompat == TrlRelease.V0_24 ? 1.0 : 0.5);

    /// <summary>Which end of a row that is too long is kept.</summary>
    public TruncationMode Truncation() =>
        TruncationMode ?? (TrlCompat == TrlRelease.V0_24 ? Preferences.TruncationMode.KeepEnd : Preferences.TruncationMode.KeepStart);

    /// <summary>Whether the reference's scores are computed before training and the reference then leaves memory.</summary>
    public bool PrecomputesReference() => PrecomputeRefLogProbs ?? !SyncRefModel;
}

/// <summary>Divergences between policy and reference (arXiv 2309.16240).</summary>
public enum Divergence
{
    /// <summary>KL(policy ‖ reference), the divergence of the original loss.</summary>
    [Spelled("reverse_kl")] ReverseKl,
    /// <summary>KL(reference ‖ policy), which keeps everything that the reference finds likely.</summary>
    [Spelled("forward_kl")] ForwardKl,
    /// <summary>Jensen–Shannon, between the two.</summary>
    [Spelled("js_divergence")] JensenShannon,
    /// <summary>The α-divergence of <c>f_alpha_divergence_coef</c>.</summary>
    [Spelled("alpha_divergence")] Alpha,
}

/// <summary>Releases of the reference trainer that mean different things by the same keys.</summary>
public enum TrlRelease
{
    /// <summary>TRL 0.24, with transformers 4.</summary>
    [Spelled("0.24", "0.24.0")] V0_24,
    /// <summary>TRL 1.9, with transformers 5.</summary>
    [Spelled("1.9", "1.9.0")] V1_9,
}

/// <summary>Which end of a sequence that is too long is kept.</summary>
public enum TruncationMode
{
    /// <summary>The beginning is kept.</summary>
    [Spelled("keep_start")] KeepStart,
    /// <summary>The end is kept.</summary>
    [Spelled("keep_end")] KeepEnd,
}
