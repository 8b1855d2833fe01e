using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Plans;

namespace Handbook.Training.Methods.Dpo;

/// <summary>What must hold among the keys of DPO and its family.</summary>
internal static class DpoChecks
{
    public static void Run(MethodOptions run, Diagnostics report)
    {
        var options = run.Preference;
        var losses = LossNames.Check<DpoLossType>(options.LossType ?? ["sigmoid"], "dpo", report, several: true);
        Weights(options, report);
        Smoothing(options, losses, report);
        Divergences(options, losses, report);
        Reference(options, report);
        if (options.UseWeighting && losses.FirstOrDefault(IsCoupled, DpoLossType.Sigmoid) is var coupled and not DpoLossType.Sigmoid)
            report.Error("use_weighting", $"is on together with loss_type {RecipeNames.Of(coupled)}",
                why: "that loss compares answers of different pairs, and WPO weighs pairs",
                fix: "remove use_weighting, or use loss_type: sigmoid");
        if (options.RpoAlpha is < 0)
            report.OutOfRange("rpo_alpha", options.RpoAlpha, "must be 0 or greater", why: "below 0 the chosen answers are unlearned",
                fix: "use 1.0, or remove the key");
        if (options.RpoAlpha is not null && losses.Contains(DpoLossType.Sft))
            report.Warning("rpo_alpha", "adds to the loss sft, which is the same term",
                fix: $"remove rpo_alpha; {RpoAsLoss(options)} is the same");
        if (options.RpoAlpha is not null && options.TrlCompat == TrlRelease.V1_9)
            report.Warning("rpo_alpha", "is not a key of TRL 1.9; it keeps its older meaning",
                fix: $"write {RpoAsLoss(options)}, and remove rpo_alpha");
        OptionChecks.Share(options.LdAlpha, "ld_alpha", "0.5", report);
        if (options.DiscopopTau <= 0)
            report.OutOfRange("discopop_tau", options.DiscopopTau, "must be greater than 0", fix: "use 0.05 (the paper's value)");
        if (options.TrlCompat is not null && losses.Exists(IsCoupled) && run.Training.GradientAccumulationSteps > 1)
            report.Warning("loss_type", $"{RecipeNames.Of(losses.First(IsCoupled))} sorts or averages within a micro-batch in TRL "
                + $"{RecipeNames.Of(options.TrlCompat)}",
                why: "with gradient_accumulation_steps the result depends on how a step is cut",
                fix: "remove trl_compat to take the whole step");
        if (losses.Exists(IsCoupled) && PreferenceDefinition.RowsPerGroup(run) < 2)
            report.Warning("loss_type", $"{RecipeNames.Of(losses.First(IsCoupled))} compares pairs, but there is one in a step",
                fix: "use per_device_train_batch_size: 8 or more");
    }

    /// <summary>How <c>rpo_alpha</c> is written in newer releases: as the loss <c>sft</c> with its weight.</summary>
    public static string RpoAsLoss(PreferenceOptions options)
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
            report.Error("loss_weights",
                $"has {weights.Count} weight{(weights.Count == 1 ? "" : "s")} for {count} {(count == 1 ? "loss" : "losses")}",
                fix: $"write {count}, in the order of loss_type, or remove the key to weigh each with 1");
        if (weights.Any(weight => weight < 0))
            report.Error("loss_weights", $"has {weights.Min()}, but weights must be 0 or greater",
                why: "a negative weight climbs that loss", fix: "use 1.0");
        else if (weights.Count > 0 && weights.All(weight => weight == 0))
            report.Error("loss_weights", "are all 0", why: "there is nothing to learn then", fix: "use 1.0 for one of them");
    }

    private static void Smoothing(PreferenceOptions options, List<DpoLossType> losses, Diagnostics report)
    {
        OptionChecks.Smoothing(options, report);
        var robust = losses.Contains(DpoLossType.Robust);
        if (robust && options.LabelSmoothing is >= 0.5 and < 1)
            report.OutOfRange("label_smoothing", options.LabelSmoothing, "must be below 0.5 with loss_type robust",
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

    private static void Divergences(PreferenceOptions options, List<DpoLossType> losses, Diagnostics report)
    {
        var kind = options.FDivergenceType;
        var is024 = options.TrlCompat == TrlRelease.V0_24;
        if (options.FAlphaDivergenceCoef is { } alpha)
        {
            if (kind != Divergence.Alpha)
                report.Warning("f_alpha_divergence_coef", $"has no effect with f_divergence_type {RecipeNames.Of(kind)}",
                    fix: "set f_divergence_type: alpha_divergence");
            else if (alpha == (is024 ? 0 : 1))
                report.Warning("f_alpha_divergence_coef", $"is {alpha}, where alpha_divergence is reverse_kl", fix: "use 0.5");
        }
        if (kind == Divergence.ReverseKl)
            return;
        if (kind == Divergence.ForwardKl && is024)
            report.Error("f_divergence_type", "is forward_kl, which TRL 0.24 does not have", fix: "remove trl_compat");
        var deaf = losses.Where(loss => loss is DpoLossType.Aot or DpoLossType.AotUnpaired or DpoLossType.ApoZero or DpoLossType.KtoPair
            || (is024 && loss
                is DpoLossType.NcaPair or DpoLossType.BcoPair or DpoLossType.SppoHard or DpoLossType.Discopop or DpoLossType.ApoDown))
                .ToList();
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
        OptionChecks.Share(options.RefModelMixupAlpha, "ref_model_mixup_alpha", "0.6", report);
        if (options.RefModelSyncSteps < 1)
            report.OutOfRange("ref_model_sync_steps", options.RefModelSyncSteps, "must be at least 1", fix: "use 512");
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
}
