namespace Handbook.Recipes;

/// <summary>Words that other trainers, or people, use for a key: too far from it for a spelling mistake.</summary>
internal static class KeySynonyms
{
    private static readonly Dictionary<string, string> s_keys = new()
    {
        ["model"] = "model_name_or_path", ["model_name"] = "model_name_or_path", ["model_path"] = "model_name_or_path", ["base_model"] = "model_name_or_path", ["pretrained_model_name_or_path"] = "model_name_or_path",
        ["tokenizer"] = "tokenizer_name_or_path", ["tokenizer_name"] = "tokenizer_name_or_path", ["tokenizer_path"] = "tokenizer_name_or_path",
        ["precision"] = "torch_dtype", ["ref_model"] = "ref_model_name_or_path", ["reference_model"] = "ref_model_name_or_path",
        ["dataset"] = "dataset_name", ["datasets"] = "dataset_mixture", ["data"] = "dataset_name", ["data_path"] = "dataset_name", ["dataset_path"] = "dataset_name", ["train_file"] = "dataset_name", ["train_data"] = "dataset_name",
        ["dataset_id"] = "dataset_name", ["split"] = "dataset_train_split", ["train_split"] = "dataset_train_split", ["dataset_split"] = "dataset_train_split",
        ["test_split"] = "dataset_test_split", ["eval_split"] = "dataset_test_split", ["validation_split"] = "dataset_test_split",
        ["seq_len"] = "max_length", ["seq_length"] = "max_length", ["sequence_len"] = "max_length", ["sequence_length"] = "max_length", ["max_seq_len"] = "max_length", ["context_length"] = "max_length", ["block_size"] = "max_length",
        ["cutoff_len"] = "max_length", ["model_max_length"] = "max_length", ["max_len"] = "max_length", ["sample_packing"] = "packing", ["columns"] = "column_mapping",
        ["template"] = "chat_template", ["workers"] = "dataset_num_proc", ["num_workers"] = "dataset_num_proc", ["num_proc"] = "dataset_num_proc",
        ["train_on_inputs"] = "completion_only_loss", ["train_on_responses_only"] = "completion_only_loss", ["neftune"] = "neftune_noise_alpha", ["neftune_alpha"] = "neftune_noise_alpha",
        ["lr"] = "learning_rate", ["max_lr"] = "learning_rate", ["peak_lr"] = "learning_rate", ["base_lr"] = "learning_rate", ["rate"] = "learning_rate", ["step_size"] = "learning_rate",
        ["scheduler"] = "lr_scheduler_type", ["lr_scheduler"] = "lr_scheduler_type", ["schedule"] = "lr_scheduler_type", ["lr_schedule"] = "lr_scheduler_type", ["scheduler_type"] = "lr_scheduler_type", ["scheduler_kwargs"] = "lr_scheduler_kwargs",
        ["warmup"] = "warmup_ratio", ["warm_up"] = "warmup_ratio", ["warmup_proportion"] = "warmup_ratio", ["num_warmup_steps"] = "warmup_steps",
        ["epoch"] = "num_train_epochs", ["epochs"] = "num_train_epochs", ["num_epochs"] = "num_train_epochs", ["n_epochs"] = "num_train_epochs", ["max_epochs"] = "num_train_epochs", ["train_epochs"] = "num_train_epochs",
        ["steps"] = "max_steps", ["num_steps"] = "max_steps", ["iterations"] = "max_steps", ["max_iters"] = "max_steps", ["train_steps"] = "max_steps", ["num_train_steps"] = "max_steps", ["total_steps"] = "max_steps", ["max_train_steps"] = "max_steps",
        ["batch"] = "per_device_train_batch_size", ["batch_size"] = "per_device_train_batch_size", ["train_batch_size"] = "per_device_train_batch_size", ["micro_batch_size"] = "per_device_train_batch_size", ["bs"] = "per_device_train_batch_size",
        ["per_device_batch_size"] = "per_device_train_batch_size", ["eval_batch_size"] = "per_device_eval_batch_size",
        ["grad_accum"] = "gradient_accumulation_steps", ["grad_accumulation"] = "gradient_accumulation_steps", ["accumulation_steps"] = "gradient_accumulation_steps", ["gradient_accumulation"] = "gradient_accumulation_steps", ["grad_acc_steps"] = "gradient_accumulation_steps", ["accumulate_grad_batches"] = "gradient_accumulation_steps",
        ["optimizer"] = "optim", ["optimiser"] = "optim", ["optimizer_name"] = "optim", ["wd"] = "weight_decay", ["decay"] = "weight_decay", ["beta1"] = "adam_beta1", ["beta2"] = "adam_beta2", ["betas"] = "adam_beta1", ["eps"] = "adam_epsilon", ["adam_eps"] = "adam_epsilon",
        ["clip"] = "max_grad_norm", ["grad_clip"] = "max_grad_norm", ["gradient_clip"] = "max_grad_norm", ["clip_grad_norm"] = "max_grad_norm", ["gradient_clip_val"] = "max_grad_norm", ["grad_norm"] = "max_grad_norm", ["gradient_clipping"] = "max_grad_norm",
        ["checkpointing"] = "gradient_checkpointing", ["grad_checkpointing"] = "gradient_checkpointing", ["random_seed"] = "seed", ["label_smoothing_eps"] = "label_smoothing_factor", ["bfloat16"] = "bf16", ["mixed_precision"] = "bf16",
        ["output"] = "output_dir", ["out"] = "output_dir", ["out_dir"] = "output_dir", ["output_path"] = "output_dir", ["output_folder"] = "output_dir", ["save_dir"] = "output_dir", ["save_path"] = "output_dir", ["run_dir"] = "output_dir", ["checkpoint_dir"] = "output_dir",
        ["resume"] = "resume_from_checkpoint", ["resume_from"] = "resume_from_checkpoint", ["checkpoint"] = "resume_from_checkpoint", ["overwrite"] = "fresh", ["restart"] = "fresh",
        ["log_every"] = "logging_steps", ["log_steps"] = "logging_steps", ["log_interval"] = "logging_steps", ["logger"] = "report_to", ["log_dir"] = "logging_dir", ["name"] = "run_name",
        ["eval_every"] = "eval_steps", ["eval_interval"] = "eval_steps", ["evaluate"] = "eval_strategy", ["evaluation"] = "eval_strategy", ["validation_steps"] = "eval_steps", ["eval_frequency"] = "eval_steps", ["val_check_interval"] = "eval_steps",
        ["save_every"] = "save_steps", ["save_interval"] = "save_steps", ["checkpoint_steps"] = "save_steps", ["checkpoint_interval"] = "save_steps", ["keep_checkpoints"] = "save_total_limit", ["max_checkpoints"] = "save_total_limit", ["keep_last"] = "save_total_limit",
        ["dpo_beta"] = "beta", ["kl_coef"] = "beta", ["loss"] = "loss_type",
    };

    /// <summary>Every pair, for the tests.</summary>
    public static IReadOnlyDictionary<string, string> All => s_keys;

    /// <summary>The key that a word means; null where it is no such word.</summary>
    public static string? KeyFor(string word) => s_keys.GetValueOrDefault(word.ToLowerInvariant().Replace('-', '_'));
}
