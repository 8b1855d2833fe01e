using Handbook.Data;

namespace Handbook.Training.Rewards;

/// <summary>Where a score is read: the last token of an answer, or of a row that has no answers.</summary>
/// <param name="Row">Index of the data row, as the batch's segments name it.</param>
/// <param name="Role">What the answer is to its row.</param>
/// <param name="Place">Index of the token in the batch.</param>
internal readonly record struct ScorePlace(int Row, SegmentRole Role, int Place)
{
    /// <summary>Place of the row in the batch.</summary>
    public int Entry { get; init; }

    /// <summary>The places of all answers, in the order of the batch's rows and of the answers inside a row.</summary>
    /// <param name="batch">Rows of any kind: of one part, or prompts with any number of answers.</param>
    /// <param name="padId">
    /// Tokens of this id at the end of an answer do not count, as the Python library reads its own models: where such a model pads with the
    /// end token, it was trained to be read one token before it. null counts every token.
    /// </param>
    public static ScorePlace[] Of(TokenBatch batch, int? padId = null)
    {
        var isContinued = new bool[batch.Segments.Length];
        foreach (var segment in batch.Segments)
            if (segment.Parent >= 0)
                isContinued[segment.Parent] = true;
        var places = new List<ScorePlace>();
        for (var s = 0; s < isContinued.Length; s++)
        {
            if (isContinued[s])
                continue;
            var segment = batch.Segments[s];
            var last = segment.Start + segment.Length - 1;
            var place = last;
            while (place >= segment.Start && batch.Tokens[place] == padId)
                place--;
            places.Add(new(segment.Row, segment.Role, place < segment.Start ? last : place) { Entry = segment.Entry });
        }
        return [.. places];
    }

    /// <summary>What the scores of a row belong to, in their order.</summary>
    public static IEnumerable<SegmentRole> Roles(TokenRow row) =>
        row.Segments.Where((_, p) => row.Segments.All(part => part.Parent != p)).Select(part => part.Role);
}
