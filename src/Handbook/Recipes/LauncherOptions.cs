namespace Handbook.Recipes;

/// <summary>The options of the launchers that the Python handbook was started with: not keys of a recipe, though they stand on the same
/// command line.</summary>
internal static class LauncherOptions
{
    public const string Why = "it belongs to the launcher of the Python handbook; here `handbook launch` starts several processes";

    /// <summary>Those that <c>handbook launch</c> has, with their names there.</summary>
    private static readonly Dictionary<string, string> s_here = new()
    {
        ["config_file"] = "--config_file",
        ["num_processes"] = "--num_processes",
        ["nproc_per_node"] = "--nproc-per-node",
        ["num_gpus"] = "--nproc-per-node",
        ["num_machines"] = "--nnodes",
        ["nnodes"] = "--nnodes",
        ["num_nodes"] = "--nnodes",
        ["machine_rank"] = "--node-rank",
        ["node_rank"] = "--node-rank",
        ["rdzv_endpoint"] = "--rdzv-endpoint",
        ["main_process_ip"] = "--master-addr",
        ["master_addr"] = "--master-addr",
        ["main_process_port"] = "--master-port",
        ["master_port"] = "--master-port",
        ["max_restarts"] = "--max-restarts",
        ["num_cpu_threads_per_process"] = "--num_cpu_threads_per_process",
        ["log_dir"] = "--log-dir",
        ["zero_stage"] = "--zero_stage",
    };

    private static readonly HashSet<string> s_flags = ["multi_gpu", "same_network", "use_deepspeed", "use_fsdp", "standalone"];

    private static readonly HashSet<string> s_withoutEffect =
    [
        .. s_flags, "main_training_function", "gpu_ids", "rdzv_backend", "rdzv_conf", "rdzv_id", "role", "tee", "redirects",
            "monitor_interval", "start_method", "deepspeed_config_file", "deepspeed_multinode_launcher",
            "offload_optimizer_device", "dynamo_backend", "hostfile", "include", "exclude", "compute_environment", "distributed_type",
            "deepspeed_config", "downcast_bf16",
    ];

    /// <summary>Whether a word without its dashes is such an option.</summary>
    public static bool Contains(string name) => Here(name) is not null || s_withoutEffect.Contains(Plain(name));

    /// <summary>The option of <c>handbook launch</c> that says the same; null where nothing has to be said here.</summary>
    public static string? Here(string name) => s_here.GetValueOrDefault(Plain(name));

    /// <summary>Whether a value follows it.</summary>
    public static bool TakesValue(string name) => Contains(name) && !s_flags.Contains(Plain(name));

    /// <summary>What to do with such a word behind a recipe.</summary>
    public static string Fix(string name) =>
        Here(name) is { } here ? $"remove it, or say it before the command: handbook launch {here} … sft RECIPE" : "remove it";

    private static string Plain(string name) => name.Replace('-', '_');
}
