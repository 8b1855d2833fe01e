using Handbook.Models;
using Handbook.Torch.Kernels;

namespace Handbook.Training.Optimizers;

/// <summary>RMSprop as in torch, without momentum; the formula stands at <see cref="RmsPropRule"/>.</summary>
internal sealed class RmsProp(ModelParameters parameters, double alpha, double epsilon, double decay)
    : BucketOptimizer<RmsPropRule>(parameters, states: 1, decay)
{
    private readonly double _decay = decay;

    public override string Description => $"RMSprop (alpha {alpha}; epsilon {epsilon}; weight decay {_decay})";

    protected override IReadOnlyList<string> StateNames { get; } = ["square_avg"];

    protected override RmsPropRule Rule(double rate, double decay) => new(rate, alpha, epsilon, decay);
}
