using Handbook.Torch;

namespace Handbook.Runs;

/// <summary>How far a merged model is from the model with the adapter, on probe texts.</summary>
/// <param name="Largest">The largest difference of a token's log-probability, in nats; of a reward model, of a text's score.</param>
/// <param name="Mean">The mean of the differences' sizes.</param>
/// <param name="Count">Tokens, or texts, that were compared.</param>
public sealed record MergeDrift(double Largest, double Mean, int Count)
{
    /// <summary>The largest difference that is let pass where nobody says another: what rounding the merged weights explains.</summary>
    /// <remarks>
    /// A weight is rounded by up to 2⁻²⁴ of itself in float32, 2⁻¹¹ in float16 and 2⁻⁸ in bfloat16. Measured: an untaught model with large
    /// weights is off by up to 1.4e-5 in float32 and 0.25 in bfloat16; TinyStories-656K, with all its layers adapted, by 0.05 in bfloat16,
    /// the mean being 0.009.
    /// </remarks>
    public static double Allowed(DType dtype) => dtype switch
    {
        DType.BFloat16 => 0.5,
        DType.Float16 => 0.1,
        _ => 0.005,
    };

    /// <param name="before">Of the model with the adapter.</param>
    /// <param name="after">Of the merged model, in the same order.</param>
    internal static MergeDrift Between(IReadOnlyList<double> before, IReadOnlyList<double> after)
    {
        // A number that is none is the largest difference there is: it must not pass.
        double[] sizes = [.. before.Zip(after, (a, b) => double.IsNaN(a - b) ? double.PositiveInfinity : Math.Abs(a - b))];
        return new(sizes.Max(), sizes.Average(), sizes.Length);
    }
}
