using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Data.Mixing;
using Handbook.Data.Tokenizing;
using Handbook.Plans;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Recipes;

/// <summary>What must hold among the keys of the preference methods.</summary>
internal static class PreferenceChecks
{
    public static void Run(Recipe recipe, Diagnostics report)
    {
        var options = recipe.Preference;
        Lengths(recipe, report);
        switch (recipe.Method)
        {
            case TrainingMethod.Sft:
                if (Losses<SftLossType>(options.LossType ?? ["nll"], "sft", report) is [SftLossType.Dft]
                    && recipe.Training.LabelSmoothingFactor > 0)
                    report.Warning("label_smoothing_factor", "has no effect on loss_type dft",
                        why: "dft weighs each token by its own probability",
                        fix: "remove the key, or use loss_type: nll");
                break;
            case TrainingMethod.Dpo:
                Shared(options, report);
                Dpo(recipe, report);
                break;
            case TrainingMethod.Orpo:
                Shared(options, report);
                break;
            case TrainingMethod.Kto:
                Shared(options, report);
                Kto(recipe, report);
                break;
            case TrainingMethod.Cpo:
                Shared(options, report);
                Cpo(recipe, report);
                break;
            case TrainingMethod.Bco:
                Shared(options, report);
                Bco(recipe, report);
                break;
            case TrainingMethod.Reward when recipe.Reward.CenterRewardsCoefficient is < 0:
                report.Error("center_rewards_coefficient", $"is {recipe.Reward.CenterRewardsCoefficient}, but must be 0 or greater",
                    why: "below 0 rewards are pushed away from 0", fix: "use 0.01, or remove the key");
                break;
        }
    }

    private static void Lengths(Recipe recipe, Diagnostics report)
    {
        var options = recipe.Preference;
        if (options.MaxPromptLength is < 1)
            report.Error("max_prompt_length", $"is {options.MaxPromptLength}, but must be at least 1",
                why: "an answer without its prompt teaches little", fix: "use 512, or null to cut no prompt");
        if (options.MaxCompletionLength is < 1)
            report.Error("max_completion_length", $"is {options.MaxCompletionLength}, but must be at least 1",
                why: "a row without answers has no loss", fix: "use 512, or null to cut no answer");
        if (PreferenceData.Options(recipe) is not { } rows || rows.Shape == AnswerShape.Prompt)
            return;
        if (rows.LeavesOutLongRows())
            report.Warning("max_length", $"is {rows.MaxLength} and max_prompt_length {rows.MaxPromptLength}: a row that is longer is "
                + "left out",
                why: "where a row is too long, its prompt is cut to max_prompt_length and its answer to the rest, of which there is none",
                fix: $"set max_prompt_length: {Math.Max(1, rows.MaxLength!.Value / 2)}, or a larger max_length");
        else if (rows.MaxLength < rows.MaxPromptLength
            && recipe.Sources.GetValueOrDefault("max_prompt_length") is KeySource.File or KeySource.CommandLine)
            report.Warning("max_prompt_length", $"is {rows.MaxPromptLength}, above max_length {rows.MaxLength}",
                why: "whole rows are cut to max_length all the same, so that a prompt of that length has no room for its answer",
                fix: $"set max_prompt_length: {Math.Max(1, rows.MaxLength!.Value / 2)}, or a larger max_length");
    }

    private static void Shared(PreferenceOptions options, Diagnostics report)
    {
        if (options.Beta is <= 0)
            report.Error("beta", $"is {options.Beta}, but must be greater than 0",
                why: "β scales the preference signal; at 0 there is none, below 0 it points the wrong way",
                fix: "use 0.1 (the usual value), or less to let the policy move further");
    }

    private static void Dpo(Recipe recipe, Diagnostics report)
    {
        var options = recipe.Preference;
        var losses = Losses<DpoLossType>(options.LossType ?? ["sigmoid"], "dpo", report);
        Weights(options, report);
        Smoothing(options, losses, report);
        Divergence(options, losses, report);
        Reference(options, report);
        if (options.UseWeighting && losses.FirstOrDefault(IsCoupled, DpoLossType.Sigmoid) is var coupled and not DpoLossType.Sigmoid)
            report.Error("use_weighting", $"is on together with loss_type {RecipeNames.Of(coupled)}",
                why: "that loss compares answers of different pairs, and WPO weighs pairs",
                fix: "remove use_weighting, or use loss_type: sigmoid");
        if (options.RpoAlpha is < 0)
            report.Error("rpo_alpha", $"is {options.RpoAlpha}, but must be 0 or greater", why: "below 0 the chosen answers are unlearned",
                fix: "use 1.0, or remove the key");
        if (options.RpoAlpha is not null && losses.Contains(DpoLossType.Sft))
            report.Warning("rpo_alpha", "adds to the loss sft, which is the same term",
                fix: $"remove rpo_alpha; {RpoAsLoss(options)} is the same");
        if (options.RpoAlpha is not null && options.TrlCompat == TrlRelease.V1_9)
            report.Warning("rpo_alpha", "is not a key of TRL 1.9; it keeps its older meaning",
                fix: $"write {RpoAsLoss(options)}, and remove rpo_alpha");
        Share(options.LdAlpha, "ld_alpha", "0.5", report);
        if (options.DiscopopTau <= 0)
            report.Error("discopop_tau", $"is {options.DiscopopTau}, but must be greater than 0", fix: "use 0.05 (the paper's value)");
        if (options.TrlCompat is not null && losses.Exists(IsCoupled) && recipe.Training.GradientAccumulationSteps > 1)
            report.Warning("loss_type", $"{RecipeNames.Of(losses.First(IsCoupled))} sorts or averages within a micro-batch in TRL "
                + $"{RecipeNames.Of(options.TrlCompat)}",
                why: "with gradient_accumulation_steps the result depends on how a step is cut",
                fix: "remove trl_compat to take the whole step");
        if (losses.Exists(IsCoupled) && RowsPerGroup(recipe) < 2)
            report.Warning("loss_type", $"{RecipeNames.Of(losses.First(IsCoupled))} compares pairs, but there is one in a step",
                fix: "use per_device_train_batch_size: 8 or more");
    }

    /// <summary>How <c>rpo_alpha</c> is written in newer releases: as the loss <c>sft</c> with its weight.</summary>
    internal static string RpoAsLoss(PreferenceOptions options)
    {
        var losses = options.LossesOr("sigmoid").ToList();
        var weights = losses.Select((_, i) => options.WeightAt(i)).ToList();
        if (!losses.Contains("sft"))
        {
            losses.Add("sft");
            weights.Add(0);
        }
        weights[losses.IndexOf("sft")] += options.RpoAlpha ?? 0;
        return $"loss_type: {YamlWriter.Flow(losses)} with loss_weights: {YamlWriter.Flow(weights)}";
    }

    private static bool IsCoupled(DpoLossType loss) => loss is DpoLossType.Aot or DpoLossType.AotUnpaired or DpoLossType.KtoPair;

    private static void Weights(PreferenceOptions options, Diagnostics report)
    {
        if (options.LossWeights is not { } weights)
            return;
        var count = options.LossType?.Count ?? 1;
        if (weights.Count != count)
            report.Error("loss_weights", $"has {weights.Count} weights for {count} {(count == 1 ? "loss" : "losses")}",
                fix: $"write {count}, in the order of loss_type, or remove the key to weigh each with 1");
        if (weights.Any(weight => weight < 0))
            report.Error("loss_weights", $"has {weights.Min()}, but weights must be 0 or greater",
                why: "a negative weight climbs that loss", fix: "use 1.0");
        else if (weights.Count > 0 && weights.All(weight => weight == 0))
            report.Error("loss_weights", "are all 0", why: "there is nothing to learn then", fix: "use 1.0 for one of them");
    }

    private static void Smoothing(PreferenceOptions options, List<DpoLossType> losses, Diagnostics report)
    {
        SmoothingRange(options, report);
        var robust = losses.Contains(DpoLossType.Robust);
        if (robust && options.LabelSmoothing is >= 0.5 and < 1)
            report.Error("label_smoothing", $"is {options.LabelSmoothing}, but must be below 0.5 with loss_type robust",
                why: "the loss divides by 1 − 2ε", fix: "use 0.1, the share of labels that are wrong");
        if (losses.Contains(DpoLossType.ExoPair) && options is { LabelSmoothing: 0, TrlCompat: TrlRelease.V1_9 })
            report.Error("label_smoothing", "is 0, but loss_type exo_pair needs more than 0 in TRL 1.9",
                why: "it takes the logarithm of ε", fix: "use 0.001");
        if (options.LabelSmoothing > 0 && losses.Count > 0 && !losses.Exists(ReadsSmoothing))
            report.Warning("label_smoothing", $"has no effect on loss_type {string.Join(", ", losses.Select(loss => RecipeNames.Of(loss)))}"
                + (options.TrlCompat == TrlRelease.V1_9 && losses.Exists(loss => loss is DpoLossType.Sigmoid or DpoLossType.SigmoidNorm)
                    ? " in TRL 1.9" : ""),
                fix: "remove the key, or use loss_type: robust");

        bool ReadsSmoothing(DpoLossType loss) =>
            loss is DpoLossType.Robust or DpoLossType.ExoPair or DpoLossType.Aot or DpoLossType.AotUnpaired
            || (loss is DpoLossType.Sigmoid or DpoLossType.SigmoidNorm && options.TrlCompat != TrlRelease.V1_9);
    }

    private static void SmoothingRange(PreferenceOptions options, Diagnostics report)
    {
        if (options.LabelSmoothing is < 0 or >= 1)
            report.Error("label_smoothing", $"is {options.LabelSmoothing}, but must be at least 0 and below 0.5",
                why: "it is the share of pairs labelled the wrong way round", fix: "use 0.1");
        else if (options.LabelSmoothing >= 0.5)
            report.Warning("label_smoothing", $"is {options.LabelSmoothing}", why: "from 0.5 on the rejected answers are preferred",
                fix: "use 0.1");
    }

    private static void Divergence(PreferenceOptions options, List<DpoLossType> losses, Diagnostics report)
    {
        var kind = options.FDivergenceType;
        var is024 = options.TrlCompat == TrlRelease.V0_24;
        if (options.FAlphaDivergenceCoef is { } alpha)
        {
            if (kind != Training.Methods.Preferences.Divergence.Alpha)
                report.Warning("f_alpha_divergence_coef", $"has no effect with f_divergence_type {RecipeNames.Of(kind)}",
                    fix: "set f_divergence_type: alpha_divergence");
            else if (alpha == (is024 ? 0 : 1))
                report.Warning("f_alpha_divergence_coef", $"is {alpha}, where alpha_divergence is reverse_kl", fix: "use 0.5");
        }
        if (kind == Training.Methods.Preferences.Divergence.ReverseKl)
            return;
        if (kind == Training.Methods.Preferences.Divergence.ForwardKl && is024)
            report.Error("f_divergence_type", "is forward_kl, which TRL 0.24 does not have", fix: "remove trl_compat");
        var deaf = losses.Where(loss => loss is DpoLossType.Aot or DpoLossType.AotUnpaired or DpoLossType.ApoZero or DpoLossType.KtoPair
            || (is024 && loss is DpoLossType.NcaPair or DpoLossType.BcoPair or DpoLossType.SppoHard or DpoLossType.Discopop or DpoLossType.ApoDown)).ToList();
        if (deaf.Count > 0)
            report.Error("f_divergence_type",
                $"is {RecipeNames.Of(kind)} together with loss_type {RecipeNames.Of(deaf[0])}{(is024 ? " of TRL 0.24" : "")}",
                why: "that loss is made of plain log-ratios; the divergence would have no effect",
                fix: "remove f_divergence_type, or use loss_type: sigmoid");
        else if (losses.Contains(DpoLossType.ApoDown))
            report.Warning("f_divergence_type", $"is {RecipeNames.Of(kind)}, which only the second half of loss_type apo_down reads",
                fix: "remove f_divergence_type");
        else if (losses is [DpoLossType.Sft, ..] && losses.TrueForAll(loss => loss == DpoLossType.Sft))
            report.Warning("f_divergence_type", "has no effect on loss_type sft", fix: "remove f_divergence_type");
    }

    private static void Reference(PreferenceOptions options, Diagnostics report)
    {
        Share(options.RefModelMixupAlpha, "ref_model_mixup_alpha", "0.6", report);
        if (options.RefModelSyncSteps < 1)
            report.Error("ref_model_sync_steps", $"is {options.RefModelSyncSteps}, but must be at least 1", fix: "use 512");
        if (options.SyncRefModel && options.ReferenceFree)
            report.Error("sync_ref_model", "is on together with reference_free", why: "there is no reference to move",
                fix: "remove one of the two");
        if (options is { SyncRefModel: true, PrecomputeRefLogProbs: true })
            report.Error("sync_ref_model", "is on together with precompute_ref_log_probs",
                why: "a reference that moves cannot be computed once", fix: "remove precompute_ref_log_probs");
        if (options is { ReferenceFree: true, RefModelNameOrPath: not null } && options.TrlCompat != TrlRelease.V0_24)
            report.Error("ref_model_name_or_path", "is given together with reference_free", why: "no reference is read then",
                fix: "remove one of the two");
    }

    private static void Kto(Recipe recipe, Diagnostics report)
    {
        var options = recipe.Preference;
        var losses = Losses<KtoLossType>(options.LossType ?? ["kto"], "kto", report);
        NotNegative(options.DesirableWeight, "desirable_weight", report);
        NotNegative(options.UndesirableWeight, "undesirable_weight", report);
        if (options is { DesirableWeight: 0, UndesirableWeight: 0 })
            report.Error("desirable_weight", "and undesirable_weight are both 0", why: "there is nothing to learn then",
                fix: "use 1.0 for both");
        if (losses is [KtoLossType.Kto] && RowsPerGroup(recipe) < 2)
            report.Error("per_device_train_batch_size",
                $"is {recipe.Training.PerDeviceTrainBatchSize}, which gives loss_type kto one row at a time, but it needs two and more",
                MismatchedRows.WhyTwo,
                "use 8, or loss_type: apo_zero_unpaired, which needs no estimate");
    }

    private static void Cpo(Recipe recipe, Diagnostics report)
    {
        var options = recipe.Preference;
        var losses = Losses<CpoLossType>(options.LossType ?? ["sigmoid"], "cpo", report);
        NotNegative(options.CpoAlpha, "cpo_alpha", report);
        SmoothingRange(options, report);
        if (losses is not [var loss])
            return;
        var name = RecipeNames.Of(loss);
        if (options.LabelSmoothing > 0 && loss is CpoLossType.Hinge or CpoLossType.Ipo)
            report.Warning("label_smoothing", $"has no effect on loss_type {name}", fix: "remove the key");
        if (loss == CpoLossType.AlphaPo && options.Alpha == 0)
            report.Warning("alpha", "is 0, where alphapo is simpo without its likelihood term", fix: "use 0.25");
    }

    private static void Bco(Recipe recipe, Diagnostics report)
    {
        var options = recipe.Preference;
        Losses<BcoLossType>(options.LossType ?? ["bco"], "bco", report);
        if (options.MinDensityRatio <= 0)
            report.Error("min_density_ratio", $"is {options.MinDensityRatio}, but must be greater than 0", fix: "use 0.5");
        if (options.MaxDensityRatio < options.MinDensityRatio)
            report.Error("max_density_ratio", $"is {options.MaxDensityRatio}, below min_density_ratio {options.MinDensityRatio}",
                fix: $"use {Math.Max(10, options.MinDensityRatio)}");
    }

    /// <summary>The known losses of a recipe; reports the others, with the nearest name or the method that has them.</summary>
    private static List<T> Losses<T>(IReadOnlyList<string> names, string method, Diagnostics report) where T : struct, Enum
    {
        var known = RecipeNames.Spellings(typeof(T));
        List<T> losses = [];
        foreach (var name in names)
            if (Array.Find(known, spelling => spelling.Name == name) is { Name: not null } found)
                losses.Add((T)found.Value);
            else
                report.Error("loss_type", $"is {name}, which {method} does not have", fix: Advice(name));
        if (names.Count == 0)
            report.Error("loss_type", "is empty", fix: $"use {known[0].Name}, or remove the key");
        if (typeof(T) != typeof(DpoLossType) && names.Count > 1)
            report.Error("loss_type", $"has {names.Count} losses, but {method} has one",
                fix: $"keep {names[0]}; handbook dpo adds losses up");
        return losses;

        string Advice(string name)
        {
            foreach (var (other, type) in LossNames.All.Select(entry => (RecipeNames.Of(entry.Method), entry.Losses)))
                if (other != method && (name == other || RecipeNames.Spellings(type).Any(spelling => spelling.Name == name)))
                    return $"run the recipe with handbook {other}";
            return name == "orpo" ? "run the recipe with handbook orpo"
                : Spelling.Nearest(name, known.Select(spelling => spelling.Name)) is { } nearest ? $"did you mean {nearest}?"
                : $"use one of {string.Join(", ", known.Select(spelling => spelling.Name))}";
        }
    }

    /// <summary>Rows over which a loss is one mean: those of a step, or of a micro-batch where an older release is to be
    /// reproduced.</summary>
    internal static int RowsPerGroup(Recipe recipe) =>
        recipe.Training.PerDeviceTrainBatchSize * (recipe.Preference.TrlCompat is null ? recipe.Training.GradientAccumulationSteps : 1);

    private static void Share(double? value, string key, string usual, Diagnostics report)
    {
        if (value is < 0 or > 1)
            report.Error(key, $"is {value}, but must lie between 0 and 1", fix: $"use {usual}");
    }

    private static void NotNegative(double value, string key, Diagnostics report)
    {
        if (value < 0)
            report.Error(key, $"is {value}, but must be 0 or greater", why: "a negative weight climbs the loss", fix: "use 1.0");
    }
}
