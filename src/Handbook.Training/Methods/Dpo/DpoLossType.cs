using Handbook.Base.Keys;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Methods.Dpo;

/// <summary>The values of <c>loss_type</c> in a DPO recipe; the formulas are in <see cref="PairLosses"/>.</summary>
internal enum DpoLossType
{
    /// <summary>DPO: the logistic loss of the reward difference.</summary>
    [Spelled("sigmoid")] Sigmoid,
    /// <summary>SLiC, RSO: no loss once the reward difference reaches 1.</summary>
    [Spelled("hinge")] Hinge,
    /// <summary>IPO: pulls the difference per token to 1/(2β), so it stops growing.</summary>
    [Spelled("ipo")] Ipo,
    /// <summary>EXO: reverse KL towards the labels, smoothed by <c>label_smoothing</c>.</summary>
    [Spelled("exo_pair")] ExoPair,
    /// <summary>NCA: also holds each reward by itself, so that chosen answers stay likely.</summary>
    [Spelled("nca_pair")] NcaPair,
    /// <summary>DPO that stays unbiased when a share <c>label_smoothing</c> of labels is wrong.</summary>
    [Spelled("robust")] Robust,
    /// <summary>BCO on pairs: chosen rewards above a running mean, rejected ones below.</summary>
    [Spelled("bco_pair")] BcoPair,
    /// <summary>SPPO: pulls the two log-ratios to ±1/(2β).</summary>
    [Spelled("sppo_hard")] SppoHard,
    /// <summary>AOT: sorts the reward differences of policy and reference over the step.</summary>
    [Spelled("aot")] Aot,
    /// <summary>AOT: sorts chosen and rejected rewards, each over the step, and compares them in that order.</summary>
    /// <remarks>The older name is <c>aot_pair</c>, although it is the one for unpaired answers.</remarks>
    [Spelled("aot_unpaired", "aot_pair")] AotUnpaired,
    /// <summary>APO: chosen answers likelier, rejected ones less likely.</summary>
    [Spelled("apo_zero")] ApoZero,
    /// <summary>APO: both less likely, rejected ones more so, for chosen answers that are worse than the model.</summary>
    [Spelled("apo_down")] ApoDown,
    /// <summary>DiscoPOP: a blend of logistic and exponential loss, mixed by <c>discopop_tau</c>.</summary>
    [Spelled("discopop")] Discopop,
    /// <summary>The negative log-likelihood of chosen answers; add it to another loss.</summary>
    [Spelled("sft")] Sft,
    /// <summary>The logistic loss of the reward difference per token.</summary>
    [Spelled("sigmoid_norm")] SigmoidNorm,
    /// <summary>KTO as older releases applied it to pairs.</summary>
    [Spelled("kto_pair")] KtoPair,
}
