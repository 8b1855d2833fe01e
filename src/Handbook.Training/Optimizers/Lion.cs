using Handbook.Models;
using Handbook.Torch.Kernels;

namespace Handbook.Training.Optimizers;

/// <summary>Lion: steps of one size, in the direction of a mean's sign. Chen et al. 2023, arXiv:2302.06675; the formula stands at
/// <see cref="LionRule"/>.</summary>
internal sealed class Lion(ModelParameters parameters, double beta1, double beta2, double decay)
    : BucketOptimizer<LionRule>(parameters, states: 1, decay)
{
    private readonly double _decay = decay;

    public override string Description => $"Lion (betas {beta1}, {beta2}; weight decay {_decay})";

    protected override IReadOnlyList<string> StateNames { get; } = ["exp_avg"];

    protected override LionRule Rule(double rate, double decay) => new(rate, beta1, beta2, decay);
}
