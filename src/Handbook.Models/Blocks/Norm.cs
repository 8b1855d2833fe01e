using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Models.Blocks;

/// <summary>A norm of the residual stream, with the addition that precedes it; or one of heads.</summary>
/// <remarks>
/// <code>
/// h' = h + delta
/// RMS norm:    y = h' / √(mean h'² + ε) · w                         Zhang and Sennrich 2019, arXiv:1910.07467
/// layer norm:  y = (h' − mean h') / √(variance h' + ε) · w + b      Ba et al. 2016, arXiv:1607.06450
/// </code>
/// </remarks>
/// <param name="turns">Weights that the rows take in turn, where rows are heads of tokens and each head has its own.</param>
/// <param name="epsilon">ε; null for the model's.</param>
internal sealed class Norm(DecoderConfig config, ModelParameters parameters, string path, int turns = 1,
    double? epsilon = null)
{
    private readonly Parameter _weight = parameters[path + ".weight"];
    private readonly Parameter? _bias = parameters.Find(path + ".bias");
    private readonly double _epsilon = epsilon ?? config.NormEpsilon;

    /// <param name="residual">h, [N, D].</param>
    /// <param name="delta">What the previous block adds, [N, D]; null for nothing.</param>
    /// <param name="output">Element type of y.</param>
    /// <returns>h' and y; each [N, D].</returns>
    public (Tensor Residual, Tensor Output) Forward(Tensor residual, Tensor? delta, DType output) => config.Norm switch
    {
        NormKind.RmsNorm => AddNorm.Rms(residual, delta, _weight, _epsilon, output, (int)config.NormWeightOffset, turns),
        _ => AddNorm.Layer(residual, delta, _weight, _bias, _epsilon, output, (int)config.NormWeightOffset, turns),
    };
}
