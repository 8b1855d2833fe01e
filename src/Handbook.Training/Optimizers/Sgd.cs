using Handbook.Models;
using Handbook.Torch.Kernels;

namespace Handbook.Training.Optimizers;

/// <summary>Gradient descent as in torch; the formula stands at <see cref="SgdRule"/>. Without momentum it keeps no state.</summary>
internal sealed class Sgd(ModelParameters parameters, double momentum, bool nesterov, double decay)
    : BucketOptimizer<SgdRule>(parameters, momentum > 0 ? s_states : [], decay)
{
    private static readonly StateKind[] s_states = [new("momentum_buffer", DynamicCode.Signed)];

    public override string Description => $"SGD (momentum {momentum}{(nesterov ? ", Nesterov" : "")}; {Common})";

    protected override SgdRule Rule(double rate, double decay) => new(rate, momentum, decay, nesterov);
}
