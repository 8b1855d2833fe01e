using Handbook.Base;
using Handbook.Data.Mixing;

namespace Handbook.Data.Formats;

/// <summary>Which columns the rows of a layout are made of; what else there is has no effect, and is named.</summary>
internal static class RowColumns
{
    private static readonly string[] s_aroundTurns = ["system", "history", "tools", "documents", "chat_template_kwargs"];

    /// <summary>The columns without effect.</summary>
    /// <exception cref="InputException">A column that the recipe maps has none.</exception>
    public static IReadOnlyList<string> Unread(string name, DatasetSpec spec, RowLayout layout, RowUse use,
        IReadOnlyDictionary<string, string> columns, IReadOnlyDictionary<string, ColumnShape> found)
    {
        var read = use == RowUse.Prompts ? [.. PromptReader.Columns, .. PromptReader.Beside, .. s_aroundTurns]
            : Read(layout, use, columns, found);
        foreach (var (ours, theirs) in spec.ColumnMapping ?? new Dictionary<string, string>())
            if (!read.Contains(ours))
                throw new InputException($"{name}: column_mapping takes {ours} from \"{theirs}\", but rows of the layout {layout} have "
                    + "no use for it",
                    $"they are made of {string.Join(", ", read.Where(columns.ContainsKey))}",
                        "remove it from column_mapping, or map the columns of another layout");
        // What samples are judged by may be any column.
        if (use == RowUse.Prompts)
            return [];
        var effective = read.Where(columns.ContainsKey).Select(ours => columns[ours]).ToHashSet();
        return [.. found.Keys.Where(column => !effective.Contains(column))];
    }

    private static IReadOnlyList<string> Read(RowLayout layout, RowUse use, IReadOnlyDictionary<string, string> columns,
        IReadOnlyDictionary<string, ColumnShape> found)
    {
        switch (layout)
        {
            case RowLayout.Text:
                return ["text"];
            case RowLayout.Tokens:
                return ["input_ids", "labels", "completion_mask", "assistant_masks", "attention_mask"];
            case RowLayout.Messages:
                return ["messages", .. s_aroundTurns];
            case RowLayout.Conversations:
                return ["conversations", .. s_aroundTurns];
            case RowLayout.Instruction:
                return ["instruction", "input", "output", .. s_aroundTurns];
            case RowLayout.PromptCompletion:
                return ["prompt", "completion", .. AroundTexts()];
        }
        string[] before = Has("prompt") ? ["prompt"] : Has("messages") ? ["messages"] : Has("conversations") ? ["conversations"]
            : ["instruction", "input"];
        string[] answers = Has("answers") ? ["answers"]
            : layout == RowLayout.Preference ? use == RowUse.Unpaired ? ["chosen", "rejected", "preference"]
                : ["chosen", "rejected", "preference", "margin"]
            : Has("prompt") && Has("completion") ? ["completion", "label"]
            : Has("messages") || Has("conversations") ? ["label"] : ["output", "label"];
        if (layout == RowLayout.Unpaired && !Has("answers") && !(Has("prompt") && Has("completion")))
            before = Has("messages") ? ["messages"] : Has("conversations") ? ["conversations"] : ["instruction", "input"];
        return [.. before, .. answers, .. AroundTexts()];

        bool Has(string name) => columns.ContainsKey(name);

        // A prompt that is a text goes through the template only where something beside it needs one.
        string[] AroundTexts() =>
            Has("prompt") && found.GetValueOrDefault(columns["prompt"]) == ColumnShape.Text
                && found.Values.All(shape => shape != ColumnShape.Turns) && !s_aroundTurns[..^1].Any(Has)
                ? s_aroundTurns[..^1] : s_aroundTurns;
    }
}
