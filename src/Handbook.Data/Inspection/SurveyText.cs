using Handbook.Data.Cache;

namespace Handbook.Data.Inspection;

/// <summary>Puts a survey into words.</summary>
internal static class SurveyText
{
    private const int ExamplesShown = 5;

    /// <summary>The parts, in the order in which they are read.</summary>
    public static IEnumerable<SurveySection> Of(DataSurvey survey)
    {
        yield return Rows(survey);
        yield return Columns(survey);
        if (survey.Prompts.Count > 0)
            yield return Lengths("Length of prompts", survey.Prompts, "characters", []);
        if (survey.Answers.Count > 0)
            yield return Lengths("Length of answers", survey.Answers, "characters", []);
        yield return Repeats(survey);
        if (survey.Turns.Conversations > 0)
            yield return Turns(survey.Turns);
        if (survey.Judged.Good + survey.Judged.Bad > 0)
            yield return Judged(survey.Judged);
        if (survey.Scripts.Count > 0)
            yield return new("Scripts", ["rows by the script of most of their letters, which tells what languages they can be in"])
            {
                Bars = [.. survey.Scripts.OrderByDescending(entry => entry.Value).ThenBy(entry => entry.Key, StringComparer.Ordinal)
                    .Select(entry => (entry.Key, entry.Value))],
                BarsTitle = "rows by script",
            };
        if (survey.Contamination is { } found)
            yield return new("Contamination", [found.Line.Replace(" training rows", " rows", StringComparison.Ordinal),
                .. found.Rows.Take(ExamplesShown).Select(row => $"{row.Row.Place} {row.Row.Where}: {row.Row.Shared.Kind} of "
                    + $"{row.Row.Shared.Text}: {row.Row.Shared.Excerpt}")]);
        if (survey.Tokens is { } tokens)
        {
            yield return Lengths("Length of rows", tokens.Lengths, "tokens", Cut(tokens, survey.Rows));
            yield return Template(tokens);
        }
    }

    private static SurveySection Rows(DataSurvey survey) => new("Rows",
    [
        $"{survey.Name}: {survey.Rows:N0} rows in {survey.Files:N0} {(survey.Files == 1 ? "file" : "files")}, {survey.Bytes / 1e6:N1} MB"
            + (survey.Layout is { } layout ? $", layout {layout}" : ""),
        .. When(survey.LayoutProblem is not null, $"warning: {survey.LayoutProblem}"),
        .. Bad("cannot be read", survey.Unreadable), .. Bad("cannot be used", survey.Unusable),
    ]);

    private static SurveySection Columns(DataSurvey survey) => new("Columns",
        survey.Unread.Count == 0 ? [] : [$"note: not read: {string.Join(", ", survey.Unread)}"])
    {
        Table =
        [
            ["column", "type", "rows", "empty", "first value"],
            .. survey.Columns.Select(column => (string[])[column.Name, column.Kinds.Count == 0 ? "null"
                : string.Join(", ", column.Kinds.Select(kind => column.Kinds.Count == 1 ? kind.Key : $"{kind.Key} ({kind.Value:N0})")),
                $"{column.Rows:N0}", $"{column.Empty:N0}", column.Example]),
        ],
    };

    private static SurveySection Lengths(string title, Measurements lengths, string unit, IReadOnlyList<string> more)
    {
        var of = lengths.ToStatistics();
        return new(title, [$"{unit}: shortest {of.Shortest:N0}, median {of.Median:N0}, mean {of.Mean:N1}, 95 % at most {of.Percentile95:N0}, "
            + $"longest {of.Longest:N0}{(lengths.IsSampled ? "; median and percentile from a sample" : "")}", .. more])
        {
            Bars = [.. of.Bars.Select(bar => ($"{bar.From:N0} – {bar.To:N0}", (long)bar.Rows))],
            BarsTitle = $"{title.ToLowerInvariant()} in {unit}",
        };
    }

    private static SurveySection Repeats(DataSurvey survey)
    {
        return new("Repetitions", [Line("rows repeat an earlier one, character by character", survey.SameRows),
            Line("rows repeat an earlier one but for case, white space and punctuation", survey.NearlySameRows),
            .. When(survey.SamePrompts.Count > 0, Line("prompts repeat an earlier one", survey.SamePrompts))]);

        static string Line(string what, RepeatCounter counter) => $"{(counter.IsEstimate ? "about " : "")}{counter.Repeats:N0} of {counter.Count:N0} "
            + $"{what}{Percent(counter.Repeats, counter.Count)}{(counter.Found.Count > 0 ? $", e.g. {string.Join("; ", counter.Found)}" : "")}";
    }

    private static SurveySection Turns(TurnTally turns)
    {
        var of = turns.Turns.ToStatistics();
        return new("Turns", [$"{turns.Conversations:N0} conversations of {of.Shortest:N0} to {of.Longest:N0} turns, median {of.Median:N0}",
            $"{turns.WithSystem:N0} begin with a system turn{Percent(turns.WithSystem, turns.Conversations)}; they end with "
                + string.Join(", ", turns.LastRoles.Select(role => $"{role.Key} ({role.Value:N0})")),
            .. Found("hold calls of tools", turns.WithCalls, ""),
            .. Found("have a role that speaks twice in a row: some chat templates refuse that", turns.Doubled, "warning: "),
            .. Found("have a turn that says nothing", turns.Silent, "warning: "),
            .. Found("end with the user, so that their last turn has no answer", turns.LastRoles.GetValueOrDefault("user"), "warning: ")])
        {
            Bars = [.. turns.Roles.OrderByDescending(role => role.Value).Select(role => (role.Key, role.Value))],
            BarsTitle = "turns by role",
        };

        string[] Found(string what, long count, string weight) => When(count > 0, $"{weight}{count:N0} {what}{Percent(count, turns.Conversations)}");
    }

    private static SurveySection Judged(AnswerTally answers)
    {
        var lines = new List<string>();
        if (answers.Pairs > 0)
        {
            lines.Add($"{answers.Pairs:N0} pairs: the better answer is longer in {answers.Longer:N0}{Percent(answers.Longer, answers.Pairs)}, "
                + $"shorter in {answers.Shorter:N0}{Percent(answers.Shorter, answers.Pairs)}");
            lines.Add($"{(answers.Same > 0 ? "warning: " : "")}{answers.Same:N0} pairs have the same answer twice, but for case, white space and "
                + $"punctuation; {answers.Near:N0} more have nearly the same{(answers.Examples.Count > 0 ? $", e.g. {string.Join(", ", answers.Examples)}" : "")}");
        }
        else
            lines.Add($"{answers.Good:N0} good and {answers.Bad:N0} bad answers");
        if (answers is { Good: > 0, Bad: > 0 })
        {
            lines.Add($"mean length {answers.GoodLength:N0} characters where good, {answers.BadLength:N0} where bad: "
                + $"{answers.GoodLength - answers.BadLength:+#,0;-#,0;0}; correlation of length with being good {answers.Correlation:0.00}");
            var most = Math.Max(answers.Longer, answers.Shorter);
            if (Math.Abs(answers.Correlation) >= 0.15 || answers.Pairs > 0 && most >= 0.6 * answers.Pairs)
                lines.Add($"warning: whoever takes the {(answers.Correlation > 0 ? "longer" : "shorter")} answer is right "
                    + $"{(answers.Pairs > 0 ? $"in {(double)most / answers.Pairs:P0} of pairs" : "more often than not")}: a model learns that first; balance "
                    + "lengths, or take a loss that is blind to them (ld_alpha, loss_type: sigmoid_norm)");
        }
        return new("Good and bad answers", lines);
    }

    private static IReadOnlyList<string> Cut(TokenSurvey tokens, long rows) =>
    [
        .. When(tokens.Looked < rows, $"note: {tokens.Looked:N0} of {rows:N0} rows were tokenised; --sample takes another number"),
        $"{tokens.Tokens:N0} tokens{(tokens.Summary.HasTargets ? $", {(tokens.Tokens == 0 ? 0 : (double)tokens.LossTokens / tokens.Tokens):P1} with loss" : "")}",
        .. When(tokens.MaxLength is not null, $"{(tokens.Summary.CutRows > 0 ? "warning: " : "")}{tokens.Summary.CutRows:N0} rows are longer than "
            + $"max_length {tokens.MaxLength:N0} and are cut{Percent(tokens.Summary.CutRows, tokens.Looked)}"),
    ];

    private static SurveySection Template(TokenSurvey tokens) => new("From rows to tokens",
    [
        .. When(tokens.Summary.Bad.Count == 0, "every row gives something to learn"),
        .. Bad("are left out", tokens.Summary.Bad),
        .. When(tokens.WithoutEnd > 0, $"warning: {tokens.WithoutEnd:N0} rows{Percent(tokens.WithoutEnd, tokens.Looked)} have an answer whose last "
            + "learnt token ends nothing: the model would not learn to stop there"),
        .. tokens.Summary.Noted.Select(noted => $"note: {noted.Line}"),
        .. tokens.Remarks.Distinct(),
    ]);

    private static IEnumerable<string> Bad(string what, IReadOnlyList<BadRows> bad) => bad.Select(rows =>
        $"{(rows.IsRule ? "note" : "warning")}: {rows.Count:N0} {what}: {rows.Reason}, e.g. {rows.Example}{(rows.Fix is null ? "" : $" (fix: {rows.Fix})")}");

    private static string[] When(bool holds, string line) => holds ? [line] : [];

    private static string Percent(long some, long all) => some == 0 || all == 0 ? "" : $" ({(double)some / all:P1})";
}
