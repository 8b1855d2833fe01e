using System.Text.Json;
using System.Text.Json.Nodes;
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
public sealed record PromptSet(IReadOnlyList<Prompt> Prompts, IReadOnlyDictionary<string, int> Dropped, IReadOnlyList<string> Remarks)
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
        var (prompts, dropped) = (new List<Prompt>(), new SortedDictionary<string, (int Count, string First, string? Fix)>(StringComparer.Ordinal));
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
                prompts.Add(Read(row, parts[at.Source].Spec.ColumnMapping, referenceColumn, system));
            }
            catch (UnusableRowException unusable)
            {
                dropped[unusable.Reason] = dropped.TryGetValue(unusable.Reason, out var known) ? known with { Count = known.Count + 1 }
                    : (1, $"{row.Place}{(unusable.Detail.Length > 0 ? $": {unusable.Detail}" : "")}", unusable.Fix);
            }
        }
        if (seen == 0)
            throw new InputException($"{string.Join(", ", parts.Select(part => part.Name))}: there is no row", fix: "name a file that holds prompts");
        var lost = dropped.Values.Sum(entry => entry.Count);
        if (prompts.Count == 0 || lost > recipe.Data.MaxBadRows * seen)
            throw new InputException($"{lost} of {seen} rows cannot be asked ({recipe.Data.MaxBadRows:P0} may be unusable):{string.Concat(dropped.Select(entry => $"\n    {entry.Value.Count} × {entry.Key}, e.g. {entry.Value.First}"))}",
                fix: string.Join("; ", dropped.Values.Select(entry => entry.Fix).OfType<string>().Distinct()) is { Length: > 0 } cures ? cures : "mend or remove these rows, or raise max_bad_rows");
        if (recipe.Scoring.Comparer() is { } name && prompts.Find(prompt => prompt.Expected is null) is { } bare)
            throw new InputException($"{bare.Place}: {name} compares with the right answer, but the row has none", fix: ReferenceAnswer.Fix);
        if (recipe.Scoring.ComparesNumbers())
            foreach (var prompt in prompts)
                NumberMatchScorer.Expected(prompt.Expected!, prompt.Place);
        return new(prompts, dropped.ToDictionary(entry => entry.Key, entry => entry.Value.Count), [.. sources.SelectMany(source => source.Remarks).Distinct()]);
    }

    private static Prompt Read(SourceRow row, IReadOnlyDictionary<string, string>? mapping, string? referenceColumn, string? system)
    {
        var prompt = new Prompt { Place = row.Place, Expected = Reference(row, referenceColumn) };
        if (Column("prompt") is { } given)
            prompt = given.ValueKind == JsonValueKind.String && ChatTurns.Parsed(given).ValueKind == JsonValueKind.String ? prompt with { Text = Text(given) } : prompt with { Messages = Turns(given) };
        else if ((Column("messages") ?? Column("conversations") ?? Column("chosen")) is { ValueKind: not JsonValueKind.String } turns)
            prompt = prompt with { Messages = Turns(turns) };
        else if (Column("chosen") is { } chosen && Column("rejected") is { } rejected)
            prompt = prompt with { Text = CommonStart(Text(chosen), Text(rejected)) };
        else if (Column("instruction") is { } instruction)
            prompt = prompt with { Text = Column("input") is { ValueKind: JsonValueKind.String } input && input.GetString() is { Length: > 0 } more ? $"{Text(instruction)}\n{more}" : Text(instruction) };
        else if ((Column("question") ?? Column("text")) is { } text)
            prompt = prompt with { Text = Text(text) };
        else
            throw new UnusableRowException("no prompt", $"the row has {string.Join(", ", row.Value.EnumerateObject().Select(column => column.Name))}")
            { Fix = "give rows a column prompt, messages, question or instruction, or name theirs with column_mapping: {prompt: …}" };
        system ??= Column("system") is { ValueKind: JsonValueKind.String } own && own.GetString() is { Length: > 0 } said ? said : null;
        prompt = Opened(prompt, system, TurnOpening.History(Column("history")));
        return TemplateColumns.Read(Column, RowReader.PadsWithNulls(row.File)) is not { } inputs ? prompt
            : inputs is { Tools: null, Documents: null } ? prompt with { Inputs = inputs }
            : prompt with { Text = null, Messages = prompt.Messages ?? JsonLists.Of([TurnOpening.Turn("user", prompt.Text!)]), Inputs = inputs };

        JsonElement? Column(string name) =>
            row.Value.TryGetProperty(mapping?.GetValueOrDefault(name) ?? name, out var value) && value.ValueKind is not JsonValueKind.Null ? value : null;
    }

    /// <summary>A prompt behind a system turn, unless it has its own, and behind its history.</summary>
    private static Prompt Opened(Prompt prompt, string? system, List<JsonElement> history) => system is null && history.Count == 0 ? prompt
        : prompt with { Text = null, Messages = TurnOpening.Before(prompt.Messages ?? JsonLists.Of([TurnOpening.Turn("user", prompt.Text!)]), system, history) };

    private static string? Reference(SourceRow row, string? named) =>
        ReferenceAnswer.Of(row.Value, named) is { } reference ? reference
        : named is null ? null
        : throw new UnusableRowException("no right answer", ReferenceAnswer.Missing(row.Value, named)) { Fix = ReferenceAnswer.Fix };

    // What the assistant says last is what the model is asked for.
    private static JsonElement Turns(JsonElement list)
    {
        var turns = new ChatTurns(rules: true).Add(list).ToJson().EnumerateArray().ToList();
        while (turns.Count > 0 && turns[^1].GetProperty("role").ValueEquals("assistant"))
            turns.RemoveAt(turns.Count - 1);
        return turns.Count > 0 ? JsonLists.Of(turns) : throw new UnusableRowException("nobody but the assistant says anything", "");
    }

    private static string Text(JsonElement value)
    {
        var text = value.ValueKind == JsonValueKind.String ? value.GetString()! : throw new UnusableRowException("wrong type", $"the prompt is {JsonOptions.Name(value.ValueKind)}");
        return string.IsNullOrWhiteSpace(text) ? throw new UnusableRowException("empty prompt", "") : text;
    }

    private static string CommonStart(string chosen, string rejected)
    {
        var common = chosen.AsSpan().CommonPrefixLength(rejected);
        while (common > 0 && chosen[common - 1] is not (' ' or '\n'))      // not within a word
            common--;
        return common > 0 ? chosen[..common].TrimEnd(' ') : throw new UnusableRowException("no prompt", "chosen and rejected begin differently");
    }
}
