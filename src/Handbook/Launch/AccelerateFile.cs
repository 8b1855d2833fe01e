using System.Globalization;
using Handbook.Base;
using Handbook.Recipes;

namespace Handbook.Launch;

/// <summary>A launcher's file of the Python handbook (<c>recipes/accelerate_configs/*.yaml</c>): every key is honoured, noted or
/// refused.</summary>
internal static class AccelerateFile
{
    /// <summary>What the file says, on top of a plan.</summary>
    /// <param name="path">A YAML file as <c>accelerate config</c> writes it.</param>
    /// <exception cref="InputException">It is broken, or asks for what there is not.</exception>
    public static LaunchPlan Read(string path, LaunchPlan plan)
    {
        if (!File.Exists(path))
            throw new InputException($"--config_file: {path} does not exist", fix: "name a YAML file as `accelerate config` writes it");
        var report = new Diagnostics(path);
        if (YamlReader.Read(File.ReadAllText(path), path, report) is not MapNode root || report.HasErrors)
            throw new InputException(report.HasErrors ? report.ToString().TrimEnd() : $"{path} is not a mapping of keys",
                fix: "name a YAML file as `accelerate config` writes it");
        var (notes, total) = (new List<string>(plan.Notes), (int?)null);
        foreach (var (key, value) in root.Entries.Select(entry => (entry.Key.Text, Text(entry.Value))))
            switch (key)
            {
                case "num_processes":
                    total = Whole(path, key, value);
                    break;
                case "num_machines":
                    plan = plan with { Nodes = Whole(path, key, value) };
                    break;
                case "machine_rank":
                    plan = plan with { NodeRank = Whole(path, key, value) };
                    break;
                case "main_process_ip" when value.Length > 0:
                    plan = plan with { Address = value };
                    break;
                case "main_process_port" when value.Length > 0:
                    plan = plan with { Port = Whole(path, key, value) };
                    break;
                case "num_cpu_threads_per_process":
                    plan = plan with { Threads = Whole(path, key, value) };
                    break;
                case "distributed_type":
                    Kind(path, value);
                    break;
                case "deepspeed_config":
                    Sharding(path, (root[key] as MapNode)?.Entries, notes);
                    break;
                case "fsdp_config":
                    notes.Add($"{Path.GetFileName(path)}: fsdp_config asks for sharded parameters, which are not built yet: every process keeps the "
                        + "whole model; the numbers are the same");
                    break;
                case "mixed_precision" when value is not ("bf16" or "no" or ""):
                    throw new InputException($"{path}: mixed_precision is {value}, which is not built",
                        fix: "use bf16, or no; the recipe's bf16 and torch_dtype decide");
                case "main_training_function" or "mixed_precision" or "rdzv_backend" or "same_network" or "compute_environment" or "debug"
                    or "downcast_bf16" or "use_cpu" or "gpu_ids" or "main_process_ip" or "main_process_port" or "enable_cpu_affinity"
                    or "tpu_env" or "tpu_use_cluster" or "tpu_use_sudo" or "dynamo_config" or "megatron_lm_config" or "ipex_config"
                    or "dynamo_backend" or "command_file" or "commands" or "tpu_name" or "tpu_zone":
                    break;      // of the launcher alone, or of devices that are not here: nothing depends on it
                default:
                    throw new InputException($"{path}: unknown key {key}",
                        why: Spelling.Nearest(key, ["num_processes", "num_machines", "machine_rank", "main_process_ip", "main_process_port",
                            "distributed_type", "deepspeed_config", "fsdp_config", "mixed_precision"]) is { } near ? $"did you mean {near}?" : null,
                        fix: "remove it");
            }
        if (total is { } all)
        {
            if (all % plan.Nodes != 0)
                throw new InputException($"{path}: {all} processes cannot be shared out among {plan.Nodes} hosts",
                    fix: "num_processes counts those of all hosts: make it a multiple of num_machines");
            plan = plan with { Processes = all / plan.Nodes };
        }
        return plan with { Notes = notes };
    }

    private static void Kind(string path, string value)
    {
        if (value is not ("MULTI_GPU" or "MULTI_CPU" or "DEEPSPEED" or "FSDP" or "NO" or ""))
            throw new InputException($"{path}: distributed_type is {value}, which is not built",
                fix: "use MULTI_GPU, MULTI_CPU, DEEPSPEED, FSDP or NO");
    }

    private static void Sharding(string path, IEnumerable<MapEntry>? entries, List<string> notes)
    {
        foreach (var entry in entries ?? [])
        {
            var value = Text(entry.Value);
            switch (entry.Key.Text)
            {
                case "zero_stage":
                    if (value is not "0")
                        notes.Add($"{Path.GetFileName(path)}: zero_stage {value} asks for sharded "
                            + (value switch { "1" => "states", "2" => "states and gradients", _ => "parameters, gradients and states" })
                            + ", which is not built yet: every process keeps the whole model; the numbers are the same");
                    break;
                case "offload_optimizer_device" or "offload_param_device":
                    if (value is not ("none" or ""))
                        notes.Add($"{Path.GetFileName(path)}: {entry.Key.Text} {value} is not built yet; a paged optimiser (optim: paged_adamw_32bit) "
                            + "keeps its states in a file");
                    break;
                case "deepspeed_config_file":
                    throw new InputException($"{path}: deepspeed_config_file is not read", fix: "write zero_stage into this file");
            }
        }
    }

    private static int Whole(string path, string key, string value) =>
        int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number
            : throw new InputException($"{path}: {key} is {value}, but must be a whole number", fix: "write a number such as 8");

    private static string Text(RecipeNode? node) => node is ScalarNode { IsNull: false } scalar ? scalar.Text : "";
}
