using Handbook.Training.Plans;

namespace Handbook.Recipes;

/// <summary>Whether a key may have another value when a run goes on from a checkpoint.</summary>
internal enum ResumeRule
{
    /// <summary>It decides what the steps compute: another value would be another run.</summary>
    Fixed,
    /// <summary>It decides what is measured, shown or kept, or how fast: steps stay what they are.</summary>
    Free,
    /// <summary>It decides how long the run is; whether that reaches back to steps already taken is the schedule's to say.</summary>
    Length,
    /// <summary>It decides which rows a step sees; <c>ignore_data_skip</c> lets it change.</summary>
    Rows,
}

/// <summary>The rule of every key.</summary>
internal static class ResumeRules
{
    /// <summary>The keys that a run may change on its way.</summary>
    internal static readonly IReadOnlySet<string> Free = new HashSet<string>
    {
        "output_dir", "env", "fresh", "resume_from_checkpoint", "ignore_data_skip", "ignore_recipe_changes",
        "per_device_eval_batch_size", "max_tokens", "dataset_num_proc", "max_bad_rows", "gradient_checkpointing", "context_parallel_size",
        "use_cpu", "zero_stage", "ddp_timeout", "offload_optimizer", "ds3_gather_for_generation",
        "do_eval", "eval_strategy", "eval_steps", "eval_delay", "eval_on_start",
        "save_strategy", "save_steps", "save_total_limit", "save_only_model", "load_best_model_at_end",
        "logging_strategy", "logging_steps", "logging_first_step", "logging_dir", "report_to", "disable_tqdm", "log_level", "run_name",
        "wandb_project", "wandb_entity", "wandb_run_group",
        "push_to_hub", "hub_model_id", "push_to_hub_organization", "hub_strategy", "hub_token", "hub_private_repo", "hub_always_push",
        "hub_model_revision",
        "precompute_ref_log_probs", "generate_during_eval", "log_completions",
    };

    private static readonly string[] s_length = ["max_steps", "num_train_epochs"];
    private static readonly string[] s_order = ["per_device_train_batch_size", "gradient_accumulation_steps", "data_seed",
        "dataloader_drop_last", "train_sampling_strategy", "group_by_length", "shuffle_dataset"];

    private static readonly string[] s_start = ["output_dir", "fresh", "resume_from_checkpoint", "ignore_data_skip",
        "ignore_recipe_changes"];

    /// <summary>Whether the key says how a start goes, and nothing about the run.</summary>
    public static bool IsAboutTheStart(string key) => s_start.Contains(key);

    public static ResumeRule Of(RecipeKey key) =>
        Free.Contains(key.Name) ? ResumeRule.Free
        : s_length.Contains(key.Name) ? ResumeRule.Length
        : key.Property?.DeclaringType == typeof(DataOptions) || s_order.Contains(key.Name) ? ResumeRule.Rows
        : ResumeRule.Fixed;
}
