using Handbook.Models;
using Handbook.Torch.Kernels;

namespace Handbook.Training.Optimizers;

/// <summary>AdamW as in torch. Loshchilov and Hutter 2019, arXiv:1711.05101; the formula stands at <see cref="AdamRule"/>.</summary>
internal sealed class AdamW(ModelParameters parameters, double beta1, double beta2, double epsilon, double decay)
    : BucketOptimizer<AdamRule>(parameters, states: 2, decay)
{
    private readonly double _decay = decay;

    public override string Description => $"AdamW (betas {beta1}, {beta2}; epsilon {epsilon}; weight decay {_decay})";

    protected override IReadOnlyList<string> StateNames { get; } = ["exp_avg", "exp_avg_sq"];

    protected override AdamRule Rule(double rate, double decay) => new(rate, beta1, beta2, epsilon, decay, Updates);
}
