using Handbook.Base;
using Handbook.Recipes;

namespace Handbook.Launch;

/// <summary>DeepSpeed's own settings, in JSON: what is shared out becomes keys of the recipe, what the recipe says too has to agree with it.
/// </summary>
internal sealed class DeepSpeedFile : LauncherFile
{
    private const string Fix = "name a JSON file as DeepSpeed reads it";

    private static readonly Action<DeepSpeedFile, string, string> s_nothing = (_, _, _) => { };

    /// <summary>How sums travel, what is printed, and what devices hold: nothing of it changes a number here.</summary>
    private static readonly string[] s_withoutEffect =
    [
        "steps_per_print", "wall_clock_breakdown", "dump_state", "memory_breakdown", "zero_allow_untested_optimizer", "zero_force_ds_cpu_optimizer",
        "communication_data_type", "seq_parallel_communication_data_type", "prescale_gradients", "gradient_predivide_factor", "sparse_gradients",
        "disable_allgather", "dataloader_drop_last", "checkpoint",
        "data_types", "aio", "flops_profiler", "comms_logger", "tensorboard", "wandb",
        "csv_monitor", "zero_optimization.contiguous_gradients", "zero_optimization.overlap_comm", "zero_optimization.reduce_scatter",
        "zero_optimization.reduce_bucket_size", "zero_optimization.use_multi_rank_bucket_allreduce", "zero_optimization.allgather_partitions",
        "zero_optimization.allgather_bucket_size", "zero_optimization.load_from_fp32_weights", "zero_optimization.elastic_checkpoint",
        "zero_optimization.sub_group_size", "zero_optimization.prefetch_bucket_size", "zero_optimization.param_persistence_threshold",
        "zero_optimization.model_persistence_threshold", "zero_optimization.max_live_parameters", "zero_optimization.max_reuse_distance",
        "zero_optimization.gather_16bit_weights_on_model_save", "zero_optimization.stage3_prefetch_bucket_size",
        "zero_optimization.stage3_param_persistence_threshold", "zero_optimization.stage3_model_persistence_threshold",
        "zero_optimization.stage3_max_live_parameters", "zero_optimization.stage3_max_reuse_distance",
        "zero_optimization.stage3_gather_16bit_weights_on_model_save", "zero_optimization.stage3_gather_fp16_weights_on_model_save",
        "zero_optimization.ignore_unused_parameters", "zero_optimization.legacy_stage1", "zero_optimization.round_robin_gradients",
        "zero_optimization.memory_efficient_linear", "zero_optimization.cpu_offload_use_pin_memory",
        "zero_optimization.offload_optimizer.nvme_path", "zero_optimization.offload_optimizer.buffer_count",
        "zero_optimization.offload_optimizer.pin_memory", "zero_optimization.offload_optimizer.pipeline_read",
        "zero_optimization.offload_optimizer.pipeline_write", "zero_optimization.offload_optimizer.fast_init",
        "zero_optimization.offload_optimizer.ratio", "zero_optimization.offload_param.nvme_path", "zero_optimization.offload_param.buffer_count",
        "zero_optimization.offload_param.buffer_size", "zero_optimization.offload_param.max_in_cpu", "zero_optimization.offload_param.pin_memory",
        "bf16.immediate_grad_update", "fp16.loss_scale", "fp16.loss_scale_window", "fp16.initial_scale_power", "fp16.hysteresis",
        "fp16.consecutive_hysteresis", "fp16.min_loss_scale", "fp16.auto_cast", "fp16.fp16_master_weights_and_grads", "amp.opt_level",
    ];

    private static readonly Dictionary<string, Action<DeepSpeedFile, string, string>> s_keys = new(s_withoutEffect.Select(key => new
        KeyValuePair<string, Action<DeepSpeedFile, string, string>>(key, s_nothing)))
    {
        ["zero_optimization.stage"] = (file, key, value) => file.Stage(key, key, value),
        ["zero_optimization.offload_optimizer.device"] = (file, key, value) => file.OffloadOptimizer(key, key, value),
        ["zero_optimization.offload_param.device"] = (file, key, value) => file.OffloadWeights(key, value),
        ["zero_optimization.zero_hpz_partition_size"] = (file, key, value) => file.OneOf(key, value, "1", ""),
        ["zero_optimization.zero_quantized_weights"] = Off,
        ["zero_optimization.zero_quantized_gradients"] = Off,
        ["zero_optimization.mics_shard_size"] = (file, key, value) => file.OneOf(key, value, "-1", ""),
        ["gradient_accumulation_steps"] = (file, key, value) => file.Expect(key, "gradient_accumulation_steps", value),
        ["gradient_clipping"] = (file, key, value) => file.Expect(key, "max_grad_norm", value),
        ["train_micro_batch_size_per_gpu"] = (file, key, value) => file.Expect(key, "per_device_train_batch_size", value),
        ["train_batch_size"] = (file, key, value) =>
        {
            if (value is not ("auto" or ""))
                file.Note($"{key} {value} has no effect: the batch of a step is per_device_train_batch_size x gradient_accumulation_steps x processes");
        },
        ["bf16.enabled"] = (file, key, value) => file.Expect(key, "bf16", value),
        ["fp16.enabled"] = Off,
        ["amp.enabled"] = Off,
        ["optimizer"] = (file, key, _) => file.Note($"{key} has no effect: optim, learning_rate and the keys beside them decide"),
        ["scheduler"] = (file, key, _) => file.Note($"{key} has no effect: lr_scheduler_type, warmup_ratio and the keys beside them decide"),
        ["activation_checkpointing"] = (file, key, _) => file.Note($"{key} has no effect: the recipe's gradient_checkpointing decides"),
    };

    private DeepSpeedFile(string path, LaunchPlan plan) : base(path, plan)
    {
    }

    /// <summary>What a file says, on top of a plan.</summary>
    /// <param name="path">The file.</param>
    /// <param name="named">The key that names it, for messages.</param>
    /// <exception cref="InputException">It is broken, or asks for what there is not.</exception>
    public static LaunchPlan Read(string path, string named, LaunchPlan plan) => Read(Root(path, named, Fix), path, plan);

    /// <summary>What settings say that stand in a recipe itself.</summary>
    /// <param name="root">The settings.</param>
    /// <param name="path">What they are called in messages.</param>
    public static LaunchPlan Read(MapNode root, string path, LaunchPlan plan)
    {
        var file = new DeepSpeedFile(path, plan);
        file.Section("", root);
        return file.Plan;
    }

    private void Section(string prefix, MapNode node)
    {
        foreach (var entry in node.Entries)
        {
            var key = prefix + entry.Key.Text;
            Here = entry.Key.Span;
            if (s_keys.TryGetValue(key, out var take))
                take(this, key, Text(entry.Value));
            else if (entry.Value is MapNode inner && s_keys.Keys.Any(known => known.StartsWith(key + ".", StringComparison.Ordinal)))
                Section(key + ".", inner);
            else
                throw Unknown(key, key, s_keys.Keys);
        }
        Here = null;
    }

    // On a switch that is off nothing depends; "auto" follows a trainer's key that is not built either.
    private static void Off(DeepSpeedFile file, string key, string value) => file.OneOf(key, value, "false", "auto", "");
}
