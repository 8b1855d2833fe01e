using Handbook.Data;

namespace Handbook.Training.Methods.Grpo;

/// <summary>Prompts with their answers, those too large to go through the network at once in parts: each has the prompt and some of the
/// answers, in their order.</summary>
/// <remarks>A row's first part has the row's own number, further ones have numbers behind all rows. Losses are divided by counts over all
/// answers, so parts change no gradient.</remarks>
internal sealed class GroupParts : ITokenRows
{
    private readonly Dictionary<int, int[]> _parts = [];
    private readonly Dictionary<int, TokenRow> _rows = [];

    /// <param name="rows">Prompts with answers, under one prompt or under copies of it.</param>
    /// <param name="numbers">Which rows.</param>
    /// <param name="maxTokens">Most tokens of a part; an answer that is longer with its prompt is a part by itself.</param>
    public GroupParts(ITokenRows rows, IEnumerable<int> numbers, int maxTokens)
    {
        int[] all = [.. numbers.Distinct()];
        var next = all.DefaultIfEmpty(-1).Max() + 1;
        foreach (var number in all)
        {
            TokenRow[] parts = [.. Cut(rows.Read(number), number, maxTokens)];
            _parts[number] = [number, .. Enumerable.Range(next, parts.Length - 1)];
            next += parts.Length - 1;
            for (var i = 0; i < parts.Length; i++)
                _rows[_parts[number][i]] = parts[i];
        }
    }

    /// <summary>The numbers of a row's parts.</summary>
    public int[] this[int number] => _parts[number];

    /// <summary>The numbers of the parts of several rows.</summary>
    public int[] Of(IEnumerable<int> numbers) => [.. numbers.SelectMany(number => _parts[number])];

    public int Count => _rows.Count;

    /// <summary>Tokens that go through the network: each answer begins with its prompt's last one.</summary>
    public int Length(int row)
    {
        var segments = _rows[row].Segments;
        return segments.Sum(segment => segment.Ids.Length) + segments.Count(segment => segment.Parent >= 0) - segments.Where(segment =>
            segment.Parent >= 0).DistinctBy(segment => segment.Parent).Count();
    }

    public int Characters(int row) => 0;

    public TokenRow Read(int row) => _rows[row];

    private static IEnumerable<TokenRow> Cut(TokenRow row, int number, int maxTokens)
    {
        int[] answers = [.. Enumerable.Range(0, row.Segments.Count).Where(s => row.Segments[s].Role == SegmentRole.Sample)];
        var (first, tokens) = (0, 0);
        for (var a = 0; a < answers.Length; a++)
        {
            var (parent, length) = (row.Segments[answers[a]].Parent, row.Segments[answers[a]].Ids.Length + 1);
            var prompt = row.Segments[parent].Ids.Length - 1;
            var added = a > first && row.Segments[answers[a - 1]].Parent == parent ? length : prompt + length;
            if (a > first && tokens + added > maxTokens)
            {
                yield return Part(row, number, answers, first, a);
                (first, tokens, added) = (a, 0, prompt + length);
            }
            tokens += added;
        }
        yield return first == 0 ? row : Part(row, number, answers, first, answers.Length);
    }

    /// <summary>Answers <paramref name="first"/> … <paramref name="end"/>−1 with what they answer.</summary>
    private static TokenRow Part(TokenRow row, int number, int[] answers, int first, int end)
    {
        var (segments, prompt) = (new List<TokenSegment>(), -1);
        foreach (var answer in answers.AsSpan(first, end - first))
        {
            var segment = row.Segments[answer];
            if (segment.Parent != prompt)
                segments.Add(row.Segments[prompt = segment.Parent]);
            segments.Add(segment with { Parent = segments.FindLastIndex(s => s.Role == SegmentRole.Prompt) });
        }
        return row with { Segments = segments, Samples = [.. row.Samples!.Take(first..end)], PartOf = (number, first) };
    }
}
