using Handbook.Data;

namespace Handbook.Training.Methods.Preferences;

/// <summary>Where the head is evaluated for a batch of preference rows, and which results belong to which answer.</summary>
internal sealed class AnswerPlaces
{
    private readonly List<Span> _spans = [];

    /// <param name="batch">Rows with answers.</param>
    /// <param name="withEnd">Whether each answer's last token is a place, too, for what the whole vocabulary says there.</param>
    public AnswerPlaces(TokenBatch batch, bool withEnd)
    {
        var (places, targets) = (new List<int>(), new List<int>());
        for (var s = 0; s < batch.Segments.Length; s++)
        {
            var segment = batch.Segments[s];
            var first = places.Count;
            for (var i = segment.Start; i < segment.Start + segment.Length; i++)
                if (batch.Targets[i] >= 0)
                {
                    places.Add(i);
                    targets.Add(batch.Targets[i]);
                }
            var count = places.Count - first;
            if (withEnd && count > 0 && segment.Role != SegmentRole.Prompt)
            {
                places.Add(segment.Start + segment.Length - 1);
                targets.Add(0);                    // any: the place's own log-probability is not read
            }
            _spans.Add(new(s, segment.Entry, segment.Row, segment.Role, segment.Parent, first, count));
        }
        (Places, Targets) = ([.. places], [.. targets]);
        Rows = [.. _spans.GroupBy(span => span.Entry, (_, spans) => spans.ToArray()).Select(spans => (spans[0].Row, spans))];
    }

    /// <summary>Rows of the hidden states that the head reads; [M].</summary>
    public int[] Places { get; }

    /// <summary>The token at each place; [M].</summary>
    public int[] Targets { get; }

    public int Count => Places.Length;

    /// <summary>One answer or prompt: which of the M results are its own.</summary>
    /// <param name="Segment">Its segment in the batch.</param>
    /// <param name="Entry">Place of its row in the batch.</param>
    /// <param name="Row">Number of its row in the data.</param>
    /// <param name="First">Its first place.</param>
    /// <param name="Count">Number of its targets.</param>
    public readonly record struct Span(int Segment, int Entry, int Row, SegmentRole Role, int Parent, int First, int Count);

    /// <summary>The spans of each row of the batch, in its order; the key is the row's number in the data, which may stand there
    /// twice.</summary>
    public IReadOnlyList<(int Row, Span[] Spans)> Rows { get; }

    public IReadOnlyList<Span> Spans => _spans;
}
