using Handbook.Base;
using Handbook.Recipes;

namespace Handbook.Launch;

/// <summary>A launcher's file of the Python handbook (<c>recipes/accelerate_configs/*.yaml</c>): every key is honoured, noted or
/// refused.</summary>
internal sealed class AccelerateFile : LauncherFile
{
    private static readonly Action<AccelerateFile, string> s_nothing = (_, _) => { };

    /// <summary>Keys of the launcher alone or of devices that are not here, on which nothing depends.</summary>
    private static readonly string[] s_withoutEffect =
    [
        "main_training_function", "rdzv_backend", "same_network", "compute_environment", "debug", "downcast_bf16", "gpu_ids",
            "enable_cpu_affinity", "tpu_env", "tpu_use_cluster", "tpu_use_sudo", "tpu_vm", "tpu_name", "tpu_zone", "command_file", "commands",
            "dynamo_config", "dynamo_backend", "ipex_config", "mpirun_config",
    ];

    private static readonly Dictionary<string, Action<AccelerateFile, string>> s_keys = new(s_withoutEffect.Select(key => new
        KeyValuePair<string, Action<AccelerateFile, string>>(key, s_nothing)))
    {
        ["num_processes"] = (file, value) => file.Plan = file.Plan with { Total = file.Number("num_processes", value) },
        ["num_machines"] = (file, value) => file.Plan = file.Plan with { Nodes = file.Number("num_machines", value) },
        ["machine_rank"] = (file, value) => file.Plan = file.Plan with { NodeRank = file.Number("machine_rank", value) },
        ["main_process_ip"] = (file, value) => file.Plan = file.Plan with { Address = value.Length > 0 ? value : file.Plan.Address },
        ["main_process_port"] = (file, value) =>
            file.Plan = file.Plan with { Port = value.Length > 0 ? file.Number("main_process_port", value) : file.Plan.Port },
        ["num_cpu_threads_per_process"] = (file, value) =>
            file.Plan = file.Plan with { Threads = file.Number("num_cpu_threads_per_process", value) },
        ["distributed_type"] = (file, value) => file.OneOf("distributed_type", value, "MULTI_GPU", "MULTI_CPU", "DEEPSPEED", "FSDP", "NO", ""),
        ["mixed_precision"] = (file, value) =>
        {
            file.OneOf("mixed_precision", value, "bf16", "no", "false", "");
            if (value == "bf16")
                file.Expect("mixed_precision", "bf16", "true");
        },
        ["use_cpu"] = (file, value) =>
        {
            if (value == "true")
                file.Expect("use_cpu", "use_cpu", value);
        },
        ["deepspeed_config"] = s_nothing,
        ["fsdp_config"] = s_nothing,
        ["parallelism_config"] = s_nothing,
        ["megatron_lm_config"] = s_nothing,
        ["fp8_config"] = s_nothing,
    };

    private static readonly Dictionary<string, Action<AccelerateFile, string>> s_deepspeed = new()
    {
        ["zero_stage"] = (file, value) => file.Stage("zero_stage", "deepspeed_config.zero_stage", value),
        ["offload_optimizer_device"] = (file, value) =>
            file.OffloadOptimizer("offload_optimizer_device", "deepspeed_config.offload_optimizer_device", value),
        ["offload_param_device"] = (file, value) => file.OffloadWeights("offload_param_device", value),
        ["gradient_accumulation_steps"] = (file, value) =>
            file.Expect("deepspeed_config.gradient_accumulation_steps", "gradient_accumulation_steps", value),
        ["gradient_clipping"] = (file, value) => file.Expect("deepspeed_config.gradient_clipping", "max_grad_norm", value),
        ["deepspeed_config_file"] = (file, value) =>
            file.Plan = value.Length > 0 ? DeepSpeedFile.Read(Find(file.Path, value), "deepspeed_config_file", file.Plan) : file.Plan,
        ["zero3_init_flag"] = s_nothing,            // weights are mapped, never copied before they are used
        ["zero3_save_16bit_model"] = s_nothing,     // whole weights are saved in any case
        ["deepspeed_multinode_launcher"] = s_nothing,
        ["deepspeed_hostfile"] = s_nothing,         // --nnodes and --node-rank say which host this is
        ["deepspeed_inclusion_filter"] = s_nothing,
        ["deepspeed_exclusion_filter"] = s_nothing,
        ["deepspeed_moe_layer_cls_names"] = s_nothing,
        ["offload_optimizer_nvme_path"] = s_nothing,
        ["offload_param_nvme_path"] = s_nothing,
    };

    private static readonly Dictionary<string, Action<AccelerateFile, string>> s_fsdp = new()
    {
        ["fsdp_sharding_strategy"] = (file, value) => file.OneOf("fsdp_sharding_strategy", value, "FULL_SHARD", "SHARD_GRAD_OP", "NO_SHARD",
            "HYBRID_SHARD", "HYBRID_SHARD_ZERO2", "1", "2", "3", "4", "5", ""),
        ["fsdp_offload_params"] = (file, value) =>
        {
            if (value is "true")
                file.Note("fsdp_offload_params has no effect: parameters are in the machine's memory already");
        },
        ["fsdp_activation_checkpointing"] = (file, value) =>
        {
            if (value is "true")
                file.Expect("fsdp_config.fsdp_activation_checkpointing", "gradient_checkpointing", value);
        },
        ["fsdp_version"] = (file, value) => file.OneOf("fsdp_version", value, "1", "2", ""),
        ["fsdp_auto_wrap_policy"] = s_nothing,
        ["fsdp_transformer_layer_cls_to_wrap"] = s_nothing,
        ["fsdp_min_num_params"] = s_nothing,
        ["fsdp_backward_prefetch"] = s_nothing,
        ["fsdp_backward_prefetch_policy"] = s_nothing,
        ["fsdp_forward_prefetch"] = s_nothing,
        ["fsdp_cpu_ram_efficient_loading"] = s_nothing,
        ["fsdp_sync_module_states"] = s_nothing,
        ["fsdp_state_dict_type"] = s_nothing,       // checkpoints and models are whole
        ["fsdp_use_orig_params"] = s_nothing,
        ["fsdp_reshard_after_forward"] = s_nothing,     // read with the strategy
    };

    private static readonly Dictionary<string, Action<AccelerateFile, string>> s_parallelism = new()
    {
        ["parallelism_config_cp_size"] = (file, value) =>
            file.Expect("parallelism_config.parallelism_config_cp_size", "context_parallel_size", value),
        ["parallelism_config_tp_size"] = (file, value) => file.Whole("parallelism_config_tp_size", value,
            "no layer is cut over processes yet"),
        ["parallelism_config_sp_size"] = (file, value) => file.Whole("parallelism_config_sp_size", value,
            "rows are cut over processes by parallelism_config_cp_size"),
        ["parallelism_config_dp_replicate_size"] = s_nothing,       // as many as there are processes for
        ["parallelism_config_dp_shard_size"] = s_nothing,
        ["parallelism_config_cp_backend"] = s_nothing,
        ["parallelism_config_cp_comm_strategy"] = s_nothing,        // keys and values go round a ring
    };

    private AccelerateFile(string path, LaunchPlan plan) : base(path, plan)
    {
    }

    /// <summary>What the file says, on top of a plan.</summary>
    /// <param name="path">A YAML file as <c>accelerate config</c> writes it.</param>
    /// <exception cref="InputException">It is broken, or asks for what there is not.</exception>
    public static LaunchPlan Read(string path, LaunchPlan plan)
    {
        var root = Root(path, "--config_file", "name a YAML file as `accelerate config` writes it");
        if (root["model_name_or_path"] is not null)
            throw new InputException($"--config_file: {path} is a recipe", fix: "name it behind the command: handbook launch … sft RECIPE");
        var file = new AccelerateFile(path, plan);
        file.Read(root);
        return file.Plan;
    }

    private void Read(MapNode root)
    {
        Section("", root, s_keys);
        var kind = Text(root["distributed_type"]);
        if (kind == "NO" && Plan.Total > 1)
            Refuse($"distributed_type NO is one process, but num_processes is {Plan.Total}", "use MULTI_GPU, or one process");
        Section("deepspeed_config.", root["deepspeed_config"], s_deepspeed);
        Section("fsdp_config.", root["fsdp_config"], s_fsdp);
        if (root["fsdp_config"] is MapNode { Entries.Count: > 0 } fsdp)
            Shard(fsdp);
        Section("parallelism_config.", root["parallelism_config"], s_parallelism);
        foreach (var key in (string[])["megatron_lm_config", "fp8_config"])
            if (root[key] is MapNode { Entries.Count: > 0 })
                Refuse($"{key} is not built", "remove it");
    }

    private void Section(string prefix, RecipeNode? node, Dictionary<string, Action<AccelerateFile, string>> keys)
    {
        foreach (var entry in (node as MapNode)?.Entries ?? [])
        {
            Here = entry.Key.Span;
            if (keys.TryGetValue(entry.Key.Text, out var take))
                take(this, Text(entry.Value));
            else
                throw Unknown(prefix + entry.Key.Text, entry.Key.Text, keys.Keys);
        }
        Here = null;
    }

    // What FSDP calls a strategy is a stage; its second version says in another key whether weights go after the forward pass.
    private void Shard(MapNode fsdp)
    {
        const string key = "fsdp_config.fsdp_sharding_strategy";
        var strategy = Text(fsdp["fsdp_sharding_strategy"]);
        if (strategy.Length == 0 && Text(fsdp["fsdp_reshard_after_forward"]) is "false" or "SHARD_GRAD_OP")
            strategy = "2";
        if (strategy is "HYBRID_SHARD" or "HYBRID_SHARD_ZERO2" or "4" or "5")
            Note($"{key} {strategy} shares out over the processes of a host; here it is over all of them");
        if (strategy is not ("NO_SHARD" or "3"))
            Key(key, "zero_stage", strategy is "SHARD_GRAD_OP" or "HYBRID_SHARD_ZERO2" or "2" or "5" ? "2" : "3");
    }

    // Named from where the launcher is started, or else from beside the file.
    private static string Find(string file, string named) => File.Exists(named) ? named
        : System.IO.Path.Combine(System.IO.Path.GetDirectoryName(file) ?? "", named);

    private void Whole(string key, string value, string why)
    {
        if (value is not ("1" or ""))
            Refuse($"parallelism_config.{key} is {value}, but {why}", "use 1");
    }
}
