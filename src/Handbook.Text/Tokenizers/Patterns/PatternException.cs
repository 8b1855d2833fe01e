namespace Handbook.Text.Tokenizers.Patterns;

/// <summary>A mistake in a regular expression.</summary>
/// <param name="position">Index of the code point, from 0.</param>
internal sealed class PatternException(string reason, int position) : Exception(reason)
{
    public int Position { get; } = position;
}
