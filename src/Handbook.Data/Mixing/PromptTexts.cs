using System.Text.Json;
using Handbook.Base;
using Handbook.Data.Formats;
using Handbook.Data.Sources;
using Handbook.Text.Templates;

namespace Handbook.Data.Mixing;

/// <summary>What a prompt says, for those who judge its answers.</summary>
/// <param name="Text">The prompt as a text; null where it is a conversation.</param>
/// <param name="Messages">Its turns, a JSON list; null where it is a text.</param>
/// <param name="Reference">The right answer; null where the row has none.</param>
/// <param name="Place">Where the row stands, for messages.</param>
/// <param name="Inputs">What the chat template is given beside the turns; null for nothing.</param>
public sealed record PromptText(string? Text, JsonElement? Messages, string? Reference, string Place, TemplateInputs? Inputs = null);

/// <summary>The texts of prompts by the numbers of their token rows.</summary>
internal sealed class PromptTexts
{
    private readonly OrderedRows _rows;
    private readonly Dictionary<(int Source, long Row), PromptText> _texts = [];

    internal PromptTexts(OrderedRows rows, IReadOnlyList<(IRowSource Rows, RowReader Reader)> sources, string? referenceColumn,
        string? comparer)
    {
        _rows = rows;
        var wanted = Enumerable.Range(0, rows.Count).Select(rows.Origin).ToHashSet();
        foreach (var source in wanted.Select(origin => origin.Source).Distinct().Order())
        {
            var number = 0L;
            foreach (var row in sources[source].Rows.Read())
            {
                if (wanted.Contains((source, number)) && row.Problem is null
                    && sources[source].Reader.Read(row.Value, out _) is { } example)
                    _texts[(source, number)] = Of(example, row, referenceColumn, comparer);
                number++;
            }
        }
    }

    /// <summary>Each prompt once.</summary>
    public IEnumerable<PromptText> All => _texts.Values;

    public PromptText this[int row] => _texts[_rows.Origin(row)];

    private static PromptText Of(Example example, SourceRow row, string? referenceColumn, string? comparer)
    {
        var reference = ReferenceAnswer.Of(row.Value, referenceColumn);
        if (reference is null && (referenceColumn ?? comparer) is not null)
            throw new InputException($"{row.Place}: {ReferenceAnswer.Missing(row.Value, referenceColumn)}",
                comparer is null ? null : $"{comparer} compares answers with it", ReferenceAnswer.Fix);
        return example switch
        {
            AnswersExample text => new(text.Prompt, null, reference, row.Place),
            ChatAnswersExample chat => new(null, chat.Prompt.Messages, reference, row.Place, chat.Prompt.Inputs),
            _ => throw new InvalidOperationException($"{example.GetType().Name} is no prompt"),
        };
    }
}
