using Handbook.Text.Tokenizers.Patterns;

namespace Handbook.Text.Tokenizers.PreTokenizers;

/// <summary>GPT-2's pieces, each byte written as a printable character.</summary>
internal sealed class ByteLevel(bool addPrefixSpace, bool useRegex) : PreTokenizer
{
    public override void Apply(PieceList pieces)
    {
        if (addPrefixSpace)
            pieces.Rewrite(Prefix);
        if (useRegex)
            pieces.Split(SplitScanner.Gpt2, SplitBehavior.Isolated, invert: false);
        pieces.Rewrite(ByteAlphabet.Append);
    }

    private static void Prefix(TextBuffer from, int start, int end, TextBuffer to)
    {
        if (start < end && from.Points[start] != ' ')
            to.AppendAligned(' ', from, start);
        to.Append(from, start, end);
    }
}
