namespace Handbook.Text.Tokenizers;

/// <summary>Where a prompt ends in the tokens of a whole text: after as many as the prompt has by itself.</summary>
/// <remarks>
/// A tokenizer may join the prompt's last characters with the answer's first. The reference trainers encode the prompt alone and count its
/// tokens; so a token that holds both belongs to the prompt where the prompt alone has as many tokens, and
/// to the answer where it has fewer.
/// </remarks>
internal static class PromptBorder
{
    /// <param name="alone">The prompt's tokens by itself.</param>
    /// <param name="whole">The tokens of prompt and answer as one text.</param>
    /// <param name="isJoined">Whether the whole does not begin with the prompt's own tokens.</param>
    /// <returns>How many tokens of the whole are the prompt's.</returns>
    public static int Of(ReadOnlySpan<int> alone, ReadOnlySpan<int> whole, out bool isJoined)
    {
        isJoined = !whole.StartsWith(alone);
        return Math.Min(alone.Length, whole.Length);
    }
}
