using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Training.Optimizers;
using Handbook.Training.Reports;
using Handbook.Training.Schedules;

namespace Handbook.Training;

/// <summary>What must hold among the keys of the training loop.</summary>
internal static class TrainingChecks
{
    public static void Run(TrainingOptions options, Diagnostics report)
    {
        Ranges(options, report);
        Intervals(options, report);
        Optimizer(options, report);
        Schedule(options, report);
        Precision(options, report);
        BestModel(options, report);
        ReportTargets.Check(options.ReportTo, report);
    }

    private static void Ranges(TrainingOptions options, Diagnostics report)
    {
        if (options.OutputDir.Length == 0)
            report.Error("output_dir", "is empty", fix: "name a folder, e.g. runs/first");
        if (options.LearningRate < 0)
            report.OutOfRange("learning_rate", options.LearningRate, "must be 0 or greater",
                why: "a negative rate climbs the loss", fix: "use 2.0e-5 for fine-tuning, 1.0e-4 and more for small models");
        if (options.EmbeddingLearningRate is < 0)
            report.OutOfRange("embedding_learning_rate", options.EmbeddingLearningRate, "must be 0 or greater",
                fix: "use a tenth to a half of learning_rate, or remove the key");
        if (options is { EmbeddingLearningRate: > 0, LearningRate: 0 })
            report.Error("embedding_learning_rate", $"is {options.EmbeddingLearningRate}, but learning_rate is 0",
                why: "the schedule is one curve, which both rates multiply", fix: "set learning_rate, or remove the key");
        AtLeast(1, options.PerDeviceTrainBatchSize, "per_device_train_batch_size");
        AtLeast(1, options.PerDeviceEvalBatchSize, "per_device_eval_batch_size");
        AtLeast(1, options.GradientAccumulationSteps, "gradient_accumulation_steps");
        if (options.ZeroStage is < 0 or > 3)
            report.OutOfRange("zero_stage", options.ZeroStage, "must be 0, 1, 2 or 3", "it says what processes share out among them: nothing, "
                + "the optimiser's states, gradients too, weights too", "write 0, 1, 2 or 3");
        if (options.OffloadOptimizer == OptimizerOffload.File && !OptimizerTraits.Of(options.Optimizer()).CanPage)
            report.Error("offload_optimizer", $"is nvme, but the states of {RecipeNames.Of(options.Optimizer())} stay in memory",
                fix: "write none, or take an optimiser such as adamw_torch or lion_32bit");
        AtLeast(1, options.ContextParallelSize, "context_parallel_size");
        AtLeast(1, options.DdpTimeout, "ddp_timeout");
        if (options.MaxSteps is 0 or < -1)
            report.OutOfRange("max_steps", options.MaxSteps, "must be at least 1, or -1 for no limit",
                fix: "use -1 to let num_train_epochs decide");
        if (options.MaxSteps < 0 && options.NumTrainEpochs <= 0)
            report.OutOfRange("num_train_epochs", options.NumTrainEpochs, "must be greater than 0",
                fix: "use 1 for one pass over the rows, or set max_steps");
        if (options.WeightDecay < 0)
            report.OutOfRange("weight_decay", options.WeightDecay, "must be 0 or greater",
                fix: "use 0, or 0.1 as in most pretraining");
        Share(options.AdamBeta1, "adam_beta1", "0.9");
        Share(options.AdamBeta2, "adam_beta2", "0.999");
        if (options.AdamEpsilon < 0)
            report.OutOfRange("adam_epsilon", options.AdamEpsilon, "must be 0 or greater", fix: "use 1.0e-8");
        if (options.MaxGradNorm < 0)
            report.OutOfRange("max_grad_norm", options.MaxGradNorm, "must be 0 or greater", fix: "use 1.0, or 0 to clip nothing");
        if (options.NeftuneNoiseAlpha < 0)
            report.OutOfRange("neftune_noise_alpha", options.NeftuneNoiseAlpha, "must be 0 or greater",
                fix: "use 5 (the paper's value), or remove the key");
        if (options.RouterAuxLossCoef is < 0)
            report.OutOfRange("router_aux_loss_coef", options.RouterAuxLossCoef, "must be 0 or greater",
                why: "below 0 tokens are crowded onto few experts", fix: "use 0.001, or 0 to add nothing");
        if (options.SaveTotalLimit is <= 0)
            report.OutOfRange("save_total_limit", options.SaveTotalLimit, "must be at least 1",
                why: "a run without a checkpoint cannot go on",
                    fix: "use 1, or null to keep all, or remove the key and write save_strategy: \"no\"");
        if (options.EvalDelay < 0)
            report.OutOfRange("eval_delay", options.EvalDelay, "must be 0 or greater", fix: "remove the key");
        if (options.Seed is < 0 or > uint.MaxValue)
            report.OutOfRange("seed", options.Seed, $"must lie between 0 and {uint.MaxValue}", fix: "use 42");
        if (options.DataSeed is < 0)
            report.OutOfRange("data_seed", options.DataSeed, "must be 0 or greater", fix: "remove the key to use seed");

        void AtLeast(int least, int value, string key)
        {
            if (value < least)
                report.OutOfRange(key, value, $"must be at least {least}", fix: $"use {least} or more");
        }

        void Share(double value, string key, string usual)
        {
            if (value is < 0 or >= 1)
                report.OutOfRange(key, value, "must be at least 0 and below 1", fix: $"use {usual}");
        }
    }

    private static void Intervals(TrainingOptions options, Diagnostics report)
    {
        Check(options.LoggingSteps, "logging_steps");
        Check(options.SaveSteps, "save_steps");
        if (options.EvalSteps is { } evalSteps)
            Check(evalSteps, "eval_steps");

        void Check(StepInterval interval, string key)
        {
            if (!interval.IsValid)
                report.OutOfRange(key, interval, "must be a whole number of steps, or a share of the run between 0 and 1",
                    fix: "use 100, or 0.1 for ten times in a run");
        }
    }

    private static void Optimizer(TrainingOptions options, Diagnostics report)
    {
        if (options.Adafactor && options.Optim is not (OptimizerKind.AdamW or OptimizerKind.Adafactor))
            report.Error("adafactor", $"is true together with optim: {RecipeNames.Of(options.Optim)}", why: "one optimiser steps",
                fix: "remove one of the two");
        var traits = OptimizerTraits.Of(options.Optimizer());
        var known = traits.Arguments;
        foreach (var problem in options.OptimizerArguments().Problems)
            report.Error("optim_args", problem,
                fix: known.Count > 0 ? $"write {string.Join(",", known.Select(argument => argument.Name + "=…"))}, or less"
                : "remove the key; adam_beta1, adam_beta2, adam_epsilon and weight_decay are keys of their own");
        Targets(options, traits, report);
        if (!traits.ReadsWarmup)
            return;
        if (options.AdamBeta1 == 0)
            report.Error("adam_beta1", $"is 0 together with optim: {RecipeNames.Of(options.Optimizer())}",
                why: "it says how near the point of the gradients lies to the mean that is evaluated", fix: "use 0.9");
        if (options.LrSchedulerType is not (SchedulerType.Constant or SchedulerType.ConstantWithWarmup))
            report.Warning("lr_scheduler_type", $"is {RecipeNames.Of(options.LrSchedulerType)} together with optim: "
                + RecipeNames.Of(options.Optimizer()),
                why: "a mean of the weights stands in for a falling rate; with both, later steps count for little",
                fix: "set lr_scheduler_type: constant; warmup_steps is read all the same");
    }

    private static void Targets(TrainingOptions options, OptimizerTraits traits, Diagnostics report)
    {
        if (options.OptimTargetModules is { Count: > 0 } modules)
        {
            if (TargetModules.Problem(modules) is { } problem)
                report.Error("optim_target_modules", problem, fix: "write all-linear, or a part of the modules' names, such as attn");
        }
        else if (traits.ReadsTargets)
            report.Error("optim_target_modules", $"is missing, but optim: {RecipeNames.Of(options.Optimizer())} needs it",
                why: "it names the matrices whose gradients are projected", fix: "write optim_target_modules: all-linear");
    }

    private static void Schedule(TrainingOptions options, Diagnostics report)
    {
        if (options.LabelSmoothingFactor is not (>= 0 and < 1))
            report.OutOfRange("label_smoothing_factor", options.LabelSmoothingFactor, "must be at least 0 and below 1",
                why: "it is the share of the target that is spread over the whole vocabulary", fix: "use 0.1, or remove the key");
        if (options.WarmupRatio is < 0 or > 1)
            report.OutOfRange("warmup_ratio", options.WarmupRatio, "must lie between 0 and 1",
                why: "it is a share of all steps", fix: options.WarmupRatio is > 1 and var steps
                    ? $"remove the key and write warmup_steps: {Math.Ceiling(steps)} for a number of steps" : "use 0.1");
        if (options.WarmupSteps < 0)
            report.OutOfRange("warmup_steps", options.WarmupSteps, "must be 0 or greater",
                fix: "use 0 for none, a number of steps, or a share of them below 1");
        if (options.MaxSteps > 0 && options.WarmupSteps > options.MaxSteps)
            report.Warning("warmup_steps", $"is {options.WarmupSteps}, more than the {options.MaxSteps} steps of max_steps",
                why: "the learning rate never reaches its peak", fix: "remove the key and write warmup_ratio: 0.1");
        if (options.LrSchedulerType == SchedulerType.ReduceLrOnPlateau && options.EvalStrategy == IntervalStrategy.No)
            report.Error("lr_scheduler_type", "is reduce_lr_on_plateau, which needs evaluations",
                why: "it lowers the rate when the evaluation loss stops falling", fix: "set eval_strategy: steps");
        foreach (var problem in LearningRateSchedule.Problems(options.LrSchedulerType, options.LrSchedulerKwargs, options.LearningRate))
            report.Error("lr_scheduler_kwargs", problem.What, fix: problem.Fix);
    }

    private static void Precision(TrainingOptions options, Diagnostics report)
    {
        if (options.Bf16 && options.Fp16)
            report.Error("fp16", "is on together with bf16", why: "products are computed in one of the two",
                fix: "keep bf16: true and remove fp16");
    }

    private static void BestModel(TrainingOptions options, Diagnostics report)
    {
        if (options.SaveStrategy == SaveStrategy.Best && options.EvalStrategy == IntervalStrategy.No)
            report.Error("save_strategy", "is best, but there are no evaluations to compare", fix: "set eval_strategy: steps");
        if (!options.LoadBestModelAtEnd)
            return;
        if (options.EvalStrategy == IntervalStrategy.No)
        {
            report.Error("load_best_model_at_end", "is on, but eval_strategy is no", why: "without evaluations none is best",
                fix: "set eval_strategy and save_strategy to steps");
            return;
        }
        if (options.SaveStrategy == SaveStrategy.Best)
            return;
        if (options.SaveStrategy.ToString() != options.EvalStrategy.ToString())
        {
            report.Error("load_best_model_at_end",
                $"is on, but eval_strategy ({RecipeNames.Of(options.EvalStrategy)}) and save_strategy "
                    + $"({RecipeNames.Of(options.SaveStrategy)}) differ",
                why: "the best evaluation needs a checkpoint at the same step",
                    fix: $"set save_strategy: {RecipeNames.Of(options.EvalStrategy)}");
            return;
        }
        if (options.EvalStrategy != IntervalStrategy.Steps)
            return;
        var (save, eval) = (options.SaveSteps.Value, (options.EvalSteps ?? options.LoggingSteps).Value);
        if ((save < 1) != (eval < 1) || !IsMultiple(save, eval))
            report.Error("save_steps", $"is {save}, not a multiple of eval_steps {eval}",
                why: "load_best_model_at_end needs an evaluation at every checkpoint", fix: $"set save_steps: {eval}");
    }

    // shares are rarely exact in binary: 0.3 is a multiple of 0.1 here
    private static bool IsMultiple(double value, double of) => Math.Abs(value / of - Math.Round(value / of)) < 1e-9;
}
