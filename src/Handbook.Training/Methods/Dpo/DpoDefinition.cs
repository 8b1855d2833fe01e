using Handbook.Base;
using Handbook.Data.Tokenizing;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Plans;

namespace Handbook.Training.Methods.Dpo;

/// <summary>Direct preference optimisation and its family: pairs of answers beside a reference.</summary>
internal sealed class DpoDefinition : PreferenceDefinition
{
    public override string Summary => "Align a model with pairs of answers (DPO and its family), or resume from the last checkpoint";

    public override MethodPaper? Paper => new("Direct Preference Optimization: Your Language Model is Secretly a Reward Model",
        "2305.18290",
        "rafailov2023direct", "Rafael Rafailov and Archit Sharma and Eric Mitchell and Christopher D. Manning and Stefano Ermon and "
        + "Chelsea Finn", 2023);

    public override IReadOnlyList<string> OtherNames => ["apo", "ipo", "rpo", "mpo"];

    public override IReadOnlyList<string> Keys =>
    [
        .. base.Keys, .. ReferenceKeys, .. FollowingKeys, nameof(PreferenceOptions.LossType), nameof(PreferenceOptions.LossWeights),
            nameof(PreferenceOptions.LabelSmoothing),
        nameof(PreferenceOptions.FDivergenceType), nameof(PreferenceOptions.FAlphaDivergenceCoef), nameof(PreferenceOptions.ReferenceFree),
            nameof(PreferenceOptions.UseWeighting),
        nameof(PreferenceOptions.RpoAlpha), nameof(PreferenceOptions.LdAlpha), nameof(PreferenceOptions.DiscopopTau),
            nameof(PreferenceOptions.Tools),
    ];

    protected override bool DecontaminatesFirstRevision => true;

    public override Type Losses => typeof(DpoLossType);

    public override bool BalancesExperts => true;

    public override IEnumerable<string> Measures(MethodOptions run) => [.. base.Measures(run), "nll_loss"];

    public override IEnumerable<(string Key, object? Value, KeySource Source)> Defaults(RecipeDialect dialect, PreferenceOptions written)
    {
        foreach (var other in base.Defaults(dialect, written))
            yield return other;
        if (dialect == RecipeDialect.Mixer)
        {
            yield return ("logging_first_step", true, KeySource.Dialect);
            yield return ("optim", OptimizerKind.RmsProp, KeySource.Dialect);
        }
        if (written.FDivergenceType == Divergence.Alpha)
            yield return ("f_alpha_divergence_coef", written.AlphaDivergence(), KeySource.Method);
    }

    public override void Check(MethodOptions run, Diagnostics report)
    {
        base.Check(run, report);
        DpoChecks.Run(run, report);
    }

    /// <summary>DPO's trainers have always cut answers to it.</summary>
    public override bool IgnoresCompletionLength(MethodOptions run) => false;

    public override bool AsksReference(MethodOptions run) => !run.Preference.ReferenceFree || run.Preference.TrlCompat == TrlRelease.V0_24;

    public override IPreferenceObjective Objective(PreferenceOptions options) => new DpoObjective(options);

    protected override PreferenceTokenizerOptions V0_24(PreferenceTokenizerOptions options) =>
        options with { Encoding = AnswerEncoding.Separate, End = AnswerEnding.Always, Cut = AnswerCut.Sequence };

    protected override PreferenceTokenizerOptions V1_9(PreferenceTokenizerOptions options) => Tail(options, keepsEnd: true);
}
