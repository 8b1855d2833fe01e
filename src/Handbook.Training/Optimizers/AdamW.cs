using Handbook.Models;
using Handbook.Torch.Kernels;
using Handbook.Training.Metrics;

namespace Handbook.Training.Optimizers;

/// <summary>AdamW as in torch. Loshchilov and Hutter 2019, arXiv:1711.05101; the formula stands at <see cref="AdamRule"/>.</summary>
/// <remarks>With 8-bit states it is the step of bitsandbytes 0.50 on the CPU, which decays the weights first, as torch does.</remarks>
internal sealed class AdamW(ModelParameters parameters, double beta1, double beta2, double epsilon, double decay,
    StateLayout? layout = null, Func<ParameterPiece, bool>? updates = null)
    : BucketOptimizer<AdamRule>(parameters, s_states, decay, layout, updates)
{
    private static readonly StateKind[] s_states = [new("exp_avg", DynamicCode.Signed), new("exp_avg_sq", DynamicCode.Unsigned)];

    /// <summary>Whether ε is added to √v before the correction of v's start from 0, as the package of GaLore does, not after it.</summary>
    public bool CorrectsEpsilon { get; init; }

    public override string Description => $"AdamW (betas {beta1}, {beta2}; epsilon {PythonJson.Number(epsilon)}; {Common})";

    protected override AdamRule Rule(double rate, double decay) => new(rate, beta1, beta2,
        CorrectsEpsilon ? epsilon / Math.Sqrt(1 - Math.Pow(beta2, Updates)) : epsilon, decay, Updates);
}
