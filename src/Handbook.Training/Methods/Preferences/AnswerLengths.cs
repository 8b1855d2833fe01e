using Handbook.Base;
using Handbook.Data.Tokenizing;

namespace Handbook.Training.Methods.Preferences;

/// <summary>What must hold among the keys that say how long prompts and answers may be.</summary>
internal static class AnswerLengths
{
    public static void Check(MethodOptions run, Diagnostics report)
    {
        var options = run.Preference;
        if (options.MaxPromptLength is < 1)
            report.OutOfRange("max_prompt_length", options.MaxPromptLength, "must be at least 1",
                why: "an answer without its prompt teaches little", fix: "use 512, or null to cut no prompt");
        if (options.MaxCompletionLength is < 1)
            report.OutOfRange("max_completion_length", options.MaxCompletionLength, "must be at least 1",
                why: "a row without answers has no loss", fix: "use 512, or null to cut no answer");
        if (run.Definition.Answers(run) is not { } rows || rows.Shape == AnswerShape.Prompt)
            return;
        if (rows.LeavesOutLongRows())
            report.Warning("max_length", $"is {rows.MaxLength} and max_prompt_length {rows.MaxPromptLength}: a row that is longer "
                + "is left out",
                why: "where a row is too long, its prompt is cut to max_prompt_length and its answer to the rest, of which there is none",
                fix: $"set max_prompt_length: {Math.Max(1, rows.MaxLength!.Value / 2)}, or a larger max_length");
        else if (rows.MaxLength < rows.MaxPromptLength && run.IsWritten("max_prompt_length"))
            report.Warning("max_prompt_length", $"is {rows.MaxPromptLength}, above max_length {rows.MaxLength}",
                why: "whole rows are cut to max_length all the same, so that a prompt of that length has no room for its answer",
                fix: $"set max_prompt_length: {Math.Max(1, rows.MaxLength!.Value / 2)}, or a larger max_length");
    }
}
