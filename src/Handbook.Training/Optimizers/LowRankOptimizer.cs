using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Devices;
using Handbook.Torch.Kernels;
using Handbook.Training.Metrics;

namespace Handbook.Training.Optimizers;

/// <summary>The numbers that GaLore and APOLLO share.</summary>
/// <param name="Rank">Directions of a gradient that are followed.</param>
/// <param name="Gap">Steps after which they are chosen anew.</param>
/// <param name="Scale">Factor on the projected updates.</param>
/// <param name="Sides">Which side is projected, by its name.</param>
internal sealed record LowRankOptions(int Rank, int Gap, double Scale, string Sides);

/// <summary>AdamW with states of projected gradients for chosen matrices, and plain AdamW for the rest.</summary>
internal abstract class LowRankOptimizer : Optimizer
{
    private readonly ModelParameters _parameters;
    private readonly AdamW _rest;
    private readonly double _beta1, _beta2, _epsilon, _decay;
    private readonly List<Target> _targets = [];

    /// <param name="isTarget">Says of a matrix whether its gradients are projected.</param>
    /// <param name="rest">AdamW for the others, made of the pieces that it is given.</param>
    protected LowRankOptimizer(ModelParameters parameters, LowRankOptions options, double beta1, double beta2, double epsilon, double decay,
        Func<ParameterPiece, bool> isTarget, Func<Func<ParameterPiece, bool>, AdamW> rest)
    {
        (_parameters, Options, _beta1, _beta2, _epsilon, _decay) = (parameters, options, beta1, beta2, epsilon, decay);
        Store = new(null, parameters.Plan.Device);
        foreach (var piece in ParameterPiece.Trained(parameters).Where(isTarget))
        {
            var projection = new GradientProjection(Store, piece, ProjectionSides.Of(options.Sides, piece.Rows, piece.Width), options.Rank);
            var (rows, columns) = (projection.Rows, projection.Columns);
            _targets.Add(new(piece, projection, projection.Zeros(rows, columns), projection.Zeros(rows, columns)));
        }
        _rest = rest(piece => !isTarget(piece));
    }

    protected LowRankOptions Options { get; }

    /// <summary>Where states lie.</summary>
    protected StateStore Store { get; }

    /// <summary>Matrices with projected gradients.</summary>
    protected IEnumerable<ParameterPiece> Targets => _targets.Select(target => target.Piece);

    /// <summary>What a description says behind the optimiser's own numbers.</summary>
    protected string Common => $"rank {Options.Rank}; renewed every {Options.Gap} steps; scale {Options.Scale}; sides {Options.Sides}; "
        + $"betas {_beta1}, {_beta2}; epsilon {PythonJson.Number(_epsilon)}; weight decay {_decay}) "
        + $"for {_targets.Count} matrices, and beside them "
        + _rest.Description;

    public override IEnumerable<(string Name, Tensor Value)> State => _targets.SelectMany(target => ((string, Tensor)[])
        [.. target.Projection.State, ($"exp_avg.{target.Piece.Name}", target.Mean.Detach()),
            ($"exp_avg_sq.{target.Piece.Name}", target.Square.Detach())]).Concat(_rest.State);

    /// <summary>Chooses the directions anew.</summary>
    /// <param name="gradient">[M, N], clipped.</param>
    protected abstract void Renew(ParameterPiece piece, GradientProjection projection, Tensor gradient);

    /// <summary>What is added to a matrix, per unit of the rate; [M, N].</summary>
    /// <param name="gradient">[M, N], clipped.</param>
    /// <param name="low">The projected gradient.</param>
    /// <param name="step">Adam's step on it with the rate 1.</param>
    /// <param name="correction">√(1−β₂ᵗ) / (1−β₁ᵗ), a factor of that step.</param>
    protected abstract Tensor Direction(ParameterPiece piece, GradientProjection projection, Tensor gradient, Tensor low, Tensor step,
        double correction);

    protected override void Update(double rate, double gradientScale)
    {
        _parameters.SettleGradients();
        using var mode = GradMode.Disabled();
        var (bias1, bias2) = (1 - Math.Pow(_beta1, Updates), Math.Sqrt(1 - Math.Pow(_beta2, Updates)));
        // ε stands beside √v itself, as in the packages: √v/√(1−β₂ᵗ) + ε/√(1−β₂ᵗ).
        var rule = new AdamRule(1, _beta1, _beta2, _epsilon / bias2, 0, Updates);
        foreach (var (piece, projection, mean, square) in _targets)
        {
            using var scope = TensorScope.Enter();
            var gradient = piece.Of(piece.Bucket.OwnGradients!) * gradientScale;
            if ((Updates - 1) % Options.Gap == 0)
                Renew(piece, projection, gradient);
            var low = projection.Down(gradient).Contiguous();
            var step = low.ZerosLike();         // a parameter at 0, which a step with the rate 1 takes to the step itself
            DeviceKernels.Of(low).OptimizerStep(rule, step, low, [mean, square], null, 1);
            var (values, eta) = (piece.Of(piece.Bucket.Values), rate * piece.Bucket.RateFactor);
            values.MulInPlace(1 - eta * (piece.Bucket.Decays ? _decay : 0));
            values.AddInPlace(Direction(piece, projection, gradient, low, step, bias2 / bias1), eta);
            piece.Refresh();
        }
        _rest.Updates = Updates - 1;
        _rest.Step(rate, gradientScale);
    }

    public override void Dispose()
    {
        foreach (var (_, value) in _targets.SelectMany(target => target.Projection.State))
            value.Dispose();
        Store.Dispose();
        _rest.Dispose();
        GC.SuppressFinalize(this);
    }

    private sealed record Target(ParameterPiece Piece, GradientProjection Projection, Tensor Mean, Tensor Square);
}

/// <summary>GaLore: Adam's states of a matrix in the few directions in which its gradient is largest. Zhao et al. 2024, arXiv:2403.03507,
/// algorithm 2.</summary>
/// <remarks>
/// <code>
/// every gap steps: L or R = the first singular vectors of G;   low = Lᵀ·G or G·Rᵀ
/// N = Adam(low);   p ← p·(1 − η·λ) − η·α·(L·N or N·R)
/// </code>
/// ε is added to √v itself, and is 1e-6 unless <c>optim_args</c> says otherwise, as in the authors' package; the weights decay before the
/// step, as everywhere here, where the package lets them decay after it (η·λ of the step apart).
/// </remarks>
internal sealed class GaLore(ModelParameters parameters, LowRankOptions options, double beta1, double beta2, double epsilon, double decay,
    Func<ParameterPiece, bool> isTarget, Func<Func<ParameterPiece, bool>, AdamW> rest)
    : LowRankOptimizer(parameters, options, beta1, beta2, epsilon, decay, isTarget, rest)
{
    public override string Description => $"GaLore AdamW ({Common}";

    protected override void Renew(ParameterPiece piece, GradientProjection projection, Tensor gradient) => projection.TakeLargest(gradient);

    protected override Tensor Direction(ParameterPiece piece, GradientProjection projection, Tensor gradient, Tensor low, Tensor step,
        double correction) => projection.Up(step) * Options.Scale;
}
