using System.Text.Json;
using Handbook.Base;
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
        var readers = parts.Select(part => new PromptReader(part.Spec.ColumnMapping)).ToArray();
        var (prompts, dropped) = (new List<Prompt>(),
            new SortedDictionary<string, (int Count, string First, string? Fix)>(StringComparer.Ordinal));
        var seen = 0;
        foreach (var at in MixturePart.Order(recipe.Mixture, parts, [.. rows.Select(part => part.Length)]).Train)
        {
            if (prompts.Count >= most)
                break;
            var row = rows[at.Source][at.Row];
            if (row.Problem?.Reason == PlainTextFile.BlankLine)
                continue;
            seen++;
            try
            {
                if (row.Problem is { } problem)
                    throw new UnusableRowException(problem.Reason, problem.Detail) { Fix = problem.Fix };
                prompts.Add(Read(row, readers[at.Source], referenceColumn, system));
            }
            catch (UnusableRowException unusable)
            {
                dropped[unusable.Reason] = dropped.TryGetValue(unusable.Reason, out var known) ? known with { Count = known.Count + 1 }
                    : (1, $"{row.Place}{(unusable.Detail.Length > 0 ? $": {unusable.Detail}" : "")}", unusable.Fix);
            }
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
            [.. sources.SelectMany(source => source.Remarks).Distinct()]);
    }

    private static Prompt Read(SourceRow row, PromptReader reader, string? referenceColumn, string? system)
    {
        var reference = Reference(row, referenceColumn);
        var asked = reader.Read(row.Value)
            ?? throw new UnusableRowException("no prompt",
                $"the row has {string.Join(", ", row.Value.EnumerateObject().Select(column => column.Name))}")
            { Fix = "give rows a column prompt, messages, question or instruction, or name theirs with column_mapping: {prompt: …}" };
        if (asked.Text is { } text && string.IsNullOrWhiteSpace(text))
            throw new UnusableRowException("empty prompt", "");
        system ??= Column("system") is { ValueKind: JsonValueKind.String } own && own.GetString() is { Length: > 0 } said ? said : null;
        var history = TurnOpening.History(Column("history"));
        var prompt = new Prompt { Text = asked.Text, Messages = asked.Messages, Place = row.Place, Expected = reference };
        if (system is not null || history.Count > 0)
            prompt = prompt with { Text = null, Messages = TurnOpening.Before(asked.Messages ?? Turns(asked), system, history) };
        return TemplateColumns.Read(Column, RowReader.PadsWithNulls(row.File)) is not { } inputs ? prompt
            : inputs is { Tools: null, Documents: null } ? prompt with { Inputs = inputs }
            : prompt with { Text = null, Messages = prompt.Messages ?? Turns(asked), Inputs = inputs };

        JsonElement? Column(string name) => reader.Column(row.Value, name);
        static JsonElement Turns(RowPrompt asked) => JsonLists.Of([TurnOpening.Turn("user", asked.Text!)]);
    }

    private static string? Reference(SourceRow row, string? named) =>
        ReferenceAnswer.Of(row.Value, named) is { } reference ? reference
        : named is null ? null
        : throw new UnusableRowException("no right answer", ReferenceAnswer.Missing(row.Value, named)) { Fix = ReferenceAnswer.Fix };
}
