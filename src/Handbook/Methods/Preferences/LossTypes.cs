using Handbook.Recipes;

namespace Handbook.Methods.Preferences;

/// <summary>The values of <c>loss_type</c> in a DPO recipe; the formulas are in <see cref="PairLosses"/>.</summary>
internal enum DpoLossType
{
    [Spelled("sigmoid")] Sigmoid,
    [Spelled("hinge")] Hinge,
    [Spelled("ipo")] Ipo,
    [Spelled("exo_pair")] ExoPair,
    [Spelled("nca_pair")] NcaPair,
    [Spelled("robust")] Robust,
    [Spelled("bco_pair")] BcoPair,
    [Spelled("sppo_hard")] SppoHard,
    [Spelled("aot")] Aot,
    /// <summary>The older name is <c>aot_pair</c>, although it is the one for unpaired answers.</summary>
    [Spelled("aot_unpaired", "aot_pair")] AotUnpaired,
    [Spelled("apo_zero")] ApoZero,
    [Spelled("apo_down")] ApoDown,
    [Spelled("discopop")] Discopop,
    [Spelled("sft")] Sft,
    [Spelled("sigmoid_norm")] SigmoidNorm,
    [Spelled("kto_pair")] KtoPair,
}

/// <summary>The values of <c>loss_type</c> in a CPO recipe.</summary>
internal enum CpoLossType
{
    [Spelled("sigmoid")] Sigmoid,
    [Spelled("hinge")] Hinge,
    [Spelled("ipo")] Ipo,
    [Spelled("simpo")] Simpo,
    /// <summary>SimPO without the likelihood term, with AlphaPO's reward.</summary>
    [Spelled("alphapo")] AlphaPo,
}

/// <summary>The values of <c>loss_type</c> in a KTO recipe.</summary>
internal enum KtoLossType
{
    [Spelled("kto")] Kto,
    [Spelled("apo_zero_unpaired")] ApoZeroUnpaired,
}

/// <summary>The values of <c>loss_type</c> in a BCO recipe.</summary>
internal enum BcoLossType
{
    [Spelled("bco")] Bco,
}
