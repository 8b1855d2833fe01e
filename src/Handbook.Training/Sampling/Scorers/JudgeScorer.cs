using System.Globalization;
using System.Text.RegularExpressions;
using Handbook.Base;
using Handbook.Training.Sampling.Endpoints;
using OpenAI.Chat;

namespace Handbook.Training.Sampling.Scorers;

/// <summary>Asks a model on an endpoint for a mark.</summary>
/// <param name="endpoint">Where the judge is.</param>
/// <param name="prompt">What it is told, with {prompt}, {answer} and {reference}; null for our own words.</param>
/// <param name="pattern">A regular expression whose first group is the mark; the last match counts.</param>
/// <param name="best">The mark that counts as 1; none is larger.</param>
/// <param name="least">No mark is smaller.</param>
/// <param name="say">Hears how many replies give no score, and why.</param>
internal sealed class JudgeScorer(ChatEndpoint endpoint, string? prompt, string pattern, double best, double least = 0,
    Action<string>? say = null) : IAnswerScorer
{
    private const int ExampleLength = 160;

    private const string OwnPrompt = """
        Judge how well an answer serves the person who asked. Look at whether it is right, whether it does what was asked, and whether it is clear; length alone is no merit.

        The question:
        {prompt}

        The answer:
        {answer}

        Say in one or two sentences what is good or bad about it. Then write a last line with the mark alone, a number from 0 (useless or harmful) to 10 (could not be better).
        """;

    private readonly ResultPattern _mark = new(pattern);

    public string Name => "judge";

    public void Score(IReadOnlyList<SampledAnswer> answers, Action<int, AnswerRating> done, CancellationToken cancel)
    {
        var unscored = new SortedDictionary<string, (int Count, string Example)>(StringComparer.Ordinal);
        try
        {
            endpoint.Ask(answers.Count,
                i => ([new UserChatMessage(Filled(answers[i]))], new ChatCompletionOptions { Temperature = 0 }),
                (i, reply) =>
                {
                    var (score, problem) = Mark(reply.Text);
                    if (problem is not null)
                        unscored[problem] = unscored.TryGetValue(problem, out var known)
                            ? known with { Count = known.Count + 1 } : (1, reply.Text);
                    done(i, score);
                },
                cancel);
        }
        finally
        {
            foreach (var (problem, (count, example)) in unscored)
                say?.Invoke($"judge: {count:N0} of {answers.Count:N0} replies give no score: {problem}, e.g. \"{End(example)}\"");
        }
    }

    // In one pass: what an answer says about {reference} stays what it says.
    private string Filled(SampledAnswer answer) =>
        Regex.Replace(prompt ?? OwnPrompt, @"\{(prompt|answer|reference)\}", place => place.Groups[1].Value switch
    {
        "prompt" => answer.PromptText(),
        "answer" => answer.Answer,
        _ => answer.Reference
            ?? throw new InputException($"{answer.Place}: judge_prompt asks for {{reference}}, but the row has no right answer",
            fix: "name its column in reference_column, or take {reference} out of judge_prompt"),
    });

    // What is not scored is left out; the next reply may say more.
    private (AnswerRating Score, string? Problem) Mark(string reply)
    {
        if (_mark.In(AsciiNumbers.In(reply)) is not { } mark
            || !double.TryParse(mark, NumberStyles.Float, CultureInfo.InvariantCulture, out var value))
            return Unscored("no mark in the reply");
        return value >= least && value <= best ? (new(value / best, reply), null)
            : Unscored(string.Create(CultureInfo.InvariantCulture, $"the mark is not between judge_least {least} and judge_best {best}"));

        (AnswerRating, string) Unscored(string problem) => (new(double.NaN, $"{problem}: {reply}"), problem);
    }

    private static string End(string reply) => reply.Length > ExampleLength ? $"…{reply[^ExampleLength..]}" : reply;

    public void Dispose()
    {
    }
}
