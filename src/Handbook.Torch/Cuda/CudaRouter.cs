using Handbook.Torch.Fused;

namespace Handbook.Torch.Cuda;

/// <summary>Launches of <c>router.cu</c>: the choice of experts, how it spreads over them, and its gradient.</summary>
/// <remarks>What the parameters mean is said at <see cref="RouterRule"/> and <see cref="Kernels.RouterKernel"/>.</remarks>
internal static unsafe class CudaRouter
{
    /// <summary>The most experts: a thread of a warp marks its own in one number.</summary>
    public const int MostExperts = 1024;

    /// <summary>The most experts of a token: a thread of a warp has one.</summary>
    public const int MostChosen = WarpSize;

    private const string Program = "router";
    private const int WarpSize = 32, TallyThreads = 128, PieceTokens = 64;

    /// <summary>Pieces of the tokens, whose sums are taken apart, as on the CPU.</summary>
    public static long Pieces(long tokens) => CudaGrid.Blocks(tokens, PieceTokens);

    /// <param name="correction">[experts]; null for none.</param>
    /// <param name="weights">[tokens, K]; written, as the two that follow.</param>
    /// <param name="chosen">[tokens, K].</param>
    /// <param name="shares">What each expert is likely by, [tokens, experts]; null for nowhere.</param>
    public static CudaLaunch Forward(float* logits, float* correction, float* weights, int* chosen, double* shares, long tokens, int experts,
        RouterRule rule) =>
        new(CudaProgram.Of<float>(Program), "router_forward", new(tokens), WarpSize,
            [logits, correction, weights, chosen, shares, experts, Few(rule), rule.Groups, rule.GroupsPerToken, rule.Normalizes ? 1 : 0,
                rule.IsSigmoid ? 1 : 0, rule.Scale], sizeof(double) * (2 * Few(experts) + rule.Groups));

    /// <param name="tokenWeights">[tokens].</param>
    /// <param name="parts">[pieces, 2, experts]: what visits each expert, and Σ of its shares.</param>
    public static CudaLaunch Tally(int* chosen, double* shares, float* tokenWeights, double* parts, long tokens, int experts, int perToken) =>
        new(CudaProgram.Of<float>(Program), "router_tally", new(Pieces(tokens), CudaGrid.Blocks(experts, TallyThreads)), TallyThreads,
            [chosen, shares, tokenWeights, parts, tokens, experts, perToken]);

    /// <param name="slopes">By the weights, [tokens, K]; null where none arrived.</param>
    /// <param name="spread">By the tally's likelihoods, [experts]; null where none arrived.</param>
    /// <param name="counts">How much each token counts there, [tokens].</param>
    /// <param name="gradient">[tokens, experts]; written.</param>
    public static CudaLaunch Backward(float* logits, int* chosen, float* slopes, double* spread, float* counts, float* gradient, long tokens,
        int experts, RouterRule rule) =>
        new(CudaProgram.Of<float>(Program), "router_backward", new(tokens), WarpSize,
            [logits, chosen, slopes, spread, counts, gradient, experts, rule.PerToken, rule.Normalizes ? 1 : 0, rule.IsSigmoid ? 1 : 0,
                rule.Scale], sizeof(double) * 3 * Few(experts));

    private static int Few(RouterRule rule) => rule.PerToken <= MostChosen ? rule.PerToken
        : throw new NotSupportedException($"a router to {rule.PerToken} experts a token; its kernel on a GPU takes up to {MostChosen}");

    private static int Few(int experts) => experts <= MostExperts ? experts
        : throw new NotSupportedException($"a router over {experts} experts; its kernel on a GPU takes up to {MostExperts}");
}
