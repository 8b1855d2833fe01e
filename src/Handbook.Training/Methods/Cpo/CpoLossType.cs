using Handbook.Base.Keys;

namespace Handbook.Training.Methods.Cpo;

/// <summary>The values of <c>loss_type</c> in a CPO recipe.</summary>
internal enum CpoLossType
{
    /// <summary>CPO: the logistic loss of the difference of log-probabilities, and the likelihood term.</summary>
    [Spelled("sigmoid")] Sigmoid,
    /// <summary>No loss once the difference of log-probabilities, times β, reaches 1, and the likelihood term.</summary>
    [Spelled("hinge")] Hinge,
    /// <summary>Pulls the difference of log-probabilities to 1/(2β), and the likelihood term.</summary>
    [Spelled("ipo")] Ipo,
    /// <summary>SimPO: mean log-probabilities per token with the margin <c>simpo_gamma</c>; set <c>cpo_alpha: 0</c> for the paper's
    /// loss.</summary>
    [Spelled("simpo")] Simpo,
    /// <summary>AlphaPO: SimPO without the likelihood term, the reward bent by <c>alpha</c>.</summary>
    [Spelled("alphapo")] AlphaPo,
}
