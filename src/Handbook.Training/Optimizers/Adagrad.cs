using Handbook.Models;
using Handbook.Torch.Kernels;
using Handbook.Training.Metrics;

namespace Handbook.Training.Optimizers;

/// <summary>Adagrad as in torch. Duchi et al. 2011; the formula stands at <see cref="AdagradRule"/>.</summary>
internal sealed class Adagrad(ModelParameters parameters, double epsilon, double rateDecay, double decay)
    : BucketOptimizer<AdagradRule>(parameters, s_states, decay)
{
    private static readonly StateKind[] s_states = [new("sum", DynamicCode.Unsigned)];

    public override string Description => $"Adagrad (epsilon {PythonJson.Number(epsilon)}; rate decay {rateDecay}; {Common})";

    protected override AdagradRule Rule(double rate, double decay) => new(rate, epsilon, decay, rateDecay, Updates);
}
