using Handbook.Base;
using Handbook.Data.Tokenizing;
using Handbook.Models;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Methods.Bco;

/// <summary>Binary classifier optimisation: answers that are good or bad by themselves, beside a reference.</summary>
internal sealed class BcoDefinition : PreferenceDefinition
{
    public override string Summary => "Align a model with answers that are good or bad by themselves (BCO), or resume from the "
        + "last checkpoint";

    public override MethodPaper? Paper => new("Binary Classifier Optimization for Large Language Model Alignment", "2404.04656",
        "jung2024binary", "Seungjae Jung and Gunsoo Han and Daniel Wontae Nam and Kyoung-Woon On", 2024);

    public override IEnumerable<string> Measures(MethodOptions run) => [.. base.Measures(run), "delta"];

    public override IReadOnlyList<string> Keys =>
    [
        .. base.Keys, .. ReferenceKeys, nameof(PreferenceOptions.LossType), nameof(PreferenceOptions.UseDensityRatio),
            nameof(PreferenceOptions.MinDensityRatio),
        nameof(PreferenceOptions.MaxDensityRatio),
    ];

    public override Type Losses => typeof(BcoLossType);

    protected override string UsualLoss => "bco";

    protected override AnswerShape Shape => AnswerShape.Single;

    protected override bool AddsBegin => true;

    // TRL 0.24 took that of its base class
    protected override double? LearningRate(PreferenceOptions written) => written.IsCompatible(TrlRelease.V0_24) ? 5e-5 : 5e-7;

    public override bool AsksReference(MethodOptions run) => true;

    public override IPreferenceObjective Objective(PreferenceOptions options) => new BcoObjective(options);

    public override void Check(MethodOptions run, Diagnostics report)
    {
        base.Check(run, report);
        var options = run.Preference;
        LossNames.Check<BcoLossType>(options.LossType ?? ["bco"], Name, report);
        if (options.MinDensityRatio <= 0)
            report.OutOfRange("min_density_ratio", options.MinDensityRatio, "must be greater than 0", fix: "use 0.5");
        if (options.MaxDensityRatio < options.MinDensityRatio)
            report.Error("max_density_ratio", $"is {options.MaxDensityRatio}, below min_density_ratio {options.MinDensityRatio}",
                fix: $"use {Math.Max(10, options.MinDensityRatio)}");
    }

    public override IMethodRun Begin(MethodStart start)
    {
        if (!start.Run.Preference.UseDensityRatio)
            return base.Begin(start);
        var ratios = Weigh(start);
        return PreferenceRun.Begin(start, new BcoObjective(start.Run.Preference, row => ratios.Train[row], row => ratios.HeldOut[row]));
    }

    /// <summary>Weighs bad answers by how much their prompts look like those of good ones, to the model as it was before
    /// training.</summary>
    private static DensityRatios Weigh(MethodStart start)
    {
        var keys = start.Run.Preference;
        using var initial = start.IsFresh ? null : new ReferenceModel(start).LoadInitial();
        var ratios = new DensityRatios();
        var (train, evaluation) = PreferenceRun.Laid(start);
        using (var bar = start.Observer.Began("prompts for the density ratio", train.Count + (evaluation?.Count ?? 0), "rows"))
            ratios.Compute(initial ?? start.Model, train, evaluation, keys.MinDensityRatio, keys.MaxDensityRatio, start.MaxTokens,
                rows => bar.Advance(rows), start.Cancel);
        start.Observer.Said($"density ratio: bad answers weigh from {ratios.Least:g3} to {ratios.Greatest:g3}, {ratios.Mean:g3} in the mean");
        return ratios;
    }
}
