using Handbook.Base;
using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Models.Generation;

/// <summary>How well a model predicts a text.</summary>
/// <remarks><code>perplexity = exp( − mean log p(token | those before it in its window) )</code></remarks>
/// <param name="Value">At least 1; the number of tokens among which the model hesitates.</param>
/// <param name="Tokens">How many tokens were predicted.</param>
internal readonly record struct TextPerplexity(double Value, long Tokens)
{
    /// <param name="text">It is cut into windows; the first token of each is not predicted.</param>
    /// <param name="window">Tokens of a window, at least 2.</param>
    /// <param name="done">Told how many tokens of a window are done.</param>
    /// <param name="cancel">Stops between windows with an <see cref="OperationCanceledException"/>.</param>
    /// <exception cref="InputException">The text has fewer than two tokens.</exception>
    public static TextPerplexity Of(LanguageModel model, string text, int window, Action<int>? done = null,
        CancellationToken cancel = default)
    {
        var ids = model.EncodeText(text);
        if (ids.Length < 2)
            throw new InputException($"the text has {ids.Length} tokens, and the first of a text is not predicted", fix: "name a longer one");
        var (sum, count) = (0.0, 0L);
        for (var start = 0; start + 1 < ids.Length; start += window)
        {
            cancel.ThrowIfCancellationRequested();
            var tokens = ids[start..Math.Min(ids.Length, start + window)];
            sum += LogProbOf(model.Network, tokens);
            count += tokens.Length - 1;
            done?.Invoke(tokens.Length);
        }
        return new(Math.Exp(-sum / count), count);
    }

    private static double LogProbOf(Decoder network, int[] tokens)
    {
        if (tokens.Length < 2)
            return 0;
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var hidden = network.Hidden(StreamLayout.Of([tokens]));
        return LinearLogProb.LogProbs(hidden.Narrow(0, 0, tokens.Length - 1), network.Head, new Mirrored<int>(tokens[1..]), network.HeadOptions)
            .ToArray<double>().Sum();
    }
}
