using Handbook.Data.Tokenizing;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Plans;

namespace Handbook.Training.Methods.Orpo;

/// <summary>Odds-ratio preference optimisation: the likelihood of chosen answers and the odds of a pair, in one stage, without a
/// reference.</summary>
internal sealed class OrpoDefinition : PreferenceDefinition
{
    public override string Summary => "Fine-tune and align in one stage, without a reference model (ORPO), or resume from the "
        + "last checkpoint";

    public override MethodPaper? Paper => new("ORPO: Monolithic Preference Optimization without Reference Model", "2403.07691",
        "hong2024orpo", "Jiwoo Hong and Noah Lee and James Thorne", 2024);

    public override IEnumerable<string> Measures(MethodOptions run) => [.. base.Measures(run), "log_odds_ratio", "log_odds_chosen", "nll_loss"];

    public override IReadOnlyList<string> Keys => [.. base.Keys, nameof(PreferenceOptions.OrpoNll)];

    protected override string? UsualLoss => null;

    protected override bool DecontaminatesFirstRevision => true;

    protected override bool AddsBegin => true;

    public override IPreferenceObjective Objective(PreferenceOptions options) => new OrpoObjective(options);

    protected override PreferenceTokenizerOptions Of(PreferenceTokenizerOptions options, MethodOptions run) => options with
    {
        PromptsCarryLoss = run.Preference.OrpoNll == OrpoNll.PromptAndCompletion,
        // In the first revision, prompts were left out for their length only where the recipe named one.
        PromptLimit = run.Dialect == RecipeDialect.Mixer && run.Preference.TrlCompat is null && run.IsWritten("max_prompt_length")
            ? run.Preference.MaxPromptLength : null,
    };
}
