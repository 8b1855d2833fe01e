using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Devices;
using Handbook.Torch.Kernels;

namespace Handbook.Training.Optimizers;

/// <summary>
/// An optimiser that treats every element alike: one pass over each flat bucket, which also writes the copy that products read.
/// </summary>
/// <param name="parameters">What to train.</param>
/// <param name="states">Numbers kept per element, 0 to 2.</param>
/// <param name="decay">λ of the buckets with weight decay; the others get 0.</param>
internal abstract class BucketOptimizer<TRule>(ModelParameters parameters, int states, double decay) : Optimizer
    where TRule : struct, IOptimizerRule
{
    private readonly Tensor[][] _states = [.. parameters.Trained.Select(bucket =>
        Enumerable.Range(0, states).Select(_ => Zeros(bucket.Values)).ToArray())];

    /// <summary>Names of the states in a checkpoint.</summary>
    protected abstract IReadOnlyList<string> StateNames { get; }

    public override IEnumerable<(string Name, Tensor Value)> State =>
        from b in Enumerable.Range(0, _states.Length)
        from s in Enumerable.Range(0, states)
        from slice in NamedSlices.Of(StateNames[s], parameters, parameters.Trained[b], _states[b][s])
        select slice;

    /// <summary>The rule with its numbers for the update <see cref="Optimizer.Updates"/>.</summary>
    protected abstract TRule Rule(double rate, double decay);

    protected override void Update(double rate, double gradientScale)
    {
        parameters.SettleGradients();
        for (var b = 0; b < parameters.Trained.Count; b++)
        {
            var bucket = parameters.Trained[b];
            var rule = Rule(rate * bucket.RateFactor, bucket.Decays ? decay : 0);
            DeviceKernels.Of(bucket.Values).OptimizerStep(rule, bucket.Values, bucket.Gradients!, _states[b], bucket.Compute,
                gradientScale);
        }
    }

    private static Tensor Zeros(Tensor like)
    {
        using var scope = TensorScope.Enter();
        return TensorScope.Detach(like.Detach().ZerosLike());
    }

    public override void Dispose()
    {
        foreach (var tensor in _states.SelectMany(s => s))
            tensor.Dispose();
        GC.SuppressFinalize(this);
    }
}
