using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Devices;
using Handbook.Torch.Kernels;

namespace Handbook.Training.Optimizers;

/// <summary>
/// Adafactor with a given rate, as the Python trainer sets it up. Shazeer and Stern 2018, arXiv:1804.04235; the formula stands at
/// <see cref="AdafactorKernel"/>.
/// </summary>
/// <remarks>
/// A published matrix keeps one number per row and one per column, so a parameter that fuses several (query, key and value) is several
/// matrices here. A transposed one gives the same: rows and columns play the same part.
/// </remarks>
internal sealed class Adafactor : Optimizer
{
    private readonly ModelParameters _parameters;
    private readonly AdafactorStep _step;
    private readonly StateStore _store;
    private readonly List<Piece> _pieces = [];

    /// <param name="parameters">What to train, in float32.</param>
    /// <param name="step">The numbers that stay the same; the rate and λ are set in every step.</param>
    /// <param name="decay">λ of the buckets with weight decay; the others get 0.</param>
    public Adafactor(ModelParameters parameters, AdafactorStep step, double decay)
    {
        if (parameters.Plan.Residual != DType.Float32)
            throw new ArgumentException($"Adafactor computes in float32, not {parameters.Plan.Residual}", nameof(parameters));
        (_parameters, _step, _store) = (parameters, step with { WeightDecay = decay }, new(null, parameters.Plan.Device));
        // A slice of a published matrix (GPT-2's query of its c_attn) stands for itself: its columns' means are its own.
        foreach (var piece in ParameterPiece.Trained(parameters))
            _pieces.Add(new(piece, _store.Zeros(DType.Float32, piece.Rows),
                piece.IsMatrix ? _store.Zeros(DType.Float32, piece.Width) : null));
    }

    public override string Description =>
        $"Adafactor (epsilons {_step.Epsilon}, {_step.ParameterEpsilon}; clip threshold {_step.ClipThreshold}; "
        + $"decay rate {_step.DecayRate}; scale parameter {(_step.ScaleParameter ? "true" : "false")}; weight decay {_step.WeightDecay})";

    public override IEnumerable<(string Name, Tensor Value)> State
    {
        get
        {
            foreach (var (piece, rows, columns) in _pieces)
            {
                yield return ($"{(piece.IsMatrix ? "exp_avg_sq_row" : "exp_avg_sq")}.{piece.Name}", rows.Detach());
                if (columns is not null)
                    yield return ($"exp_avg_sq_col.{piece.Name}", columns.Detach());
            }
        }
    }

    protected override void Update(double rate, double gradientScale)
    {
        _parameters.SettleGradients();
        foreach (var (piece, rows, columns) in _pieces)
        {
            using var scope = TensorScope.Enter();
            var step = _step with
            {
                Rate = rate * piece.Bucket.RateFactor,
                Step = Updates,
                WeightDecay = piece.Bucket.Decays ? _step.WeightDecay : 0,
            };
            var (values, gradients) = (piece.Of(piece.Bucket.Values), piece.Of(piece.Bucket.OwnGradients!));
            DeviceKernels.Of(values).AdafactorStep(step, values, gradients, rows, columns, gradientScale);
        }
        _parameters.RefreshCompute();
    }

    public override void Dispose() => _store.Dispose();

    private sealed record Piece(ParameterPiece Published, Tensor Rows, Tensor? Columns);
}
