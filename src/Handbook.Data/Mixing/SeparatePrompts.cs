namespace Handbook.Data.Mixing;

/// <summary>The same rows with each answer under its own copy of the prompt, as if nothing could be shared: what is computed is the
/// same, only more often.</summary>
/// <remarks>Where a prompt carries loss, its first copy does: no token is learnt twice.</remarks>
internal sealed class SeparatePrompts(ITokenRows rows) : ITokenRows
{
    public int Count => rows.Count;

    public int Length(int row) => Read(row).TokenCount;

    public int Characters(int row) => rows.Characters(row);

    public TokenRow Read(int row)
    {
        var shared = rows.Read(row);
        var segments = new List<TokenSegment>();
        var copied = new bool[shared.Segments.Count];
        foreach (var answer in shared.Segments)
            if (answer.Parent < 0 && answer.Role != SegmentRole.Prompt)
                segments.Add(answer);
            else if (answer.Parent >= 0)
            {
                var prompt = shared.Segments[answer.Parent];
                if (prompt.Parent >= 0)
                    throw new InvalidOperationException($"row {row} is a tree of more than two levels");
                segments.Add(copied[answer.Parent] ? prompt with { Loss = new byte[prompt.Loss.Length] } : prompt);
                copied[answer.Parent] = true;
                segments.Add(answer with { Parent = segments.Count - 1 });
            }
        return segments.Count == 0 ? shared : shared with { Segments = segments };
    }
}
