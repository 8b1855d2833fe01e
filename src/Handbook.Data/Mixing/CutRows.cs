namespace Handbook.Data.Mixing;

/// <summary>Rows of one part, each cut to a length.</summary>
internal sealed class CutRows(ITokenRows rows, int longest, bool cutsLeft) : ITokenRows
{
    public int Count => rows.Count;

    public int Length(int row) => Math.Min(rows.Length(row), longest);

    public int Characters(int row) => rows.Characters(row);

    public TokenRow Read(int row)
    {
        var whole = rows.Read(row);
        if (whole.TokenCount <= longest)
            return whole;
        var segment = whole.Segments[0];
        var start = cutsLeft ? segment.Ids.Length - longest : 0;
        return new TokenRow
        {
            Segments = [segment with { Ids = segment.Ids.Slice(start, longest),
            Loss = segment.Loss.Slice(start, longest) }],
            Characters = whole.Characters
        };
    }
}
