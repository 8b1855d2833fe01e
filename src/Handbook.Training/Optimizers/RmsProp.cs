using Handbook.Models;
using Handbook.Torch.Kernels;
using Handbook.Training.Metrics;

namespace Handbook.Training.Optimizers;

/// <summary>RMSprop as in torch, without momentum; the formula stands at <see cref="RmsPropRule"/>.</summary>
/// <remarks>In 8 bits its state is kept with the signed codes although it is never negative, as in bitsandbytes.</remarks>
internal sealed class RmsProp(ModelParameters parameters, double alpha, double epsilon, double decay, StateLayout? layout = null)
    : BucketOptimizer<RmsPropRule>(parameters, s_states, decay, layout)
{
    private static readonly StateKind[] s_states = [new("square_avg", DynamicCode.Signed)];

    public override string Description => $"RMSprop (alpha {alpha}; epsilon {PythonJson.Number(epsilon)}; {Common})";

    protected override RmsPropRule Rule(double rate, double decay) => new(rate, alpha, epsilon, decay);
}
