using System.Text.Json;
using Handbook.Base;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Text.Templates;

namespace Handbook.Data.Formats;

/// <summary>Reads rows of one layout.</summary>
public sealed class RowReader
{
    private const int RowsLookedAt = 64;

    private static readonly string[] _known =
    [
        "messages", "conversations", "prompt", "question", "completion", "instruction", "input", "output", "system", "history", "text",
            "tools", "documents",
        "chat_template_kwargs", "chosen", "rejected", "preference", "answers", "margin", "label", "input_ids", "labels",
        "completion_mask", "assistant_masks", "attention_mask",
    ];

    /// <summary>Whether a column of this name is read as part of a row: a prompt, an answer, a label and their like.</summary>
    public static bool Reads(string column) => _known.Contains(column);

    /// <summary>Columns that a row may have or not: one that only later rows have is read there all the same.</summary>
    private static readonly string[] s_optional = ["system", "history", "tools", "documents", "chat_template_kwargs", "input", "labels",
        "completion_mask", "assistant_masks", "attention_mask"];

    private readonly IReadOnlyDictionary<string, string> _columns;
    private readonly HashSet<string> _optional;
    private readonly TurnRules _keepsToolCalls;
    private readonly bool _answersAreLastTurns;
    private readonly PreferenceReader _preferences;
    private readonly PromptReader _prompts;
    private readonly string? _weight;

    private RowReader(RowLayout layout, IReadOnlyDictionary<string, string> columns, DatasetSpec spec, TurnRules keepsToolCalls,
        bool answersAreLastTurns)
    {
        _optional = [.. (layout == RowLayout.Prompt ? [.. s_optional, .. PromptReader.Columns, .. PromptReader.Beside] : s_optional)
            .Where(name => spec.Columns?.Contains(name) != false && spec.ColumnMapping?.Values.Contains(name) != true)];
        (Layout, _columns, _keepsToolCalls, _answersAreLastTurns) = (layout, columns, keepsToolCalls, answersAreLastTurns);
        _preferences = new(this, keepsToolCalls, answersAreLastTurns);
        _prompts = new(this, keepsToolCalls);
    }

    /// <summary>The layout that the columns of the first rows told.</summary>
    public RowLayout Layout { get; }

    /// <summary>Whether pairs have a column <c>preference</c> that no mapping names: it may say which answer is better, or anything
    /// else.</summary>
    internal bool IgnoresPreference { get; private init; }

    /// <summary>Columns of the first rows that have no effect.</summary>
    internal IReadOnlyList<string> Unread
    {
        get;
        private init => (field, _weight) = (value, value.FirstOrDefault(TurnWeight.IsOfRow));
    } = [];

    /// <summary>Says which columns are read, for the cache's key.</summary>
    public string Fingerprint =>
        $"{Layout} {_keepsToolCalls} {_answersAreLastTurns} {string.Join(',', _columns.OrderBy(column => column.Key, StringComparer.Ordinal).Select(column => $"{column.Key}={column.Value}"))}";

    /// <summary>Tells the layout from the columns of the first rows.</summary>
    /// <param name="source">The rows.</param>
    /// <param name="spec">Its column mapping and the columns to keep.</param>
    /// <param name="textColumn">The column with plain text.</param>
    /// <param name="keepsToolCalls">Whether the chat template renders tool calls; if not, a call is kept as the turn's text.</param>
    /// <param name="answersAreLastTurns">Takes the last turns of two conversations for the answers, and the chosen one's others for the
    /// prompt, as the handbook's first revision does; otherwise the prompt is what both begin with.</param>
    public static RowReader For(IRowSource source, DatasetSpec spec, RowUse use, string textColumn = "text", bool keepsToolCalls = true,
        bool answersAreLastTurns = false)
    {
        var (found, seen, others) = (new List<string>(), new HashSet<string>(), new HashSet<string>());
        var shapes = new Dictionary<string, ColumnShape>();
        foreach (var row in source.Read().Where(row => row.Problem is null).Take(RowsLookedAt))
            foreach (var column in row.Value.EnumerateObject())
            {
                if (spec.Columns?.Contains(column.Name) != false)
                    seen.Add(column.Name);
                else
                    others.Add(column.Name);
                if (column.Value.ValueKind is not (JsonValueKind.Null or JsonValueKind.Undefined) && !found.Contains(column.Name)
                    && spec.Columns?.Contains(column.Name) != false)
                {
                    found.Add(column.Name);
                    shapes.Add(column.Name, ColumnAdvice.ShapeOf(column.Value));
                }
            }
        var columns = MapColumns(source.Name, spec, use is RowUse.FineTuning or RowUse.Pretraining ? textColumn : "text", found);
        if (found.Count == 0 && source.Read().FirstOrDefault(row => row.Problem is { Reason: not PlainTextFile.BlankLine }) is
            { Problem: { } problem } bad)
            throw new InputException(
                $"{bad.Place}: {problem.Reason}{(problem.Detail.Length > 0 ? $": {problem.Detail}" : "")}: {problem.Excerpt}",
                $"{source.Name} has no row that can be read; this is the first",
                    problem.Fix ?? $"see the first rows: head -c 600 {source.Name}"
                        + (source.Name.Contains(".json", StringComparison.OrdinalIgnoreCase) ? "; JSONL has one object on each line" : ""));
        var layout = Mapped(spec, use) ?? Recognise(source.Name, use, columns, found, [.. seen.Except(found)], [.. others], shapes,
            textColumn);
        return new RowReader(layout, columns, spec, new(keepsToolCalls, PadsWithNulls(source)), answersAreLastTurns)
        {
            Unread = RowColumns.Unread(source.Name, spec, layout, use, columns, shapes),
            IgnoresPreference = layout == RowLayout.Preference && found.Contains("preference") && !columns.ContainsKey("answers")
                && !columns.ContainsValue("preference"),
        };
    }

    /// <summary>The row's content; null with the reason where it cannot be used.</summary>
    public Example? Read(JsonElement row, out RowProblem? problem) => Layout == RowLayout.Prompt
        ? Prompt(row, out problem)?.ToExample()
        : Judged(row, () => WithWeight(row, Layout switch
        {
            RowLayout.Text => new TextExample(Text(row, "text")),
            RowLayout.PromptCompletion => ReadPrompt(row),
            RowLayout.Tokens => TokenColumns.Read(this, row),
            RowLayout.Preference => _preferences.Pair(row),
            RowLayout.Unpaired => _preferences.Unpaired(row),
            _ => new ChatExample(Chat(row, Turns(row, out var remarks))) { Remarks = remarks },
        }), out problem);

    /// <summary>What a row of the layout <see cref="RowLayout.Prompt"/> asks; null with the reason where it asks nothing.</summary>
    /// <param name="system">What is said first in place of the column <c>system</c>; null reads that column.</param>
    internal RowPrompt? Prompt(JsonElement row, out RowProblem? problem, string? system = null) =>
        Judged(row, () => _prompts.Read(row, system), out problem);

    /// <summary>The example, with a remark where its row asks to count more or less than others.</summary>
    private Example WithWeight(JsonElement row, Example example) => _weight is null || !TurnWeight.Asks(row, _weight) ? example
        : example is SeveralExamples several ? new SeveralExamples([.. several.Examples.Select(one => WithWeight(row, one))])
        : example with { Remarks = [.. example.Remarks, $"the column {_weight} is not read: every row counts as much as another"] };

    private static T? Judged<T>(JsonElement row, Func<T> read, out RowProblem? problem) where T : class
    {
        problem = null;
        try
        {
            return read();
        }
        catch (UnusableRowException failure)
        {
            problem = failure.Problem(row);
        }
        catch (InvalidOperationException)
        {
            problem = new("invalid text", "a text holds half of a surrogate pair", Excerpt.Of(row.GetRawText()));
        }
        return null;
    }

    /// <summary>Whether the rows come from a table, whose nested values have the fields of all rows.</summary>
    private static bool PadsWithNulls(IRowSource source) =>
        source.Files.Any(file => Path.GetExtension(file) is ".parquet" or ".arrow" or ".feather");

    private static Dictionary<string, string> MapColumns(string name, DatasetSpec spec, string textColumn, List<string> found)
    {
        var columns = new Dictionary<string, string>();
        foreach (var (ours, theirs) in spec.ColumnMapping ?? new Dictionary<string, string>())
        {
            if (!_known.Contains(ours))
                throw new InputException($"column_mapping: \"{ours}\" is no column that we read",
                    fix: $"{(Spelling.Nearest(ours, _known) is { } meant ? $"did you mean {meant}? Otherwise " : "")}map one of "
                        + $"{string.Join(", ", _known)} to a column of the file, e.g. {{prompt: question, completion: answer}}");
            columns[ours] = found.Contains(theirs) || found.Count == 0 ? theirs
                : throw new InputException($"{name}: column_mapping takes {ours} from \"{theirs}\", but the rows have the "
                    + $"columns {string.Join(", ", found)}", fix: Spelling.Nearest(theirs, found) is { } near
                        ? $"did you mean column_mapping: {{{ours}: {near}}}?" : $"correct column_mapping: {{{ours}: …}}");
        }
        if (textColumn != "text")
            columns.TryAdd("text", textColumn);
        foreach (var column in found)
            if (_known.Contains(column))
                columns.TryAdd(column, column);
        // Two spellings of the answer are in use among instruction sets.
        if (columns.ContainsKey("instruction") && !columns.ContainsKey("output") && found.Contains("response"))
            columns["output"] = "response";
        foreach (var answer in new[] { "chosen", "rejected" })
            if (!columns.ContainsKey(answer) && found.Contains(answer + "_messages"))
                columns[answer] = answer + "_messages";
        // Which answers are better is read only where the recipe says so: a column of that name may hold anything.
        foreach (var judged in new[] { "preference", "answers" })
            if (spec.ColumnMapping?.ContainsKey(judged) != true)
                columns.Remove(judged);
        return columns;
    }

    /// <summary>The layout that the column mapping alone spells out, whatever other columns there are; null where it spells none.</summary>
    private static RowLayout? Mapped(DatasetSpec spec, RowUse use)
    {
        return use != RowUse.FineTuning ? null
            : Has("messages") ? RowLayout.Messages
            : Has("conversations") ? RowLayout.Conversations
            : Has("prompt") && Has("completion") ? RowLayout.PromptCompletion
            : Has("instruction") && Has("output") ? RowLayout.Instruction
            : Has("text") ? RowLayout.Text : null;

        bool Has(string name) => spec.ColumnMapping?.ContainsKey(name) == true;
    }

    private static RowLayout Recognise(string name, RowUse use, Dictionary<string, string> columns, List<string> found,
        string[] empty, string[] others, Dictionary<string, ColumnShape> shapes, string textColumn)
    {
        var hasAnswered = Has("prompt", "completion") || Has("instruction", "output") || Has("messages") || Has("conversations");
        switch (use)
        {
            case RowUse.Preferences:
                return Has("chosen", "rejected") || Has("answers") ? RowLayout.Preference
                    : throw Unknown("chosen and rejected", hasAnswered && Has("label")
                        ? "these are single answers with a label: use handbook kto or handbook bco" : PairAdvice());
            case RowUse.Unpaired:
                return Has("chosen", "rejected") ? RowLayout.Preference
                    : (hasAnswered && Has("label")) || Has("answers") ? RowLayout.Unpaired
                    : throw Unknown("prompt, completion and label (true or false), or chosen and rejected", hasAnswered
                        ? "name the column that says whether an answer is good: column_mapping: {label: …}" : PairAdvice());
            case RowUse.Prompts:
                return PromptReader.Columns.Any(columns.ContainsKey) ? RowLayout.Prompt
                    : throw Unknown($"{string.Join(", ", PromptReader.Columns.SkipLast(1))} or {PromptReader.Columns[^1]}",
                        $"column_mapping: {{prompt: {ColumnAdvice.Question(shapes) ?? "…"}}}");
        }
        if (Has("input_ids"))
            return RowLayout.Tokens;
        if (use == RowUse.Pretraining)
            return found.Contains(columns.GetValueOrDefault("text", textColumn)) ? RowLayout.Text
                : throw Unknown($"the text column \"{columns.GetValueOrDefault("text", textColumn)}\"",
                found.FirstOrDefault(column => shapes[column] == ColumnShape.Text) is { } text ? $"text_column: {text}"
                    : found.Exists(column => shapes[column] == ColumnShape.Turns) ? "these are conversations: use handbook sft"
                    : "name the column with the texts: text_column: …");
        return Has("messages") ? RowLayout.Messages
            : Has("prompt", "completion") ? RowLayout.PromptCompletion
            : Has("conversations") ? RowLayout.Conversations
            : Has("instruction", "output") ? RowLayout.Instruction
            : Has("text") && found.Contains(columns["text"]) ? RowLayout.Text
            : throw Unknown("messages, conversations, prompt + completion, instruction + output, or text",
                ColumnAdvice.ForFineTuning(shapes));

        bool Has(params string[] names) => Array.TrueForAll(names, columns.ContainsKey);

        // Two columns that differ by their number or letter alone are most likely the two answers.
        string PairAdvice() =>
            found.SelectMany(first => found.Select(second => (first, second)))
                .FirstOrDefault(pair => pair.first.Length == pair.second.Length && pair.first[..^1] == pair.second[..^1]
                && (pair.first[^1], pair.second[^1]) is ('1', '2') or ('0', '1') or ('a', 'b') or ('A', 'B')) is
            {
                first: { } one,
                second: var other
            }
                ? $"column_mapping: {{prompt: …, chosen: {one}, rejected: {other}, preference: …}}, where preference names the column "
                    + "that says 1 or 2"
                : $"{(hasAnswered ? "these are answers that are compared with no other: train on them with handbook sft. Otherwise " : "")}say "
                    + "which columns hold the better and the worse answer: column_mapping: {prompt: …, chosen: …, rejected: …}, or all "
                    + "answers with their scores: {prompt: …, answers: …}";

        InputException Unknown(string wanted, string fix) => found.Count > 0
            ? new InputException($"{name}: has the columns {string.Join(", ", found.Concat(empty.Select(column => $"{column} (always null)")))}, "
                + $"but wanted are {wanted}", fix: fix)
            : empty.Length + others.Length == 0
                ? new InputException($"{name}: has no row that can be read", fix: "see the first rows: head -c 600 " + name)
            : empty.Length == 0
                ? new InputException($"{name}: none of the columns to keep is there; it has {string.Join(", ", others)}",
                    fix: "correct columns, or remove the key to keep all")
                { Key = "columns" }
            : new InputException($"{name}: {string.Join(", ", empty)} {(empty.Length == 1 ? "is" : "are")} null in every row",
                fix: $"give the rows values, or name other columns; see the first ones: head -c 600 {name}");
    }

    private Example ReadPrompt(JsonElement row)
    {
        var prompt = Required(row, "prompt");
        var completion = Required(row, "completion");
        if (prompt.ValueKind == JsonValueKind.String && completion.ValueKind == JsonValueKind.String && !NeedsTurns(row))
            return new PromptExample(prompt.GetString()!, completion.GetString()!);
        var isText = prompt.ValueKind == JsonValueKind.String && completion.ValueKind == JsonValueKind.String;
        if (!isText && (prompt.ValueKind != JsonValueKind.Array
            || completion.ValueKind is not (JsonValueKind.Array or JsonValueKind.String)))
            throw new UnusableRowException("wrong type",
                $"prompt is {JsonOptions.Name(prompt.ValueKind)} and completion {JsonOptions.Name(completion.ValueKind)}, but both must "
                + "be texts, or the prompt a list of turns");
        // A text that completes a conversation is what the assistant says next.
        var turns = new ChatTurns(_keepsToolCalls);
        var before = new ChatTurns(_keepsToolCalls);
        before = isText ? before.Add("user", prompt.GetString()!) : before.Add(prompt);
        return new ChatPromptExample(
            Chat(row, Opened(row, before.ToJson(), out var remarks)),
            (completion.ValueKind == JsonValueKind.String ? turns.Add("assistant", completion.GetString()!) : turns.Add(completion))
                .ToJson())
        { Remarks = remarks };
    }

    private JsonElement Turns(JsonElement row, out IReadOnlyList<string> remarks)
    {
        var turns = new ChatTurns(_keepsToolCalls);
        turns = Layout switch
        {
            RowLayout.Messages => turns.Add(Required(row, "messages")),
            RowLayout.Conversations => turns.Add(Required(row, "conversations")),
            _ => turns.Add("user", Instruction(row)).Add("assistant", Text(row, "output")),
        };
        return Opened(row, turns.ToJson(), out remarks);
    }

    /// <summary>The turns with what stands before them in columns of its own: the system text, and the history.</summary>
    /// <param name="first">What is said first in place of the column <c>system</c>; null reads that column.</param>
    internal JsonElement Opened(JsonElement row, JsonElement turns, out IReadOnlyList<string> remarks, string? first = null)
    {
        var system = first ?? SystemText(row);
        remarks = system is not null && TurnOpening.HasSystem(turns)
            && !(turns[0].TryGetProperty("content", out var said) && said.ValueKind == JsonValueKind.String && said.ValueEquals(system))
            ? [first is not null ? "the conversation has a system turn of its own, and system_prompt is not put before it"
                : $"the conversation has a system turn of its own, and the column {NameOf("system")}, which says something else, is not read"]
            : [];
        return TurnOpening.Before(turns, system, History(row));
    }

    /// <summary>Whether the row has what only a chat template can place.</summary>
    internal bool NeedsTurns(JsonElement row) => SystemText(row) is not null || History(row).Count > 0 || List(row, "tools") is not null
        || List(row, "documents") is not null;

    private string? SystemText(JsonElement row) => Column(row, "system") is not { } value ? null
        : value.ValueKind != JsonValueKind.String ? throw WrongType("system", value)
        : value.GetString() is { Length: > 0 } text ? text : null;

    private List<JsonElement> History(JsonElement row) => TurnOpening.History(Column(row, "history"));

    /// <summary>The instruction with its input below it.</summary>
    internal string Instruction(JsonElement row)
    {
        var input = Column(row, "input") is { } extra ? extra.ValueKind == JsonValueKind.String ? extra.GetString()
            : throw WrongType("input", extra) : null;
        var instruction = Text(row, "instruction");
        return string.IsNullOrEmpty(input) ? instruction : $"{instruction}\n{input}";
    }

    internal Conversation Chat(JsonElement row, JsonElement messages) => Inputs(row)?.With(messages) ?? new() { Messages = messages };

    /// <summary>What the row gives the chat template beside its turns; null where it gives nothing.</summary>
    internal TemplateInputs? Inputs(JsonElement row) => TemplateColumns.Read(name => Column(row, name), _keepsToolCalls.PadsWithNulls);

    /// <summary>A list, or the JSON text of one; null where it is absent or empty.</summary>
    private JsonElement? List(JsonElement row, string name) =>
        TemplateColumns.List(Column(row, name), NameOf(name), _keepsToolCalls.PadsWithNulls);

    internal string Text(JsonElement row, string name) => Required(row, name) is { ValueKind: JsonValueKind.String } value
        ? value.GetString()! : throw WrongType(name, Required(row, name));

    internal JsonElement Required(JsonElement row, string name) =>
        Column(row, name) ?? throw new UnusableRowException($"no {_columns.GetValueOrDefault(name, name)}", "");

    /// <summary>What the rows call one of our columns.</summary>
    internal string NameOf(string column) => _columns.GetValueOrDefault(column, column);

    /// <summary>Whether the rows have one of our columns.</summary>
    internal bool HasColumn(string name) => _columns.ContainsKey(name);

    /// <summary>The value of one of our columns; null where it is absent or null.</summary>
    internal JsonElement? Column(JsonElement row, string name) =>
        (_columns.TryGetValue(name, out var theirs) || (_optional.Contains(name) && (theirs = name) is not null))
            && row.TryGetProperty(theirs, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

    internal UnusableRowException WrongType(string name, JsonElement value) =>
        new("wrong type", $"{_columns.GetValueOrDefault(name, name)} is {JsonOptions.Name(value.ValueKind)}");
}

/// <summary>A row cannot be used; caught where rows are counted.</summary>
internal sealed class UnusableRowException(string reason, string detail) : Exception
{
    public string Reason { get; } = reason;

    public string Detail { get; } = detail;

    /// <summary>Whether a rule leaves the row out, and nothing is wrong with it.</summary>
    public bool IsRule { get; init; }

    /// <summary>What to do about rows of this kind; null where the row alone tells.</summary>
    public string? Fix { get; init; }

    public RowProblem Problem(JsonElement row) => new(Reason, Detail, Excerpt.Of(row.GetRawText())) { IsRule = IsRule, Fix = Fix };
}
