namespace Handbook.Text.Templates;

/// <summary>Spans of text → a byte per token.</summary>
internal static class TokenMask
{
    /// <summary>The reference's rule for generation blocks: from the token that holds a span's first character up to the
    /// one that holds its last.</summary>
    /// <remarks>
    /// Where several tokens share one character (a letter outside the vocabulary, spelt in bytes), the first of them counts as its holder.
    /// A span whose first character no token holds ends the marking: the text was cut before it.
    /// </remarks>
    public static byte[] FromGenerationSpans((int Start, int End)[] offsets, IReadOnlyList<(int Start, int End)> spans)
    {
        var mask = new byte[offsets.Length];
        foreach (var (start, end) in spans)
        {
            var first = Holder(offsets, start);
            if (first < 0)
                break;
            var last = Holder(offsets, end - 1);
            for (var i = first; i <= (last < 0 ? mask.Length - 1 : last); i++)
                mask[i] = 1;
        }
        return mask;
    }

    /// <summary>Every token that covers at least one character of a span.</summary>
    public static byte[] FromSpans((int Start, int End)[] offsets, IReadOnlyList<(int Start, int End)> spans)
    {
        var mask = new byte[offsets.Length];
        var at = 0;
        for (var i = 0; i < offsets.Length && at < spans.Count; i++)
        {
            var (start, end) = offsets[i];
            while (at < spans.Count && spans[at].End <= start)
                at++;
            if (at < spans.Count && end > spans[at].Start && end > start)
                mask[i] = 1;
        }
        return mask;
    }

    private static int Holder((int Start, int End)[] offsets, int character)
    {
        for (var i = 0; i < offsets.Length; i++)
            if (offsets[i].Start <= character && character < offsets[i].End)
                return i;
        return -1;
    }
}
