using Handbook.Models;
using Handbook.Torch;

namespace Handbook.Training.Optimizers;

/// <summary>APOLLO: gradients scaled by what Adam makes of their random projection. Zhu et al. 2024, arXiv:2412.05270,
/// algorithm 1.</summary>
/// <remarks>
/// <code>
/// every gap steps: P = random, 𝒩(0, 1/rank);   low = G·Pᵀ, or P·G where G is wider than tall
/// s = ‖Adam(low)‖ / ‖low‖, by row or column of the longer side, or of the whole matrix
/// U = s·G, cut to 1.01 times the last norm of U;   p ← p·(1 − η·λ) − η·√α·U
/// </code>
/// The random numbers are this program's own: runs agree with the authors' package in distribution, not number by number.
/// </remarks>
internal sealed class Apollo(ModelParameters parameters, LowRankOptions options, ApolloOptions apollo, double beta1, double beta2,
    double epsilon, double decay, Func<ParameterPiece, bool> isTarget, Func<Func<ParameterPiece, bool>, AdamW> rest)
    : LowRankOptimizer(parameters, options, beta1, beta2, epsilon, decay, isTarget, rest)
{
    private const double Growth = 1.01, Smallest = 1e-8;

    private readonly Dictionary<string, Tensor> _norms = [];

    public override string Description => $"APOLLO AdamW ({(apollo.Singular ? "singular vectors" : "random projections")}; by "
        + $"{(apollo.ByMatrix ? "tensor" : "channel")}; {Common}";

    public override IEnumerable<(string Name, Tensor Value)> State =>
        base.State.Concat(Targets.Select(piece => ($"update_norm.{piece.Name}", Norm(piece).Detach())));

    protected override void Renew(ParameterPiece piece, GradientProjection projection, Tensor gradient)
    {
        if (apollo.Singular)
        {
            projection.TakeLargest(gradient);
            return;
        }
        projection.Take(side =>
        {
            var numbers = new float[side.Count];
            new NormalNumbers(apollo.Seed, $"apollo {piece.Name} {Updates}").Fill(0, numbers, 1 / Math.Sqrt(projection.Rank));
            side.CopyFrom(Tensor.From(numbers, side.Shape));
        });
    }

    protected override Tensor Direction(ParameterPiece piece, GradientProjection projection, Tensor gradient, Tensor low, Tensor step,
        double correction)
    {
        var along = piece.Rows < piece.Width ? 0 : 1;       // the side that was projected
        var scale = Length(step) / ((Length(low) + Smallest) * correction);
        var update = gradient * scale;
        var norm = Math.Sqrt((update * update).Sum().ToScalar());
        var last = Norm(piece).AsSpan<double>();
        if (last[0] > 0)
        {
            var limit = Math.Max(norm / (last[0] + Smallest), Growth) / Growth;
            update = update * (1 / limit);
            norm /= limit;
        }
        last[0] = norm;
        return update * (-Math.Sqrt(Options.Scale) * correction);

        Tensor Length(Tensor x) => (apollo.ByMatrix ? (x * x).Sum() : (x * x).Sum(along, keepDim: true)).Pow(0.5);
    }

    private Tensor Norm(ParameterPiece piece)
    {
        if (!_norms.TryGetValue(piece.Name, out var norm))
            _norms[piece.Name] = norm = Store.Zeros(DType.Float64, 1);
        return norm;
    }
}

/// <summary>What APOLLO has besides the numbers that it shares with GaLore.</summary>
/// <param name="Singular">Project on singular vectors, <c>proj=svd</c>.</param>
/// <param name="ByMatrix">One factor for a whole matrix, <c>scale_type=tensor</c>.</param>
/// <param name="Seed">Seed of the random projections.</param>
internal sealed record ApolloOptions(bool Singular, bool ByMatrix, long Seed);
