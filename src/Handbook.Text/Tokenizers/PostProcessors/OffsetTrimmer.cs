using Handbook.Text.Tokenizers.PreTokenizers;
using Handbook.Text.Tokenizers.Unicode;

namespace Handbook.Text.Tokenizers.PostProcessors;

/// <summary>Takes the white space at both ends of a token out of its offsets.</summary>
internal static class OffsetTrimmer
{
    public static void Trim(EncodedPart part, bool addPrefixSpace)
    {
        for (var i = 0; i < part.Ids.Count; i++)
        {
            var points = CodePoints.Of(part.Tokens[i]);
            var leading = points.TakeWhile(IsSpace).Count();
            var trailing = points.Reverse().TakeWhile(IsSpace).Count();
            var (start, end) = part.Offsets[i];
            if (leading > 0)
            {
                // A prefix space that was added stands for nothing in the text; more than one is the text's own.
                if (addPrefixSpace && (i == 0 || start == 0))
                    leading--;
                start = Math.Min(start + leading, end);
            }
            if (trailing > 0 && end >= trailing)
                end = Math.Max(end - trailing, start);
            part.Offsets[i] = (start, end);
        }
    }

    private static bool IsSpace(int point) => point == ByteAlphabet.PointOf((byte)' ') || Properties.IsWhiteSpace(point);
}

/// <summary><c>ByteLevel</c> as post-processor: corrects offsets, adds nothing.</summary>
internal sealed class ByteLevelProcessor(bool trimOffsets, bool addPrefixSpace) : PostProcessor
{
    public override (int[] Before, int[] After) Frame => ([], []);

    public override List<EncodedPart> Process(List<EncodedPart> parts, bool addSpecialTokens)
    {
        if (trimOffsets)
            parts.ForEach(part => OffsetTrimmer.Trim(part, addPrefixSpace));
        return parts;
    }
}

/// <summary><c>[CLS] A [SEP] B [SEP]</c>.</summary>
internal sealed class BertProcessor((string Token, int Id) cls, (string Token, int Id) sep) : PostProcessor
{
    public override (int[] Before, int[] After) Frame => ([cls.Id], [sep.Id]);

    public override List<EncodedPart> Process(List<EncodedPart> parts, bool addSpecialTokens)
    {
        if (!addSpecialTokens)
            return parts;
        var result = new List<EncodedPart>();
        for (var i = 0; i < parts.Count; i++)
        {
            var part = EncodedPart.Empty();
            if (i == 0)
                part.AddSpecial(cls.Id, cls.Token, 0);
            part.Add(parts[i]);
            part.AddSpecial(sep.Id, sep.Token, i == 0 ? 0 : 1);
            result.Add(part);
        }
        return result;
    }
}

/// <summary><c>&lt;s&gt; A &lt;/s&gt; &lt;/s&gt; B &lt;/s&gt;</c>, every type 0.</summary>
internal sealed class RobertaProcessor((string Token, int Id) cls, (string Token, int Id) sep, bool trimOffsets, bool addPrefixSpace)
    : PostProcessor
{
    public override (int[] Before, int[] After) Frame => ([cls.Id], [sep.Id]);

    public override List<EncodedPart> Process(List<EncodedPart> parts, bool addSpecialTokens)
    {
        foreach (var part in parts)
        {
            if (trimOffsets)
                OffsetTrimmer.Trim(part, addPrefixSpace);
            part.SetType(0);
        }
        if (!addSpecialTokens)
            return parts;
        var result = new List<EncodedPart>();
        for (var i = 0; i < parts.Count; i++)
        {
            var part = EncodedPart.Empty();
            part.AddSpecial(i == 0 ? cls.Id : sep.Id, i == 0 ? cls.Token : sep.Token, 0);
            part.Add(parts[i]);
            part.AddSpecial(sep.Id, sep.Token, 0);
            result.Add(part);
        }
        return result;
    }
}

/// <summary>Post-processors one after the other.</summary>
internal sealed class SequenceProcessor(PostProcessor[] steps) : PostProcessor
{
    /// <summary>An id that no token has, in the place of a text.</summary>
    private const int Text = -1;

    /// <remarks>Found by trying: a step takes each piece that an earlier one made for a text of its own, as the reference does.</remarks>
    public override (int[] Before, int[] After) Frame
    {
        get
        {
            var part = EncodedPart.Empty();
            part.AddSpecial(Text, "", 0);
            int[] ids = [.. Process([part], addSpecialTokens: true).SelectMany(step => step.Ids)];
            var place = Array.IndexOf(ids, Text);
            return place < 0 ? (ids, []) : (ids[..place], ids[(place + 1)..]);
        }
    }

    public override List<EncodedPart> Process(List<EncodedPart> parts, bool addSpecialTokens)
    {
        foreach (var step in steps)
            parts = step.Process(parts, addSpecialTokens);
        return parts;
    }
}
