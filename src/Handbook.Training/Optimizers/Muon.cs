using Handbook.Models;
using Handbook.Torch;

namespace Handbook.Training.Optimizers;

/// <summary>Muon as in torch: the momentum of a matrix, made orthogonal. Jordan et al. 2024; Liu et al. 2025, arXiv:2502.16982.</summary>
/// <remarks>
/// <code>
/// m ← μ·m + (1−μ)·g;   u = m, or (1−μ)·g + μ·m with Nesterov
/// X₀ = u / max(‖u‖, 1e-7), turned so that it is not taller than wide;   k times: A = X·Xᵀ,  X ← a·X + (b·A + c·A²)·X
/// p ← p·(1 − η·λ) − η·s·X;   s = √max(1, rows/columns), or 0.2·√max(rows, columns) to match the size of AdamW's steps
/// </code>
/// It is for the matrices between embedding and head (torch.optim.Muon takes matrices alone and says to leave embeddings, head and vectors
/// to AdamW); all else gets AdamW with the same rate, as in the trainers that offer the name. torch iterates in bfloat16, this in the
/// precision of the masters.
/// </remarks>
internal sealed class Muon : Optimizer
{
    private const double A = 3.4445, B = -4.7750, C = 2.0315;      // torch's coefficients: a steep start, values of about 0.7 to 1.2
    private const double Smallest = 1e-7;

    private readonly ModelParameters _parameters;
    private readonly MuonOptions _options;
    private readonly double _decay;
    private readonly StateStore _store;
    private readonly List<(ParameterPiece Piece, Tensor Momentum)> _matrices = [];
    private readonly AdamW _rest;

    /// <param name="rest">AdamW for what is no hidden matrix, made of the pieces that it is given.</param>
    public Muon(ModelParameters parameters, MuonOptions options, double decay, Func<Func<ParameterPiece, bool>, AdamW> rest)
    {
        (_parameters, _options, _decay, _store) = (parameters, options, decay, new(null, parameters.Plan.Device));
        foreach (var piece in ParameterPiece.Trained(parameters).Where(piece => piece.IsHidden))
            _matrices.Add((piece, _store.Zeros(piece.Bucket.Values.DType, piece.Count)));
        _rest = rest(piece => !piece.IsHidden);
    }

    public override string Description => $"Muon (momentum {_options.Momentum}{(_options.Nesterov ? ", Nesterov" : "")}; {_options.Steps} "
        + $"iterations; rate {(_options.MatchesAdamW ? "match_rms_adamw" : "original")}; weight decay {_decay}), and beside the hidden "
        + $"matrices {_rest.Description}";

    public override IEnumerable<(string Name, Tensor Value)> State =>
        _matrices.Select(m => ($"momentum_buffer.{m.Piece.Name}", (m.Piece with { Offset = 0 }).Of(m.Momentum))).Concat(_rest.State);

    protected override void Update(double rate, double gradientScale)
    {
        _parameters.SettleGradients();
        using var mode = GradMode.Disabled();
        foreach (var (piece, momentum) in _matrices)
        {
            using var scope = TensorScope.Enter();
            var gradient = piece.Of(piece.Bucket.OwnGradients!) * gradientScale;
            var mean = (piece with { Offset = 0 }).Of(momentum);
            mean.MulInPlace(_options.Momentum);
            mean.AddInPlace(gradient, 1 - _options.Momentum);
            var update = mean;
            if (_options.Nesterov)
            {
                update = gradient * (1 - _options.Momentum);
                update.AddInPlace(mean, _options.Momentum);
            }
            var (values, eta) = (piece.Of(piece.Bucket.Values), rate * piece.Bucket.RateFactor);
            values.MulInPlace(1 - eta * (piece.Bucket.Decays ? _decay : 0));
            values.AddInPlace(Orthogonal(update, _options.Steps), -eta * Factor(piece));
            piece.Refresh();
        }
        _rest.Updates = Updates - 1;
        _rest.Step(rate, gradientScale);
    }

    private double Factor(ParameterPiece piece) => _options.MatchesAdamW ? 0.2 * Math.Sqrt(Math.Max(piece.Rows, piece.Width))
        : Math.Sqrt(Math.Max(1, (double)piece.Rows / piece.Width));

    /// <summary>U·Vᵀ of a matrix U·Σ·Vᵀ, nearly: Newton and Schulz's iteration.</summary>
    private static Tensor Orthogonal(Tensor matrix, int steps)
    {
        var tall = matrix.Size(0) > matrix.Size(1);
        var x = (tall ? matrix.T() : matrix) * (1 / Math.Max(Math.Sqrt((matrix * matrix).Sum().ToScalar()), Smallest));
        for (var step = 0; step < steps; step++)
        {
            var gram = x.Mm(x.T());
            var polynomial = gram * B;
            polynomial.AddMmInPlace(gram * C, gram);
            var next = x * A;
            next.AddMmInPlace(polynomial, x);
            x = next;
        }
        return tall ? x.T() : x;
    }

    public override void Dispose()
    {
        _store.Dispose();
        _rest.Dispose();
    }
}

/// <summary>The numbers of Muon; the defaults are torch's.</summary>
/// <param name="Momentum">μ.</param>
/// <param name="Nesterov">Look ahead.</param>
/// <param name="Steps">k, iterations.</param>
/// <param name="MatchesAdamW">The factor on the rate that gives steps of AdamW's size, <c>match_rms_adamw</c>.</param>
internal sealed record MuonOptions(double Momentum = 0.95, bool Nesterov = true, int Steps = 5, bool MatchesAdamW = false);
