
namespace Handbook.Text.Tokenizers.PreTokenizers;

internal enum PrependScheme
{
    Always,
    /// <summary>Only before the piece at the beginning of the text.</summary>
    First,
    Never,
}

/// <summary>Sentencepiece's way with spaces: each becomes ▁, one may be put in front, and words are cut before it.</summary>
internal sealed class Metaspace(int replacement, PrependScheme scheme, bool split) : PreTokenizer
{
    private readonly PointMatcher _matcher = new(point => point == replacement);

    public override bool NeedsPlaces => scheme == PrependScheme.First;

    public override void Apply(PieceList pieces)
    {
        pieces.Rewrite((from, start, end, to) =>
        {
            var first = from.Points[start] == ' ' ? replacement : from.Points[start];
            if (first != replacement && (scheme == PrependScheme.Always || (scheme == PrependScheme.First && from.Starts[start] == 0)))
                to.AppendAligned(replacement, from, start);
            var at = to.Count;
            to.Append(from, start, end);
            to.Points.AsSpan(at, end - start).Replace(' ', replacement);
        });
        if (split)
            pieces.Split(_matcher, SplitBehavior.MergedWithNext, invert: false);
    }
}
