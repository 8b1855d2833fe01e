using System.Text.Json;
using Handbook.Data.Sources;

namespace Handbook.Data.Formats;

/// <summary>Several answers to one prompt with what says how good each is; higher is better.</summary>
/// <remarks>
/// Read from an object of answers with their scores, from a list of objects with a text and a score (or a rank, of which 1 is best), or
/// from a list of texts, the best first.
/// </remarks>
internal static class RankedAnswers
{
    private static readonly string[] s_texts = ["text", "content", "answer", "completion", "response", "output", "value"];
    private static readonly string[] s_scores = ["score", "rating", "reward", "label", "overall_score"];

    /// <exception cref="UnusableRowException">The value holds no answers with scores.</exception>
    public static IReadOnlyList<(string Text, double Score)> Read(JsonElement value)
    {
        value = ChatTurns.Parsed(value);
        (string, double)[] answers = value.ValueKind switch
        {
            JsonValueKind.Object => [.. value.EnumerateObject().Select(answer => (answer.Name, Score(answer.Value)))],
            JsonValueKind.Array =>
                [.. value.EnumerateArray()
                .Select((answer, i) => answer.ValueKind == JsonValueKind.String ? (answer.GetString()!, -i) : Entry(answer))],
            _ => throw new UnusableRowException("wrong type",
                $"answers is {JsonOptions.Name(value.ValueKind)}, not a list of answers or an object of answers with their scores"),
        };
        return answers.Length > 0 ? answers : throw new UnusableRowException("no answers", "");
    }

    private static (string, double) Entry(JsonElement answer)
    {
        if (answer.ValueKind == JsonValueKind.Object && s_texts.Select(name => answer.TryGetProperty(name, out var found) ? found : default)
            .FirstOrDefault(found => found.ValueKind == JsonValueKind.String) is { ValueKind: JsonValueKind.String } text)
        {
            foreach (var name in s_scores)
                if (answer.TryGetProperty(name, out var score))
                    return (text.GetString()!, Score(score));
            if (answer.TryGetProperty("rank", out var rank))
                return (text.GetString()!, -Score(rank));
        }
        throw new UnusableRowException("answer without text or score", Excerpt.Of(answer.GetRawText()));
    }

    private static double Score(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.True => 1,
        JsonValueKind.False => 0,
        JsonValueKind.Number => value.GetDouble(),
        JsonValueKind.String when double.TryParse(value.GetString(), out var score) => score,
        _ => throw new UnusableRowException("score is no number", Excerpt.Of(value.GetRawText())),
    };
}
