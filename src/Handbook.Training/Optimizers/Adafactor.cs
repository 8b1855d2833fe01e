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
    private readonly List<Piece> _pieces = [];

    /// <param name="parameters">What to train, in float32.</param>
    /// <param name="step">The numbers that stay the same; the rate and λ are set in every step.</param>
    /// <param name="decay">λ of the buckets with weight decay; the others get 0.</param>
    public Adafactor(ModelParameters parameters, AdafactorStep step, double decay)
    {
        if (parameters.Plan.Residual != DType.Float32)
            throw new ArgumentException($"Adafactor computes in float32, not {parameters.Plan.Residual}", nameof(parameters));
        (_parameters, _step) = (parameters, step with { WeightDecay = decay });
        foreach (var bucket in parameters.Trained)
            foreach (var (parameter, offset) in bucket.Parameters)
            {
                var spec = parameters.Spec(parameter.Name);
                var width = spec.Shape.Count > 1 ? (int)spec.Shape[^1] : 0;
                // A slice of a published matrix (GPT-2's query of its c_attn) stands for itself: its columns' means are its own.
                foreach (var (name, start, rows) in spec.Pieces)
                    _pieces.Add(new(bucket, offset + start * Math.Max(1, width), checked((int)rows), width,
                        (width == 0 ? "exp_avg_sq." : "exp_avg_sq_row.") + name, Zeros(rows),
                        "exp_avg_sq_col." + name, width == 0 ? null : Zeros(width)));
            }
    }

    public override string Description =>
        $"Adafactor (epsilons {_step.Epsilon}, {_step.ParameterEpsilon}; clip threshold {_step.ClipThreshold}; "
        + $"decay rate {_step.DecayRate}; scale parameter {(_step.ScaleParameter ? "true" : "false")}; weight decay {_step.WeightDecay})";

    public override IEnumerable<(string Name, Tensor Value)> State
    {
        get
        {
            foreach (var piece in _pieces)
            {
                yield return (piece.RowName, piece.RowState);
                if (piece.ColumnState is { } columns)
                    yield return (piece.ColumnName, columns);
            }
        }
    }

    protected override void Update(double rate, double gradientScale)
    {
        _parameters.SettleGradients();
        foreach (var piece in _pieces)
        {
            using var scope = TensorScope.Enter();
            var step = _step with
            {
                Rate = rate * piece.Bucket.RateFactor,
                Step = Updates,
                WeightDecay = piece.Bucket.Decays ? _step.WeightDecay : 0,
            };
            var (values, gradients) = (piece.Of(piece.Bucket.Values), piece.Of(piece.Bucket.Gradients!));
            DeviceKernels.Of(values).AdafactorStep(step, values, gradients, piece.RowState, piece.ColumnState, gradientScale);
        }
        _parameters.RefreshCompute();
    }

    private static Tensor Zeros(long count)
    {
        using var scope = TensorScope.Enter();
        return TensorScope.Detach(Tensor.Zeros(DType.Float32, count));
    }

    public override void Dispose()
    {
        foreach (var (_, state) in State)
            state.Dispose();
    }

    private sealed record Piece(ParameterBucket Bucket, long Offset, int Rows, int Width, string RowName, Tensor RowState,
        string ColumnName, Tensor? ColumnState)
    {
        /// <summary>This piece of a bucket's tensor; [rows, width], or [rows] where it is a vector.</summary>
        public Tensor Of(Tensor bucket) =>
            Width == 0 ? bucket.Narrow(0, Offset, Rows) : bucket.Narrow(0, Offset, (long)Rows * Width).View(Rows, Width);
    }
}
