using Handbook.Base;
using Handbook.Data;
using Handbook.Data.Formats;
using Handbook.Data.Tokenizing;
using Handbook.Models;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Plans;

namespace Handbook.Training.Methods.Rewards;

/// <summary>Reward modelling: a model with a head that scores whole texts, from pairs of answers.</summary>
internal sealed class RewardDefinition : AnswerDefinition
{
    public override string Summary => "Train a reward model on pairs of answers, or resume from the last checkpoint";

    public override IReadOnlyList<string> OtherNames => ["rm"];

    public override RowUse Use => RowUse.Preferences;

    protected override AnswerShape Shape => AnswerShape.Whole;

    public override IEnumerable<string> Measures(MethodOptions run) => ["accuracy", "margin", "mean_reward", "min_reward", "max_reward"];

    public override IReadOnlyList<string> Keys =>
        [nameof(SftOptions.AutoInsertEmptySystemMsg), nameof(PreferenceOptions.TrlCompat), nameof(RewardOptions.CenterRewardsCoefficient),
            nameof(AdapterOptions.DisableDropout)];

    public override bool DisablesDropout => true;

    protected override double? LearningRate(PreferenceOptions written) => 1e-4;

    public override SurveyOptions Survey(MethodOptions run) => new() { HasMargins = true };

    public override ModelHead Head => ModelHead.Score;

    public override void Check(MethodOptions run, Diagnostics report)
    {
        if (run.Reward.CenterRewardsCoefficient is < 0)
            report.OutOfRange("center_rewards_coefficient", run.Reward.CenterRewardsCoefficient, "must be 0 or greater",
                why: "below 0 rewards are pushed away from 0", fix: "use 0.01, or remove the key");
    }

    public override IMethodRun Begin(MethodStart start) =>
        new PlainRun(start, new RewardMethod(start.Run.Reward.CenterRewardsCoefficient, start.Run.Preference.TrlCompat is not null));

    public override string WhatNext(string folder) => $"score rows with `handbook score {folder} DATA`";

    /// <summary>A reward is read at the end of a text as the template closes it: so a score is the same wherever else the model is asked
    /// for one.</summary>
    protected override PreferenceTokenizerOptions Of(PreferenceTokenizerOptions options, MethodOptions run) =>
        options with { Cut = AnswerCut.LeaveOut, End = AnswerEnding.Texts };
}
