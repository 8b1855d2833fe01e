using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Data.Sources;
using Handbook.Text.Templates;

namespace Handbook.Evaluation;

/// <summary>What one row asks.</summary>
internal sealed record TaskQuestion
{
    /// <summary>Number of the row, from 0.</summary>
    public required int Number { get; init; }

    public required string Place { get; init; }

    /// <summary>The row itself, for metrics that read more of it.</summary>
    public required JsonElement Row { get; init; }

    /// <summary>Why the row cannot be read; null where it can.</summary>
    public RowProblem? Problem { get; init; }

    /// <summary>Everything before the answer: description, examples, question.</summary>
    public string Context { get; init; } = "";

    /// <summary>The answers to choose between; empty where there are none.</summary>
    public IReadOnlyList<string> Choices { get; init; } = [];

    /// <summary>Which of them are right; empty where there are none.</summary>
    public IReadOnlyList<int> Right { get; init; } = [];

    /// <summary>Right answers as texts; any of them counts.</summary>
    public IReadOnlyList<string> Targets { get; init; } = [];

    /// <summary>The text whose words and bytes count; null for the one that is scored.</summary>
    public string? Counted { get; init; }

    /// <summary>What it costs beside other rows, about: characters that are read.</summary>
    public int Cost => Context.Length + Choices.Concat(Targets).Sum(text => text.Length)
        + (Row.ValueKind == JsonValueKind.Object && Context.Length == 0 ? Row.GetRawText().Length : 0);
}

/// <summary>Makes questions of rows.</summary>
/// <param name="task">What is asked.</param>
/// <param name="examples">Rows that examples are taken from.</param>
/// <param name="examplesAreRows">Whether those are the rows that are evaluated.</param>
/// <param name="seed">Of the draws of examples.</param>
internal sealed class QuestionMaker(EvaluationTask task, IReadOnlyList<SourceRow> examples, bool examplesAreRows, long seed)
{
    private static readonly DateTime s_day = DateTime.UnixEpoch;       // a template that asks for the day gets the same each time

    /// <exception cref="InputException">The row does not have what the task asks for.</exception>
    public TaskQuestion Question(SourceRow row, int number, int fewShot)
    {
        if (task.Kind == TaskKind.RewardAccuracy)
            return new() { Number = number, Place = row.Place, Row = row.Value, Problem = row.Problem };
        Require(row);
        var own = Own(row);
        var context = (task.Description is null ? "" : Text(task.Description, row))
            + string.Concat(Chosen(number, fewShot).Select(example => Example(example) + task.FewShotDelimiter)) + own.Context;
        return own with { Number = number, Context = context };
    }

    private TaskQuestion Own(SourceRow row)
    {
        var choices = task.Choices is null ? [] : Choices(row);
        var context = task.Text is null ? "" : Text(task.Text, row);
        var (right, targets) = task.Target is null ? ([], []) : Target(row, choices);
        return new()
        {
            Number = 0,
            Place = row.Place,
            Row = row.Value,
            Context = context,
            Choices = choices,
            Right = right,
            Targets = targets,
            Counted = task.Counted is null ? null : Text(task.Counted, row),
        };
    }

    private string Example(SourceRow row)
    {
        Require(row);
        var own = Own(row);
        return own.Context + task.TargetDelimiter + (own.Targets is [var first, ..] ? first : "");
    }

    private IEnumerable<SourceRow> Chosen(int number, int count)
    {
        if (count == 0)
            yield break;
        var spare = examplesAreRows ? 1 : 0;
        if (examples.Count - spare < count)
            throw new InputException($"{task.Name}: {count} examples are asked for, but there are {Math.Max(0, examples.Count - spare)}",
                fix: "lower num_fewshot (--num-fewshot), or name another fewshot_split");
        if (task.FirstExamples)
        {
            for (int i = 0, given = 0; given < count; i++)
                if (!examplesAreRows || i != number)
                {
                    given++;
                    yield return examples[i];
                }
            yield break;
        }
        var random = new SplitMix(SplitMix.Mix((ulong)seed) ^ SplitMix.Mix((ulong)number + 1));
        var taken = new HashSet<int>();
        while (taken.Count < count)
        {
            var i = (int)(random.Next() % (ulong)examples.Count);
            if ((!examplesAreRows || i != number) && taken.Add(i))
                yield return examples[i];
        }
    }

    private IReadOnlyList<string> Choices(SourceRow row) => Listed(row) is { Count: > 0 } choices ? choices
        : throw Wrong(row, task.Choices!, "gives an empty list", "correct the row, or remove it: there is nothing to choose");

    private IReadOnlyList<string> Listed(SourceRow row)
    {
        var field = task.Choices!;
        if (field.Items is { } items)
            return [.. items.Select(item => Text(item, row))];
        if (Column(field, row) is { } column)
            return column.ValueKind == JsonValueKind.Array ? [.. column.EnumerateArray().Select(Shown)]
                : throw Wrong(row, field, "is no list", "name a column with a list of answers");
        return PythonLiteral.TryRead(Render(field, row), out var value) && value is JsonArray list
            ? [.. list.Select(Shown)] : throw Wrong(row, field, "gives no list", "let the template end in a list, e.g. {{choices.text}}");
    }

    private (IReadOnlyList<int> Right, IReadOnlyList<string> Targets) Target(SourceRow row, IReadOnlyList<string> choices)
    {
        var field = task.Target!;
        var value = Column(field, row) is { } column ? JsonNode.Parse(column.GetRawText()) : Literal(Render(field, row), choices.Count > 0);
        if (value is JsonArray { Count: 0 })
            throw Wrong(row, field, "gives an empty list", "correct the row, or remove it: no answer is right");
        if (choices.Count == 0)
            return ([], value is JsonArray texts ? [.. texts.Select(Shown)] : [Shown(value)]);
        var right = value is JsonArray several ? [.. several.Select(one => Index(one, row, choices))] : new[] { Index(value, row, choices) };
        return (right, [.. right.Select(index => choices[index])]);
    }

    private int Index(JsonNode? value, SourceRow row, IReadOnlyList<string> choices)
    {
        var index = value is JsonValue number && number.TryGetValue<long>(out var given) ? given
            : value is JsonValue flag && flag.TryGetValue<bool>(out var truth) ? truth ? 1 : 0
            : choices.IndexOf(Shown(value));
        return index >= 0 && index < choices.Count ? (int)index
            : throw Wrong(row, task.Target!, $"gives {Shown(value)}, which is none of the {choices.Count} answers",
                "give the number of the right answer, counted from 0, or its text");
    }

    // As the harness reads what a template prints: digits are a number where there are answers to choose, brackets are a list.
    private static JsonNode? Literal(string text, bool choosing) =>
        (choosing && text.Length > 0 && text.All(char.IsAsciiDigit) || text.StartsWith('[') && text.EndsWith(']'))
            && PythonLiteral.TryRead(text, out var value) ? value : JsonValue.Create(text);

    private static string Shown(JsonNode? value) => value is null ? "" : value is JsonValue text && text.TryGetValue<string>(out var words)
        ? words : value.ToJsonString();

    private static string Shown(JsonElement value) => value.ValueKind == JsonValueKind.String ? value.GetString()! : value.GetRawText();

    private static JsonElement? Column(TaskField field, SourceRow row) =>
        row.Value.TryGetProperty(field.Source, out var column) ? column : null;

    private string Text(TaskField field, SourceRow row) => Column(field, row) is { } column ? Shown(column) : Render(field, row);

    private string Render(TaskField field, SourceRow row)
    {
        Columns(field, row);
        try
        {
            return field.Template.RenderValues(row.Value.EnumerateObject().Select(column => (column.Name, PyJson.Read(column.Value))), s_day)
                .Text;
        }
        catch (TemplateException refused)
        {
            throw new InputException($"{row.Place}: {refused.What}", refused.Why, refused.Fix, refused);
        }
    }

    // What is not there would print as nothing, and the results would be of other questions.
    private void Columns(TaskField field, SourceRow row)
    {
        if (field.Source.Contains("is defined", StringComparison.Ordinal) || field.Source.Contains("default(", StringComparison.Ordinal))
            return;
        string[] columns = [.. row.Value.EnumerateObject().Select(column => column.Name)];
        if (field.Template.Features["variables"].FirstOrDefault(name => !columns.Contains(name)) is { } missing)
            throw Wrong(row, field, $"asks for {missing}, but the row has {string.Join(", ", columns)}",
                Spelling.Nearest(missing, columns) is { } near ? $"did you mean {near}?" : "name a column that the rows have");
    }

    private InputException Wrong(SourceRow row, TaskField field, string what, string fix) =>
        new($"{row.Place}: {field.Key} of {task.Name} {what}", fix: fix);

    private static void Require(SourceRow row)
    {
        if (row.Problem is { } problem)
            throw new InputException($"{row.Place}: {problem.Reason}{(problem.Detail.Length > 0 ? $": {problem.Detail}" : "")}",
                fix: problem.Fix ?? "correct the row, or remove it");
        if (row.Value.ValueKind != JsonValueKind.Object)
            throw new InputException($"{row.Place}: the row is no object with columns", fix: "correct the row, or remove it");
    }
}

/// <summary>Places in lists.</summary>
internal static class ListPlaces
{
    public static int IndexOf(this IReadOnlyList<string> list, string item)
    {
        for (var i = 0; i < list.Count; i++)
            if (list[i] == item)
                return i;
        return -1;
    }
}
