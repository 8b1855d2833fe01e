namespace Handbook.Torch.Cuda;

/// <summary>Launches of <c>sampling.cu</c>: the next token of each row of logits.</summary>
internal static unsafe class CudaSampling
{
    private const string Program = "sampling";
    private const int Threads = 512;

    /// <summary>Draws as the sampler of the CPU does, one row by itself; penalties, biases and constraints are in the logits.</summary>
    /// <param name="logits">[rows, V], rows <paramref name="stride"/> apart.</param>
    /// <param name="weights">To work in; [rows, V].</param>
    /// <param name="states">Of SplitMix64, one for each row; they go on by one where there is a draw.</param>
    /// <param name="temperatures">0 takes the likeliest; [rows], as the options that follow.</param>
    /// <param name="topK">0 for all.</param>
    /// <param name="topP">1 for all.</param>
    /// <param name="minP">0 for all.</param>
    /// <param name="tokens">[rows]; −1 where the logits are no numbers.</param>
    /// <param name="logProbs">Of the tokens under the model itself; [rows].</param>
    public static CudaLaunch Draw(float* logits, long stride, int vocabulary, float* weights, ulong* states, float* temperatures, int* topK,
        double* topP, float* minP, int* tokens, double* logProbs, long rows) =>
        new(CudaProgram.Of<float>(Program), "draw_tokens", new(rows), Threads,
            [logits, stride, vocabulary, weights, states, temperatures, topK, topP, minP, tokens, logProbs]);
}
