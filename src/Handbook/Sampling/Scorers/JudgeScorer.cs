using System.Globalization;
using System.Text.RegularExpressions;
using OpenAI.Chat;

namespace Handbook.Sampling;

/// <summary>Asks a model on an endpoint for a mark.</summary>
/// <param name="endpoint">Where the judge is.</param>
/// <param name="prompt">What it is told, with {prompt}, {answer} and {reference}; null for our own words.</param>
/// <param name="pattern">A regular expression whose first group is the mark; the last match counts.</param>
/// <param name="best">The mark that counts as 1.</param>
public sealed class JudgeScorer(ChatEndpoint endpoint, string? prompt, string pattern, double best) : IAnswerScorer
{
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

    public void Score(IReadOnlyList<SampledAnswer> answers, Action<int, AnswerScore> done, CancellationToken cancel) =>
        endpoint.Ask(answers.Count,
            i => ([new UserChatMessage(Filled(answers[i]))], new ChatCompletionOptions { Temperature = 0 }),
            (i, reply) => done(i, Mark(reply.Text)),
            cancel);

    // In one pass: what an answer says about {reference} stays what it says.
    private string Filled(SampledAnswer answer) => Regex.Replace(prompt ?? OwnPrompt, @"\{(prompt|answer|reference)\}", place => place.Groups[1].Value switch
    {
        "prompt" => answer.PromptText(),
        "answer" => answer.Answer,
        _ => answer.Reference ?? throw new InputException($"{answer.Place}: judge_prompt asks for {{reference}}, but the row has no right answer", fix: "name its column in reference_column, or take {reference} out of judge_prompt"),
    });

    private AnswerScore Mark(string reply) =>
        _mark.In(reply) is { } mark && double.TryParse(mark, NumberStyles.Float, CultureInfo.InvariantCulture, out var value) && double.IsFinite(value)
            ? new(value / best, reply)
            : new(double.NaN, reply);       // the next judge may say more; this answer is left out

    public void Dispose()
    {
    }
}
