using Handbook.Models;
using Handbook.Torch.Kernels;

namespace Handbook.Training.Optimizers;

/// <summary>Gradient descent as in torch; the formula stands at <see cref="SgdRule"/>. Without momentum it keeps no state.</summary>
internal sealed class Sgd(ModelParameters parameters, double momentum, bool nesterov, double decay)
    : BucketOptimizer<SgdRule>(parameters, states: momentum > 0 ? 1 : 0, decay)
{
    private readonly double _decay = decay, _momentum = momentum;

    public override string Description => $"SGD (momentum {_momentum}{(nesterov ? ", Nesterov" : "")}; weight decay {_decay})";

    protected override IReadOnlyList<string> StateNames { get; } = ["momentum_buffer"];

    protected override SgdRule Rule(double rate, double decay) => new(rate, _momentum, decay, nesterov);
}
