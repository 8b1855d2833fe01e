using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Data;
using Handbook.Data.Mixing;
using Handbook.Data.Tokenizing;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Methods.Kto;

/// <summary>Kahneman–Tversky optimisation: answers that are good or bad by themselves, beside a reference.</summary>
internal sealed class KtoDefinition : PreferenceDefinition
{
    public override string Summary => "Align a model with answers that are good or bad by themselves (KTO), or resume from the "
        + "last checkpoint";

    public override MethodPaper? Paper => new("KTO: Model Alignment as Prospect Theoretic Optimization", "2402.01306",
        "ethayarajh2024kto", "Kawin Ethayarajh and Winnie Xu and Niklas Muennighoff and Dan Jurafsky and Douwe Kiela", 2024);

    public override IEnumerable<string> Measures(MethodOptions run) => [.. base.Measures(run), "kl"];

    public override IReadOnlyList<string> Keys =>
        [.. base.Keys, .. ReferenceKeys, .. FollowingKeys, nameof(PreferenceOptions.LossType), nameof(PreferenceOptions.DesirableWeight),
            nameof(PreferenceOptions.UndesirableWeight)];

    public override Type Losses => typeof(KtoLossType);

    public override bool BalancesExperts => true;

    protected override string UsualLoss => "kto";

    protected override AnswerShape Shape => AnswerShape.Single;

    public override bool AsksReference(MethodOptions run) => true;

    public override IPreferenceObjective Objective(PreferenceOptions options) => new KtoObjective(options);

    /// <summary>Its loss has a reference point, which rows with another row's answer estimate.</summary>
    public override int? MismatchedBlock(MethodOptions run) => run.Preference.LossType is ["apo_zero_unpaired"] ? null : RowsPerGroup(run);

    public override void Check(MethodOptions run, Diagnostics report)
    {
        base.Check(run, report);
        var options = run.Preference;
        var losses = LossNames.Check<KtoLossType>(options.LossType ?? ["kto"], Name, report);
        OptionChecks.NotNegative(options.DesirableWeight, "desirable_weight", report);
        OptionChecks.NotNegative(options.UndesirableWeight, "undesirable_weight", report);
        if (options is { DesirableWeight: 0, UndesirableWeight: 0 })
            report.Error("desirable_weight", "and undesirable_weight are both 0", why: "there is nothing to learn then",
                fix: "use 1.0 for both");
        if (losses is [KtoLossType.Kto] && RowsPerGroup(run) < 2)
            report.Error("per_device_train_batch_size",
                $"is {run.Training.PerDeviceTrainBatchSize}, which gives loss_type kto one row at a time, but it needs two and more",
                MismatchedRows.WhyTwo,
                "use 8, or loss_type: apo_zero_unpaired, which needs no estimate");
    }

    public override void Tell(RowSurvey survey, MethodOptions run, IWorkObserver observer)
    {
        base.Tell(survey, run, observer);
        if (survey.Answers.OneSided() is null
            && survey.Answers.Unbalanced(run.Preference.DesirableWeight, run.Preference.UndesirableWeight) is { } unusual)
            observer.Noted(unusual);
    }

    protected override PreferenceTokenizerOptions V1_9(PreferenceTokenizerOptions options) => Tail(options, keepsEnd: false);
}
