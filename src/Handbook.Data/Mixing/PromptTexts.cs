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

/// <summary>The texts of prompts by the numbers of their token rows, each read when it is asked for.</summary>
/// <param name="rows">The prompts.</param>
/// <param name="readers">Read the rows of each source.</param>
/// <param name="referenceColumn">The column with the right answers; null takes one of the usual ones.</param>
/// <param name="comparer">The scorer that compares with them; null where none does.</param>
internal sealed class PromptTexts(OrderedRows rows, IReadOnlyList<RowReader> readers, string? referenceColumn, string? comparer)
{
    /// <summary>What a prompt says.</summary>
    /// <exception cref="InputException">Its row has no right answer, and somebody wants one.</exception>
    public PromptText this[int row]
    {
        get
        {
            var (source, said) = rows.Source(row);
            return Of(readers[source].Read(said.Value, out _)!, said);
        }
    }

    /// <summary>Looks at every prompt where somebody wants its right answer, so that none is missed in the midst of a run.</summary>
    /// <param name="judge">Looks at each more closely; null for nobody.</param>
    /// <exception cref="InputException">A row has no right answer, or the judge refuses it.</exception>
    public void Require(Action<PromptText>? judge = null)
    {
        if ((referenceColumn ?? comparer) is null && judge is null)
            return;
        for (var row = 0; row < rows.Count; row++)
        {
            var text = this[row];
            judge?.Invoke(text);
        }
    }

    private PromptText Of(Example example, SourceRow row)
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
