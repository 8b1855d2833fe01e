namespace Handbook.Data;

/// <summary>Lays tokenised rows behind one another: the flat batch that every method reads.</summary>
public static class BatchBuilder
{
    /// <summary>Builds the batch of the given rows, in their order.</summary>
    /// <param name="rows">Where the rows are.</param>
    /// <param name="indices">Which rows; their numbers stand in the batch's segments.</param>
    /// <remarks>
    /// A token's target is the next token of its part, where that carries loss. A part that is continued gives its last token to each child
    /// as the child's first, so that the first answer tokens have a place to be predicted from; the parent keeps the loss of that token.
    /// </remarks>
    public static TokenBatch Build(ITokenRows rows, IReadOnlyList<int> indices)
    {
        var tokens = new List<int>();
        var positions = new List<int>();
        var targets = new List<int>();
        var segments = new List<Segment>();
        for (var entry = 0; entry < indices.Count; entry++)
            Append(rows.Read(indices[entry]), indices[entry], entry, tokens, positions, targets, segments);

        var weights = new float[targets.Count];
        for (var i = 0; i < weights.Length; i++)
            weights[i] = targets[i] >= 0 ? 1f : 0f;
        return new TokenBatch
        {
            Tokens = [.. tokens],
            Positions = [.. positions],
            Targets = [.. targets],
            Segments = [.. segments],
            Weights = weights
        };
    }

    private static void Append(TokenRow row, int index, int entry, List<int> tokens, List<int> positions,
        List<int> targets, List<Segment> segments)
    {
        var parts = row.Segments;
        Span<bool> hasChildren = parts.Count <= 256 ? stackalloc bool[parts.Count] : new bool[parts.Count];
        foreach (var part in parts)
            if (part.Parent >= 0)
                hasChildren[part.Parent] = true;

        var placed = new int[parts.Count];          // the batch segment of each part, −1 where its only token moved into its children
        var ends = new int[parts.Count];            // the position after each part's last token
        for (var p = 0; p < parts.Count; p++)
        {
            var part = parts[p];
            var ids = part.Ids.Span;
            var loss = part.Loss.Span;
            var start = tokens.Count;
            var position = 0;
            var parent = -1;
            if (part.Parent >= 0)
            {
                parent = placed[part.Parent];
                position = ends[part.Parent] - 1;
                tokens.Add(parts[part.Parent].Ids.Span[^1]);
                positions.Add(position++);
                targets.Add(loss[0] != 0 ? ids[0] : -1);
            }
            ends[p] = position + ids.Length;
            var kept = hasChildren[p] ? ids.Length - 1 : ids.Length;
            for (var i = 0; i < kept; i++)
            {
                tokens.Add(ids[i]);
                positions.Add(position++);
                targets.Add(i + 1 < ids.Length && loss[i + 1] != 0 ? ids[i + 1] : -1);
            }
            var length = tokens.Count - start;
            placed[p] = length == 0 ? parent : segments.Count;
            if (length > 0)
                segments.Add(new Segment(start, length, parent, index, part.Role) { Entry = entry, PartOf = row.PartOf });
        }
    }
}
