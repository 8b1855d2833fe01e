using System.Text.RegularExpressions;

namespace Handbook.Evaluation;

/// <summary>Makes answers comparable.</summary>
internal static class AnswerFilters
{
    /// <param name="answers">All answers to one prompt.</param>
    /// <returns>What is compared: one answer after <c>take_first</c>, otherwise as many as are left.</returns>
    public static IReadOnlyList<string> Apply(this FilterPipeline pipeline, IReadOnlyList<string> answers) =>
        pipeline.Steps.Aggregate(answers, (before, step) => step.Kind switch
        {
            FilterKind.TakeFirst => [.. before.Take(1)],
            FilterKind.TakeFirstK => [.. before.Take(step.Count)],
            FilterKind.MajorityVote => [before.GroupBy(answer => answer).MaxBy(group => group.Count())!.Key],
            FilterKind.Regex => [.. before.Select(answer => Found(step, answer))],
            FilterKind.RemoveWhitespace => [.. before.Select(answer => answer.TrimStart())],
            FilterKind.Lowercase => [.. before.Select(answer => answer.ToLowerInvariant())],
            FilterKind.Uppercase => [.. before.Select(answer => answer.ToUpperInvariant())],
            _ => [.. before.Select(answer => step.Map.GetValueOrDefault(answer, step.Fallback))],
        });

    // As Python's findall: the whole match without groups, else of its groups the first that holds anything.
    private static string Found(AnswerFilter step, string answer)
    {
        try
        {
            var matches = step.Pattern!.Matches(answer);
            var place = step.Select < 0 ? matches.Count + step.Select : step.Select;
            if (place < 0 || place >= matches.Count)
                return step.Fallback;
            var match = matches[place];
            var found = match.Groups.Count == 1 ? match.Value
                : match.Groups.Values.Skip(1).FirstOrDefault(group => group.Length > 0)?.Value ?? step.Fallback;
            return found.Trim();
        }
        catch (RegexMatchTimeoutException)
        {
            return step.Fallback;       // a pattern that runs wild on this answer finds nothing in it
        }
    }
}
