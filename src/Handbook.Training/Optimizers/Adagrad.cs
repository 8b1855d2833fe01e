using Handbook.Models;
using Handbook.Torch.Kernels;

namespace Handbook.Training.Optimizers;

/// <summary>Adagrad as in torch. Duchi et al. 2011; the formula stands at <see cref="AdagradRule"/>.</summary>
internal sealed class Adagrad(ModelParameters parameters, double epsilon, double rateDecay, double decay)
    : BucketOptimizer<AdagradRule>(parameters, states: 1, decay)
{
    private readonly double _decay = decay;

    public override string Description => $"Adagrad (epsilon {epsilon}; rate decay {rateDecay}; weight decay {_decay})";

    protected override IReadOnlyList<string> StateNames { get; } = ["sum"];

    protected override AdagradRule Rule(double rate, double decay) => new(rate, epsilon, decay, rateDecay, Updates);
}
