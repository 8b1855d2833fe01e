using System.Security.Cryptography;
using System.Text.Json;

namespace Handbook.Training.Sampling.Scorers;

/// <summary>Asks a scorer, which says the same of the same answer, once for each; equal answers to equal prompts share the score.</summary>
/// <param name="scorer">Who scores; owned from here on.</param>
internal sealed class DistinctScorer(IAnswerScorer scorer) : IAnswerScorer
{
    /// <summary>Scores that are remembered from one call to the next; a judge's words stay in memory with them.</summary>
    private const int MostKept = 1 << 16;

    private readonly Dictionary<string, AnswerRating> _known = new(StringComparer.Ordinal);

    public string Name => scorer.Name;

    public void Score(IReadOnlyList<SampledAnswer> answers, Action<int, AnswerRating> done, CancellationToken cancel)
    {
        var groups = new Dictionary<string, List<int>>(StringComparer.Ordinal);
        var distinct = new List<string>();
        for (var i = 0; i < answers.Count; i++)
        {
            var key = Key(answers[i]);
            if (_known.TryGetValue(key, out var score))
            {
                done(i, score);
                continue;
            }
            if (!groups.TryGetValue(key, out var places))
            {
                groups[key] = places = [];
                distinct.Add(key);
            }
            places.Add(i);
        }
        if (distinct.Count == 0)
            return;
        scorer.Score([.. distinct.Select(key => answers[groups[key][0]])], (asked, score) =>
        {
            if (_known.Count < MostKept)
                _known[distinct[asked]] = score;
            foreach (var place in groups[distinct[asked]])
                done(place, score);
        }, cancel);
    }

    // All that a scorer may look at; a list as JSON reads in one way only.
    private static string Key(SampledAnswer answer) => Convert.ToHexString(SHA256.HashData(JsonSerializer.SerializeToUtf8Bytes<string?[]>(
        [answer.Text, answer.Messages?.GetRawText(), answer.Inputs?.ToJson(), answer.Answer, answer.Reference,
            answer.Finished ? "" : null])));

    public void Dispose() => scorer.Dispose();
}
