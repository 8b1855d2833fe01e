using System.Text.Json;
using Handbook.Data.Tokenizing;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Plans;

namespace Handbook.Training.Methods;

/// <summary>A method whose rows are prompts, with or without answers.</summary>
/// <remarks>
/// Three sets of rules say how these become tokens: our own; those of the release that <c>trl_compat</c> names; those of the handbook's
/// first revision, with
/// <c>dataset_mixer</c>. Ours are those of the newest release, with these departures: prompt and answers are rendered by difference; each
/// answer ends with one end token, and what its template writes behind that token is cut; the begin token stays whatever is cut; pairs of
/// the same answer and answers that say nothing are left out.
/// </remarks>
internal abstract class AnswerDefinition : MethodDefinition
{
    /// <summary>What becomes of a row.</summary>
    protected abstract AnswerShape Shape { get; }

    /// <summary>Whether the method's trainer puts the begin token before conversations, which their template does not.</summary>
    protected virtual bool AddsBegin => false;

    public sealed override PreferenceTokenizerOptions? Answers(MethodOptions run)
    {
        var keys = run.Preference;
        var options = new PreferenceTokenizerOptions
        {
            Shape = Shape,
            MaxLength = run.Data.MaxLength,
            MaxPromptLength = keys.MaxPromptLength,
            MaxCompletionLength = IgnoresCompletionLength(run) ? null : keys.MaxCompletionLength,
            KeepsEnd = keys.Truncation() == TruncationMode.KeepEnd,
            KeepsUncut = MismatchedBlock(run) is not null,
            KeepsEqualPairs = keys.TrlCompat is not null,
            KeepsEmptyAnswers = keys.TrlCompat is not null,
            KeepsBegin = keys.TrlCompat is null,
            Tools = keys.Tools is null or string ? keys.Tools as string : JsonSerializer.Serialize(keys.Tools),
        };
        return Of(keys.TrlCompat switch
        {
            TrlRelease.V0_24 => V0_24(options),
            TrlRelease.V1_9 => V1_9(options),
            _ when run.Dialect == RecipeDialect.Mixer => FirstRevision(options, run),
            _ => Own(options),
        }, run);
    }

    /// <summary>What the method changes about the rules, whichever they are.</summary>
    protected virtual PreferenceTokenizerOptions Of(PreferenceTokenizerOptions options, MethodOptions run) => options;

    /// <summary>The rules of TRL 0.24.</summary>
    protected virtual PreferenceTokenizerOptions V0_24(PreferenceTokenizerOptions options) => options with
    {
        Encoding = AnswerEncoding.JointByLength,
        AddsBegin = true,
        End = AnswerEnding.IfMissing,
        Cut = Shape == AnswerShape.Single ? AnswerCut.BeforeSpecialTokens : AnswerCut.LongestAnswer,
    };

    /// <summary>The rules of TRL 1.9.</summary>
    protected virtual PreferenceTokenizerOptions V1_9(PreferenceTokenizerOptions options) => options with
    {
        Encoding = AnswerEncoding.JointByLength,
        AddsBegin = true,
        End = AnswerEnding.IfMissing,
        Cut = Shape == AnswerShape.Single ? AnswerCut.AnswerOnly : AnswerCut.LengthLessLongest,
    };

    /// <summary>The rules of the trainers that share their tokens with <c>dpo</c> and <c>kto</c> in TRL 1.9.</summary>
    /// <param name="keepsEnd">Whether the method lets the end of a row be kept.</param>
    protected static PreferenceTokenizerOptions Tail(PreferenceTokenizerOptions options, bool keepsEnd) => options with
    {
        Encoding = AnswerEncoding.Tail,
        AlwaysOpensAnswer = true,
        End = AnswerEnding.Texts,
        Cut = AnswerCut.Sequence,
        KeepsEnd = keepsEnd && options.KeepsEnd,
    };

    /// <summary>Plain texts begin as in supervised fine-tuning, with what the tokenizer puts before them; conversations as their template
    /// writes them, and where the method's trainer adds it, with the begin token.</summary>
    private PreferenceTokenizerOptions Own(PreferenceTokenizerOptions options) =>
        options with { Encoding = AnswerEncoding.Whole, AddsBegin = AddsBegin };

    private static PreferenceTokenizerOptions FirstRevision(PreferenceTokenizerOptions options, MethodOptions run) => options with
    {
        RendersParts = true,
        InsertEmptySystemTurn = run.Sft.AutoInsertEmptySystemMsg,
        Encoding = AnswerEncoding.Joint,
        AddsBegin = true,
        End = AnswerEnding.Always,
        Cut = AnswerCut.LongestAnswer,
    };
}
