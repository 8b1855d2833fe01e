using Handbook.Data.Formats;
using Handbook.Data.Sources;
using Handbook.Data.Tokenizing;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;

namespace Handbook.Data.Mixing;

/// <summary>What a user should know about rows that can all be read: a reading that may not be the one that was meant.</summary>
internal static class RowRemarks
{
    /// <param name="source">The rows; the first that can be read stands for them.</param>
    /// <param name="reader">Reads their layout.</param>
    /// <param name="options">With the tokenizer and its template.</param>
    /// <returns>Whole lines for the log, each with its weight: <c>note: …</c> or <c>warning: …</c>.</returns>
    public static IEnumerable<string> Of(IRowSource source, RowReader reader, TrainingDataOptions options)
    {
        foreach (var remark in source.Remarks)
            yield return remark;
        string[] unread = [.. reader.Unread.Except(options.Annotations)];
        if (unread.Length > 0)
            yield return $"note: {source.Name}: columns without effect: {string.Join(", ", unread.Take(12))}"
                + (unread.Length > 12 ? $" and {unread.Length - 12} more" : "");
        if (reader.HasColumn("margin") && options.Answers is { Shape: not AnswerShape.Whole } && !options.Annotations.Contains("margin"))
            yield return $"note: {source.Name}: the column margin has an effect in reward modelling alone";
        if (reader.IgnoresPreference)
            yield return $"note: {source.Name}: the column preference is not read: chosen and rejected are taken as they stand. If it "
                + "says which answer is better (1 or 2), "
                + "map it, or the labels of some rows are the wrong way round: column_mapping: {preference: preference, …}";
        if (reader.Layout == RowLayout.Tokens && options.Answers is null && options.Rows.Loss == LossScope.All
            && reader.HasColumn("completion_mask"))
            yield return $"note: {source.Name}: the column completion_mask is not read: completion_only_loss is false";
        if (options.TextColumn != "text" && options.Use is RowUse.FineTuning && reader.Layout != RowLayout.Text)
            yield return $"note: {source.Name}: text_column {options.TextColumn} is not read: its rows are {reader.Layout switch
            {
                RowLayout.Tokens => "tokens already",
                RowLayout.PromptCompletion => "prompts with completions",
                RowLayout.Instruction => "instructions with outputs",
                _ => "conversations",
            }}";
        foreach (var remark in ChatRemarks.Of(source, reader, options))
            yield return remark;
    }
}
