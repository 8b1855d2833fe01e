using System.Text.Json;
using Handbook.Data.Formats;
using Handbook.Data.Tokenizing;
using Handbook.Recipes;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Plans;

/// <summary>From a recipe's keys to how its prompts and answers become tokens.</summary>
/// <remarks>
/// Three sets of rules: our own; those of the release that <c>trl_compat</c> names; those of the handbook's first revision, with <c>dataset_mixer</c>.
/// Ours are those of the newest release, with these departures: prompt and answers are rendered by difference; each answer ends with one end token,
/// and what its template writes behind that token is cut; the begin token stays whatever is cut; pairs of the same answer and answers that say nothing
/// are left out.
/// </remarks>
public static class PreferenceData
{
    /// <summary>What rows are read for; null for methods without answers.</summary>
    public static RowUse? Use(TrainingMethod method) => method switch
    {
        TrainingMethod.Dpo or TrainingMethod.Orpo or TrainingMethod.Cpo or TrainingMethod.Reward => RowUse.Preferences,
        TrainingMethod.Kto or TrainingMethod.Bco => RowUse.Unpaired,
        TrainingMethod.Grpo or TrainingMethod.RejectionSample => RowUse.Prompts,
        _ => null,
    };

    /// <summary>The rules of a recipe; null for methods without answers.</summary>
    public static PreferenceTokenizerOptions? Options(Recipe recipe)
    {
        if (Use(recipe.Method) is not { } use)
            return null;
        var keys = recipe.Preference;
        var isFirstRevision = recipe.Dialect == RecipeDialect.Mixer && keys.TrlCompat is null;
        var options = new PreferenceTokenizerOptions
        {
            Shape = use switch { RowUse.Unpaired => AnswerShape.Single, RowUse.Prompts => AnswerShape.Prompt, _ => recipe.Method == TrainingMethod.Reward ? AnswerShape.Whole : AnswerShape.Pair },
            MaxLength = recipe.Data.MaxLength,
            MaxPromptLength = keys.MaxPromptLength,
            MaxCompletionLength = IgnoresCompletionLength(recipe) ? null : keys.MaxCompletionLength,
            KeepsEnd = keys.Truncation() == TruncationMode.KeepEnd,
            PromptsCarryLoss = recipe.Method == TrainingMethod.Orpo && keys.OrpoNll == OrpoNll.PromptAndCompletion,
            // Prompts were left out for their length only where the recipe named one.
            PromptLimit = isFirstRevision && recipe.Method == TrainingMethod.Orpo && recipe.Sources.GetValueOrDefault("max_prompt_length") is KeySource.File or KeySource.CommandLine
                ? keys.MaxPromptLength : null,
            KeepsUncut = NeedsMismatched(recipe),
            KeepsEqualPairs = keys.TrlCompat is not null,
            KeepsEmptyAnswers = keys.TrlCompat is not null,
            KeepsBegin = keys.TrlCompat is null,
            Tools = keys.Tools is null or string ? keys.Tools as string : JsonSerializer.Serialize(keys.Tools),
        };
        options = keys.TrlCompat switch
        {
            TrlRelease.V0_24 => V0_24(options, recipe.Method),
            TrlRelease.V1_9 => V1_9(options, recipe.Method),
            _ when isFirstRevision => FirstRevision(options, recipe),
            _ => Own(options, recipe.Method),
        };
        // A reward is read at the end of a text as the template closes it: so a score is the same wherever else the model is asked for one.
        return recipe.Method == TrainingMethod.Reward ? options with { Cut = AnswerCut.LeaveOut, End = AnswerEnding.Texts } : options;
    }

    /// <summary>Whether <c>max_completion_length</c> cuts nothing: in the reference trainers it is for encoder-decoder models, but for DPO.</summary>
    internal static bool IgnoresCompletionLength(Recipe recipe) => recipe.Preference.TrlCompat is not null
        && recipe.Method is TrainingMethod.Orpo or TrainingMethod.Kto or TrainingMethod.Cpo or TrainingMethod.Bco;

    /// <summary>Whether rows need another row's answer beside their own: KTO, where its loss has a reference point.</summary>
    public static bool NeedsMismatched(Recipe recipe) => recipe.Method == TrainingMethod.Kto && recipe.Preference.LossType is not ["apo_zero_unpaired"];

    /// <summary>The rows that exchange answers, in training and evaluation alike: those over which the loss is one mean in training. null where none do.</summary>
    public static int? MismatchedBlock(Recipe recipe) => NeedsMismatched(recipe) ? PreferenceChecks.RowsPerGroup(recipe) : null;

    /// <summary>Whether rows keep their order, as in the reference trainers: KTO's batches then have each other's answers.</summary>
    /// <remarks>Only where a release is to be reproduced: pairs give all their chosen answers before the rejected ones, and in that order a model would learn from
    /// good answers first and from bad ones afterwards.</remarks>
    public static bool IsSequential(Recipe recipe) =>
        recipe.Preference.TrlCompat is not null && recipe.Method is TrainingMethod.Bco or TrainingMethod.Kto;

    /// <summary>Plain texts begin as in supervised fine-tuning, with what the tokenizer puts before them; conversations as their template writes them, and
    /// where the method's trainer adds it, with the begin token.</summary>
    private static PreferenceTokenizerOptions Own(PreferenceTokenizerOptions options, TrainingMethod method) => options with
    {
        Encoding = AnswerEncoding.Whole,
        AddsBegin = method is TrainingMethod.Orpo or TrainingMethod.Cpo or TrainingMethod.Bco,
    };

    private static PreferenceTokenizerOptions FirstRevision(PreferenceTokenizerOptions options, Recipe recipe) => options with
    {
        RendersParts = true,
        InsertEmptySystemTurn = recipe.Sft.AutoInsertEmptySystemMsg,
        Encoding = AnswerEncoding.Joint,
        AddsBegin = true,
        End = AnswerEnding.Always,
        Cut = AnswerCut.LongestAnswer,
    };

    private static PreferenceTokenizerOptions V0_24(PreferenceTokenizerOptions options, TrainingMethod method) => method switch
    {
        TrainingMethod.Dpo => options with { Encoding = AnswerEncoding.Separate, End = AnswerEnding.Always, Cut = AnswerCut.Sequence },
        _ => options with
        {
            Encoding = AnswerEncoding.JointByLength,
            AddsBegin = true,
            End = AnswerEnding.IfMissing,
            Cut = options.Shape == AnswerShape.Single ? AnswerCut.BeforeSpecialTokens : AnswerCut.LongestAnswer,
        },
    };

    private static PreferenceTokenizerOptions V1_9(PreferenceTokenizerOptions options, TrainingMethod method) => method switch
    {
        TrainingMethod.Dpo or TrainingMethod.Kto => options with
        {
            Encoding = AnswerEncoding.Tail,
            AlwaysOpensAnswer = true,
            End = AnswerEnding.Texts,
            Cut = AnswerCut.Sequence,
            KeepsEnd = method == TrainingMethod.Dpo && options.KeepsEnd,
        },
        _ => options with
        {
            Encoding = AnswerEncoding.JointByLength,
            AddsBegin = true,
            End = AnswerEnding.IfMissing,
            Cut = options.Shape == AnswerShape.Single ? AnswerCut.AnswerOnly : AnswerCut.LengthLessLongest,
        },
    };
}
