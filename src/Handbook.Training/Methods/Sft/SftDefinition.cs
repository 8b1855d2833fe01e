using Handbook.Base;
using Handbook.Data.Formats;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Methods.Sft;

/// <summary>Supervised fine-tuning: conversations, or prompts with completions.</summary>
internal sealed class SftDefinition : TextDefinition
{
    public override string Summary => "Fine-tune a model on conversations or prompts with answers, or resume from the last checkpoint";

    public override RowUse Use => RowUse.FineTuning;

    protected override bool DecontaminatesFirstRevision => true;

    public override Type Losses => typeof(SftLossType);

    public override IReadOnlyList<string> Keys =>
    [
        .. base.Keys, nameof(SftOptions.AssistantOnlyLoss), nameof(SftOptions.CompletionOnlyLoss),
            nameof(SftOptions.AutoInsertEmptySystemMsg),
        nameof(PreferenceOptions.LossType), nameof(PreferenceOptions.TruncationMode),
    ];

    public override void Check(MethodOptions run, Diagnostics report)
    {
        if (LossNames.Check<SftLossType>(run.Preference.LossType ?? ["nll"], Name, report) is [SftLossType.Dft]
            && run.Training.LabelSmoothingFactor > 0)
            report.Warning("label_smoothing_factor", "has no effect on loss_type dft", why: "dft weighs each token by its own probability",
                fix: "remove the key, or use loss_type: nll");
    }
}
