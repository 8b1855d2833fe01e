using Handbook.Data;

namespace Handbook.Training.Methods.Grpo;

/// <summary>Prompts with their sampled answers, by the prompts' numbers.</summary>
internal sealed class SampledRows(IEnumerable<(int Number, TokenRow Row)> rows) : ITokenRows
{
    private readonly SortedDictionary<int, TokenRow> _rows = new(rows.DistinctBy(row => row.Number).ToDictionary(row => row.Number,
        row => row.Row));

    /// <summary>Several as one.</summary>
    public static SampledRows Joined(IEnumerable<SampledRows> parts) =>
        new(parts.SelectMany(part => part._rows.Select(row => (row.Key, row.Value))));

    public int Count => _rows.Count;

    public IEnumerable<int> Numbers => _rows.Keys;

    public int Length(int row) => _rows[row].TokenCount;

    public int Characters(int row) => 0;

    public TokenRow Read(int row) => _rows[row];

    /// <summary>The rows as numbers, for a checkpoint; all of them are exact.</summary>
    public void Write(List<double> state)
    {
        state.Add(Count);
        foreach (var (number, row) in _rows)
        {
            state.AddRange([number, row.Segments.Count]);
            foreach (var segment in row.Segments)
            {
                state.AddRange([(int)segment.Role, segment.Parent, segment.Ids.Length, segment.Loss.Span[0]]);
                foreach (var id in segment.Ids.Span)
                    state.Add(id);
            }
            foreach (var sample in row.Samples!)
            {
                state.AddRange([sample.Advantage, sample.Counts ? 1 : 0, sample.Old.Length, sample.Reference.Length]);
                state.AddRange(sample.Old);
                state.AddRange(sample.Reference);
            }
        }
    }

    public static SampledRows Read(Queue<double> state)
    {
        var rows = new (int, TokenRow)[Number()];
        for (var r = 0; r < rows.Length; r++)
        {
            var number = Number();
            var segments = new TokenSegment[Number()];
            for (var s = 0; s < segments.Length; s++)
            {
                var (role, parent, length, loss) = ((SegmentRole)Number(), Number(), Number(), (byte)Number());
                segments[s] = new(role, parent, Many(length, Number), Many(length, () => loss));
            }
            rows[r] = (number,
                new() { Segments = segments, Samples = Many(segments.Count(segment => segment.Role == SegmentRole.Sample), Sample) });
        }
        return new(rows);

        int Number() => (int)state.Dequeue();

        SampleScore Sample()
        {
            var (advantage, counts, old, reference) = (state.Dequeue(), Number() != 0, Number(), Number());
            return new(advantage, counts, Many(old, state.Dequeue), Many(reference, state.Dequeue));
        }

        static T[] Many<T>(int count, Func<T> next)
        {
            var all = new T[count];
            for (var i = 0; i < count; i++)
                all[i] = next();
            return all;
        }
    }
}
