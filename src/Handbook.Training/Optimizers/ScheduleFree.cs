using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Kernels;
using Handbook.Training.Metrics;

namespace Handbook.Training.Optimizers;

/// <summary>AdamW whose weights are means of what it stepped through, so that no schedule has to let the rate fall. Defazio et al. 2024,
/// arXiv:2405.15682; the step stands at <see cref="ScheduleFreeRule"/>.</summary>
/// <remarks>
/// <code>
/// η_t = η · min(1, t / warm-up);   w_t = tʳ · (largest η so far)^power;   c = w_t / Σ w;   x is the mean of z with the weights w
/// </code>
/// Gradients are taken at y, which lies between x and z and is what the parameters hold in training; evaluations and saved models use x.
/// While they do, y waits in the memory of the gradients, which nothing else needs then: it comes back bit for bit.
/// </remarks>
internal sealed class ScheduleFree : BucketOptimizer<ScheduleFreeRule>
{
    private static readonly StateKind[] s_states = [new("z", DynamicCode.Signed), new("exp_avg_sq", DynamicCode.Unsigned)];

    private readonly ModelParameters _parameters;
    private readonly ScheduleFreeOptions _options;
    private readonly Tensor _weights;       // Σ w and the largest η; [2]
    private double _share;
    private bool _isMean;

    public ScheduleFree(ModelParameters parameters, ScheduleFreeOptions options, double decay) : base(parameters, s_states, decay)
    {
        (_parameters, _options) = (parameters, options);
        using var scope = TensorScope.Enter();
        _weights = TensorScope.Detach(Tensor.Zeros(DType.Float64, 2));
    }

    public override string Description => $"schedule-free AdamW (betas {_options.Beta1}, {_options.Beta2}; "
        + $"epsilon {PythonJson.Number(_options.Epsilon)}; "
        + $"warm-up {_options.Warmup} steps; r {_options.Power}; weight power {_options.RatePower}; {Common})";

    public override IEnumerable<(string Name, Tensor Value)> State => base.State.Append(("schedule_free.weights", _weights.Detach()));

    protected override ScheduleFreeRule Rule(double rate, double decay) =>
        new(rate, _options.Beta1, _options.Beta2, _options.Epsilon, decay, _share, Updates);

    protected override void Update(double rate, double gradientScale)
    {
        if (Updates == 1)
            foreach (var stretch in Stretches)
            {
                using var scope = TensorScope.Enter();
                stretch.Plain(0).CopyFrom(stretch.Of(stretch.Bucket.OwnValues));       // z begins where y does
            }
        rate *= Updates < _options.Warmup ? (double)Updates / _options.Warmup : 1;
        var weights = _weights.AsSpan<double>();
        weights[1] = Math.Max(weights[1], rate);
        var weight = Math.Pow(Updates, _options.Power) * Math.Pow(weights[1], _options.RatePower);
        weights[0] += weight;
        _share = weights[0] > 0 ? weight / weights[0] : 0;
        base.Update(rate, gradientScale);
    }

    public override IDisposable? Evaluation()
    {
        if (Updates == 0 || _isMean)
            return null;
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        foreach (var bucket in _parameters.Trained)
            bucket.OwnGradients!.CopyFrom(bucket.OwnValues);
        foreach (var stretch in Stretches)
        {
            var values = stretch.Of(stretch.Bucket.OwnValues);
            values.MulInPlace(1 / _options.Beta1);
            values.AddInPlace(stretch.Plain(0), 1 - 1 / _options.Beta1);
        }
        _parameters.RefreshCompute();
        _isMean = true;
        return new Interlude(this);
    }

    public override void Dispose()
    {
        _weights.Dispose();
        base.Dispose();
    }

    private sealed class Interlude(ScheduleFree optimizer) : IDisposable
    {
        public void Dispose()
        {
            using var mode = GradMode.Disabled();
            foreach (var bucket in optimizer._parameters.Trained)
                bucket.OwnValues.CopyFrom(bucket.OwnGradients!);
            optimizer._parameters.RefreshCompute();
            optimizer._isMean = false;
        }
    }
}

/// <summary>The numbers of schedule-free AdamW.</summary>
/// <param name="Beta1">β₁, above 0.</param>
/// <param name="Beta2">β₂.</param>
/// <param name="Epsilon">ε.</param>
/// <param name="Warmup">Steps in which the rate rises.</param>
/// <param name="Power">r: 0 weighs all steps alike, more favours later ones.</param>
/// <param name="RatePower">The power of the largest rate so far in a step's weight.</param>
internal sealed record ScheduleFreeOptions(double Beta1, double Beta2, double Epsilon, int Warmup, double Power = 0, double RatePower = 2);
