using Handbook.Base.Keys;

namespace Handbook.Training.Methods.Sft;

/// <summary>The values of <c>loss_type</c> in an SFT recipe.</summary>
internal enum SftLossType
{
    /// <summary>The mean negative log-likelihood of the tokens that carry loss; <c>chunked_nll</c> is another name, since it is never
    /// computed otherwise.</summary>
    [Spelled("nll", "chunked_nll")] Nll,
    /// <summary>DFT: each token's loss weighed by the probability that the model gives it, so that unlikely tokens pull less
    /// (arXiv:2508.05629).</summary>
    [Spelled("dft")] Dft,
}
