namespace Handbook.Recipes;

/// <summary>The options of the launchers that the Python handbook was started with: not keys of a recipe, though they stand on the same
/// command line.</summary>
internal static class LauncherOptions
{
    public const string Why = "it belongs to the launcher of the Python handbook; here one process trains on the whole machine, without "
        + "a launcher";

    private static readonly HashSet<string> s_all =
    [
        "config_file", "num_processes", "num_machines", "num_cpu_threads_per_process", "machine_rank", "main_process_ip",
            "main_process_port", "main_training_function",
        "multi_gpu", "gpu_ids", "same_network", "rdzv_backend", "rdzv_endpoint", "rdzv_conf", "rdzv_id", "use_deepspeed",
        "deepspeed_config_file", "deepspeed_multinode_launcher",
        "zero_stage", "offload_optimizer_device", "use_fsdp", "dynamo_backend", "nproc_per_node", "nnodes", "node_rank", "master_addr",
        "master_port", "standalone",
        "num_gpus", "num_nodes", "hostfile", "include", "compute_environment", "distributed_type", "deepspeed_config", "downcast_bf16",
    ];

    private static readonly HashSet<string> s_flags = ["multi_gpu", "same_network", "use_deepspeed", "use_fsdp", "standalone"];

    /// <summary>Whether a word without its dashes is such an option.</summary>
    public static bool Contains(string name) => s_all.Contains(name.Replace('-', '_'));

    /// <summary>Whether a value follows it.</summary>
    public static bool TakesValue(string name) => Contains(name) && !s_flags.Contains(name.Replace('-', '_'));
}
