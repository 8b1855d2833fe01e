namespace Handbook.Text.Tokenizers;

/// <summary>Ids of a text, and for each id the half-open range of Unicode code points of the original text that it covers.</summary>
/// <param name="Offsets">(0, 0) for tokens that the post-processor added.</param>
public readonly record struct Encoding(int[] Ids, (int Start, int End)[] Offsets);
