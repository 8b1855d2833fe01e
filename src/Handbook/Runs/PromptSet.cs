using Handbook.Base;
using Handbook.Data.Cache;
using Handbook.Data.Decontamination;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Models.Generation;
using Handbook.Recipes;
using Handbook.Training.Sampling;
using Handbook.Training.Sampling.Scorers;

namespace Handbook.Runs;

/// <summary>The prompts of a recipe's data, in the order in which its rows would be trained on.</summary>
/// <param name="Prompts">Those that can be used.</param>
/// <param name="Dropped">How many rows cannot, by reason.</param>
/// <param name="Remarks">Whole lines for the log about the files.</param>
internal sealed record PromptSet(IReadOnlyList<Prompt> Prompts, IReadOnlyDictionary<string, int> Dropped, IReadOnlyList<string> Remarks)
{
    /// <summary>The prompts of a rejection-sampling recipe, with the right answers that its scorers compare with.</summary>
    /// <exception cref="InputException">There is no prompt, too many rows are unusable, or a right answer is missing.</exception>
    public static PromptSet Load(Recipe recipe)
    {
        var (referenceColumn, system, most) = (recipe.Scoring.ReferenceColumn, recipe.Rejection.SystemPrompt, recipe.Rejection.MaxPrompts);
        var folder = Path.GetDirectoryName(Path.GetFullPath(recipe.Path));
        var parts = MixturePart.Of(recipe.Mixture, evaluates: false, folder);
        var sources = parts.Select(part => Dataset.Open(part.Spec, folder)).ToArray();
        var rows = sources.Select(source => source.Read().ToArray()).ToArray();
        var readers = parts.Select((part, i) => RowReader.For(sources[i], part.Spec, RowUse.Prompts)).ToArray();
        var (prompts, dropped) = (new List<Prompt>(),
            new SortedDictionary<string, (int Count, string First, string? Fix)>(StringComparer.Ordinal));
        var noted = new SortedDictionary<string, NotedRows>(StringComparer.Ordinal);
        var seen = 0;
        var check = recipe.Data.Decontaminate is { Against.Count: > 0 } rules ? new ContaminationCheck(rules, ReferenceSet.Load(rules, folder)) : null;
        var contaminated = 0;
        foreach (var at in MixturePart.Order(recipe.Mixture, parts, [.. rows.Select(part => part.Length)]).Train)
        {
            if (prompts.Count >= most)
                break;
            var row = rows[at.Source][at.Row];
            if (row.Problem?.Reason == PlainTextFile.BlankLine)
                continue;
            if (row.Problem is null && check?.Find(RowTexts.AsLearnt(row.Value)) is not null)
            {
                contaminated++;
                continue;
            }
            seen++;
            var problem = row.Problem;
            if (problem is null && readers[at.Source].Prompt(row.Value, out problem, system) is { } asked
                && Expected(row, referenceColumn, out problem) is var expected && problem is null)
            {
                prompts.Add(new() { Text = asked.Text, Messages = asked.Messages, Inputs = asked.Inputs, Place = row.Place, Expected = expected });
                NotedRows.Add(noted, asked.Remarks, row.Place);
            }
            if (problem is not null)
                dropped[problem.Reason] = dropped.TryGetValue(problem.Reason, out var known) ? known with { Count = known.Count + 1 }
                    : (1, $"{row.Place}{(problem.Detail.Length > 0 ? $": {problem.Detail}" : "")}", problem.Fix);
        }
        if (seen == 0)
            throw new InputException($"{string.Join(", ", parts.Select(part => part.Name))}: there is no row",
                fix: "name a file that holds prompts");
        var lost = dropped.Values.Sum(entry => entry.Count);
        if (prompts.Count == 0 || lost > recipe.Data.MaxBadRows * seen)
            throw new InputException($"{lost} of {seen} rows cannot be asked ({recipe.Data.MaxBadRows:P0} may be "
                + $"unusable):{string.Concat(dropped.Select(entry => $"\n    {entry.Value.Count} × {entry.Key}, e.g. {entry.Value.First}"))}",
                fix: string.Join("; ", dropped.Values.Select(entry => entry.Fix).OfType<string>().Distinct()) is { Length: > 0 } cures
                    ? cures : "mend or remove these rows, or raise max_bad_rows");
        if (recipe.Scoring.Comparer() is { } name && prompts.Find(prompt => prompt.Expected is null) is { } bare)
            throw new InputException($"{bare.Place}: {name} compares with the right answer, but the row has none",
                fix: ReferenceAnswer.Fix);
        if (recipe.Scoring.ComparesNumbers())
            foreach (var prompt in prompts)
                NumberMatchScorer.Expected(prompt.Expected!, prompt.Place);
        return new(prompts, dropped.ToDictionary(entry => entry.Key, entry => entry.Value.Count),
            [.. sources.SelectMany(source => source.Remarks).Distinct(),
                .. check is null ? [] : check.Notes.Append($"decontamination against {check.Against}: {contaminated:N0} of {seen + contaminated:N0} prompts "
                    + $"are left out: they hold one of the {check.Texts:N0} reference texts"), .. noted.Values.Select(rows => $"note: {rows.Line}")]);
    }

    private static string? Expected(SourceRow row, string? named, out RowProblem? problem)
    {
        var expected = ReferenceAnswer.Of(row.Value, named);
        problem = expected is not null || named is null ? null
            : new("no right answer", ReferenceAnswer.Missing(row.Value, named), "") { Fix = ReferenceAnswer.Fix };
        return expected;
    }
}
