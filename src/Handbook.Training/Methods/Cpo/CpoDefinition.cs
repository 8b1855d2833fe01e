using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Methods.Cpo;

/// <summary>Contrastive preference optimisation and its family: pairs of answers, without a reference.</summary>
internal sealed class CpoDefinition : PreferenceDefinition
{
    public override string Summary => "Align a model with pairs of answers, without a reference model (CPO, SimPO, AlphaPO), or resume "
        + "from the last checkpoint";

    public override MethodPaper? Paper => new("Contrastive Preference Optimization: Pushing the Boundaries of LLM "
        + "Performance in Machine Translation", "2401.08417",
        "xu2024contrastive", "Haoran Xu and Amr Sharaf and Yunmo Chen and Weiting Tan and Lingfeng Shen and Benjamin Van Durme and "
        + "Kenton Murray and Young Jin Kim", 2024);

    public override IReadOnlyList<string> OtherNames => ["simpo", "alphapo"];

    public override IEnumerable<string> Measures(MethodOptions run) => [.. base.Measures(run), "nll_loss"];

    public override IReadOnlyList<string> Keys =>
    [
        .. base.Keys, nameof(PreferenceOptions.LossType), nameof(PreferenceOptions.LabelSmoothing), nameof(PreferenceOptions.CpoAlpha),
        nameof(PreferenceOptions.SimpoGamma), nameof(PreferenceOptions.Alpha),
    ];

    public override Type Losses => typeof(CpoLossType);

    protected override bool AddsBegin => true;

    public override IPreferenceObjective Objective(PreferenceOptions options) => new CpoObjective(options);

    public override void Check(MethodOptions run, Diagnostics report)
    {
        base.Check(run, report);
        var options = run.Preference;
        var losses = LossNames.Check<CpoLossType>(options.LossType ?? ["sigmoid"], Name, report);
        OptionChecks.NotNegative(options.CpoAlpha, "cpo_alpha", report);
        OptionChecks.Smoothing(options, report);
        if (losses is not [var loss])
            return;
        var name = RecipeNames.Of(loss);
        if (options.LabelSmoothing > 0 && loss is CpoLossType.Hinge or CpoLossType.Ipo)
            report.Warning("label_smoothing", $"has no effect on loss_type {name}", fix: "remove the key");
        if (loss == CpoLossType.AlphaPo && options.Alpha == 0)
            report.Warning("alpha", "is 0, where alphapo is simpo without its likelihood term", fix: "use 0.25");
    }
}
