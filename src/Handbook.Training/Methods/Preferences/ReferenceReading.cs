using Handbook.Data;
using Handbook.Torch.Fused;

namespace Handbook.Training.Methods.Preferences;

/// <summary>How what a network says about the answers of a row becomes the scores of a reference.</summary>
internal static class ReferenceReading
{
    /// <summary>The scores of one row.</summary>
    /// <param name="spans">Its answers among the places.</param>
    /// <param name="statistics">What the network said at the places.</param>
    /// <param name="promptLength">Tokens of its prompt.</param>
    public static ReferenceScore Of(AnswerPlaces.Span[] spans, HeadStatistics statistics, IPreferenceObjective objective, int promptLength)
    {
        return new(Score(SegmentRole.Chosen), Score(SegmentRole.Rejected), Score(SegmentRole.Mismatched));

        double Score(SegmentRole role)
        {
            AnswerPlaces.Span its = default, other = default;
            foreach (var span in spans)
                if (span.Role == role)
                    its = span;
                else if (span.Role is SegmentRole.Chosen or SegmentRole.Rejected)
                    other = span;
            return its.Count == 0 ? 0
                : objective.Reduce(role, statistics.LogProb.AsSpan(its.First, its.Count), promptLength,
                    role == SegmentRole.Mismatched ? 0 : other.Count, reference: true);
        }
    }

    /// <summary>Gives both answers of a pair the same values where they are the same tokens behind the same prompt, as two that were cut
    /// may be.</summary>
    public static void Level(AnswerPlaces places, HeadStatistics statistics, Func<int, TokenRow> rows)
    {
        foreach (var (number, spans) in places.Rows)
        {
            AnswerPlaces.Span chosen = default, rejected = default;
            foreach (var span in spans)
                _ = span.Role switch { SegmentRole.Chosen => chosen = span, SegmentRole.Rejected => rejected = span, _ => default };
            if (chosen.Count == 0 || chosen.Count != rejected.Count || !HasEqualAnswers(rows(number)))
                continue;
            var count = chosen.Count;
            statistics.LogProb.AsSpan(chosen.First, count).CopyTo(statistics.LogProb.AsSpan(rejected.First, count));
            statistics.LogSquares?.AsSpan(chosen.First, count + 1).CopyTo(statistics.LogSquares.AsSpan(rejected.First, count + 1));
        }
    }

    /// <summary>Whether the chosen and the rejected answer are the same tokens behind the same prompt.</summary>
    internal static bool HasEqualAnswers(TokenRow row)
    {
        TokenSegment? chosen = null, rejected = null;
        foreach (var segment in row.Segments)
            if (segment.Role == SegmentRole.Chosen)
                chosen ??= segment;
            else if (segment.Role == SegmentRole.Rejected)
                rejected ??= segment;
        return chosen is { } good && rejected is { } bad && good.Ids.Span.SequenceEqual(bad.Ids.Span)
            && Before(good).SequenceEqual(Before(bad));

        ReadOnlySpan<int> Before(TokenSegment answer) => answer.Parent < 0 ? [] : row.Segments[answer.Parent].Ids.Span;
    }
}
