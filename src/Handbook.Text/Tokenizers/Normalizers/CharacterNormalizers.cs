using Handbook.Text.Tokenizers.PreTokenizers;
using Handbook.Text.Tokenizers.Unicode;

namespace Handbook.Text.Tokenizers.Normalizers;

/// <summary>Lower case, code point by code point.</summary>
internal sealed class LowercaseNormalizer : Normalizer
{
    public override TextBuffer Apply(TextBuffer text, TextBuffer spare)
    {
        spare.BeginFrom(text);
        for (var i = 0; i < text.Count; i++)
        {
            var point = text.Points[i];
            // İ is the only one whose lower case is two code points.
            spare.AppendAligned(point == 0x130 ? 'i' : Lower(point), text, i);
            if (point == 0x130)
                spare.AppendAligned(0x307, text, i);
        }
        return spare;
    }

    private static int Lower(int point) => point < 0x80 ? point is >= 'A' and <= 'Z' ? point + 32 : point : UnicodeTables.Lower(point);
}

/// <summary>Removes white space at the ends.</summary>
internal sealed class StripNormalizer(bool left, bool right) : Normalizer
{
    public override TextBuffer Apply(TextBuffer text, TextBuffer spare)
    {
        int start = 0, end = text.Count;
        while (left && start < end && Properties.IsWhiteSpace(text.Points[start]))
            start++;
        while (right && end > start && Properties.IsWhiteSpace(text.Points[end - 1]))
            end--;
        if (end - start == text.Count)
            return text;
        spare.BeginFrom(text);
        spare.Append(text, start, end);
        return spare;
    }
}

/// <summary>Keeps the code points that a predicate accepts.</summary>
internal sealed class FilterNormalizer(Func<int, bool> keep) : Normalizer
{
    /// <summary>Removes combining marks.</summary>
    public static FilterNormalizer StripAccents { get; } = new(point => !Properties.IsMark(point));

    public override TextBuffer Apply(TextBuffer text, TextBuffer spare)
    {
        spare.BeginFrom(text);
        for (var i = 0; i < text.Count; i++)
            if (keep(text.Points[i]))
                spare.AppendAligned(text.Points[i], text, i);
        return spare;
    }
}

/// <summary>Puts a text in front, unless there is none to put it before.</summary>
internal sealed class PrependNormalizer(string prepend) : Normalizer
{
    private readonly int[] _prepend = CodePoints.Of(prepend);

    public override TextBuffer Apply(TextBuffer text, TextBuffer spare)
    {
        if (text.Count == 0)
            return text;
        spare.BeginFrom(text);
        foreach (var point in _prepend)
            spare.AppendAligned(point, text, 0);
        spare.Append(text, 0, text.Count);
        return spare;
    }
}

/// <summary>Replaces every match of a pattern.</summary>
internal sealed class ReplaceNormalizer(IMatcher pattern, string content) : Normalizer
{
    private readonly int[] _content = CodePoints.Of(content);

    public override TextBuffer Apply(TextBuffer text, TextBuffer spare)
    {
        var ranges = new List<(int Start, int End, bool Match)>();
        pattern.FindAll(text.Text, ranges);
        if (!ranges.Exists(range => range.Match))
            return text;
        spare.BeginFrom(text);
        foreach (var (start, end, match) in ranges)
            if (match)
                foreach (var point in _content)
                    spare.AppendAligned(point, text, end - 1);      // the reference aligns a replacement with the last thing it replaces
            else
                spare.Append(text, start, end);
        return spare;
    }
}

/// <summary>Replaces one code point by another: what <c>Replace</c> is in nearly every file.</summary>
internal sealed class ReplacePointNormalizer(int from, int to) : Normalizer
{
    public override TextBuffer Apply(TextBuffer text, TextBuffer spare)
    {
        text.Points.AsSpan(0, text.Count).Replace(from, to);
        return text;
    }
}

/// <summary>The clean-up of neural machine translation: control characters go, kinds of white space become a space.</summary>
internal sealed class NmtNormalizer : Normalizer
{
    public override TextBuffer Apply(TextBuffer text, TextBuffer spare)
    {
        spare.BeginFrom(text);
        for (var i = 0; i < text.Count; i++)
        {
            var point = text.Points[i];
            if (point is (>= 1 and <= 8) or 0xB or (>= 0xE and <= 0x1F) or 0x7F or 0x8F or 0x9F)
                continue;
            var space = point is 9 or 0xA or 0xC or 0xD or 0x1680 or (>= 0x200B and
                <= 0x200F) or 0x2028 or 0x2029 or 0x2581 or 0xFEFF or 0xFFFD;
            spare.AppendAligned(space ? ' ' : point, text, i);
        }
        return spare;
    }
}

/// <summary>Writes each byte as a printable character.</summary>
internal sealed class ByteLevelNormalizer : Normalizer
{
    public override TextBuffer Apply(TextBuffer text, TextBuffer spare)
    {
        spare.BeginFrom(text);
        ByteAlphabet.Append(text, 0, text.Count, spare);
        return spare;
    }
}
