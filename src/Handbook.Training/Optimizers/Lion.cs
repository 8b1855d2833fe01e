using Handbook.Models;
using Handbook.Torch.Kernels;

namespace Handbook.Training.Optimizers;

/// <summary>Lion: steps of one size, in the direction of a mean's sign. Chen et al. 2023, arXiv:2302.06675; the formula stands at
/// <see cref="LionRule"/>.</summary>
internal sealed class Lion(ModelParameters parameters, double beta1, double beta2, double decay, StateLayout? layout = null)
    : BucketOptimizer<LionRule>(parameters, s_states, decay, layout)
{
    private static readonly StateKind[] s_states = [new("exp_avg", DynamicCode.Signed)];

    public override string Description => $"Lion (betas {beta1}, {beta2}; {Common})";

    protected override LionRule Rule(double rate, double decay) => new(rate, beta1, beta2, decay);
}
