using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Recipes;

/// <summary>The keys that recipes of the Python handbook may have and that no record holds: each has its answer here.</summary>
internal static class OtherKeys
{
    private const string Whole = "zero_stage says what processes share out among them: 1 states, 2 gradients too, 3 weights too";
    private const string Launcher = "`handbook launch`, torchrun or srun says how many processes there are, and which one this is";
    private const string FirstSpeaks = "the first process speaks and writes for all; the others print to the launcher's files";
    private const string Sums = "processes exchange sums of gradients, the same whatever this says";
    private const string Local = "runs are kept on the disk, in metrics.jsonl and in the forms that report_to names";
    private const string Always = "it is always so here";

    public static IReadOnlyList<RecipeKey> All { get; } =
    [
        .. Model(), .. Adapters(), .. Data(), .. Training(), .. Tracking(), .. Processes(), .. Preference(), .. OtherGrpoKeys.All(),
            .. Rejected(),
    ];

    private static IEnumerable<RecipeKey> Model() => Group("Model and tokenizer",
        NoEffect<string>("model_code_revision", "no code of a model is ever run"),
        NoEffect<bool>("trust_remote_code", "no code of a model is ever run", false),
        NoEffect<string>("attn_implementation", "attention is always fused and exact; no setting changes the result"),
        NoEffect<bool>("use_flash_attention_2", "attention is always fused and exact; no setting changes the result", false),
        NoEffect<IReadOnlyDictionary<string, object?>>("model_init_kwargs", "the model's config.json says how it is built"),
        NoEffect<bool>("use_liger_kernel", "the fused operations are always on", false),
        NoEffect<IReadOnlyDictionary<string, object?>>("liger_kernel_config", "the fused operations are always on"));

    private static IEnumerable<RecipeKey> Adapters() =>
    [
        .. Group("Quantised weights",
            NoEffect<string>("bnb_4bit_quant_storage",
            "codes are kept two in a byte; the container matters to sharded training in Python alone")),
    ];

    private static IEnumerable<RecipeKey> Data() => Group("Data",
        NoEffect<bool>("dataset_streaming", "rows are read from disk as they are needed anyway", false),
        NoEffect<bool>("padding_free", "no batch is ever padded, and rows never see each other", false),
        NoEffect<int?>("pad_to_multiple_of", "no batch is ever padded"),
        NoEffect<bool>("remove_unused_columns", "only the columns that the method reads are taken", true),
        NoEffect<IReadOnlyList<string>>("label_names", "the labels are the tokens"),
        NoEffect<string>("length_column_name", "rows are packed without padding, so grouping by length gains nothing", "length"),
        NoEffect<int>("dataloader_num_workers", "batches are prepared ahead on threads of their own", 0),
        NoEffect<bool>("dataloader_persistent_workers", "batches are prepared ahead on threads of their own", false),
        NoEffect<bool>("dataloader_pin_memory", "the CPU reads batches where they are", true),
        NoEffect<int?>("dataloader_prefetch_factor", "batches are prepared ahead on threads of their own"),
        NoEffect<bool?>("dispatch_batches", "each process takes its share of a step's rows, by their length"),
        NoEffect<bool?>("split_batches",
        "the batch of a step is per_device_train_batch_size x gradient_accumulation_steps x processes in any case"));

    private static IEnumerable<RecipeKey> Training() => Group("Training",
        NoEffect<IReadOnlyDictionary<string, object?>>("gradient_checkpointing_kwargs",
        "there is one way to recompute, with the same result as either"),
        NoEffect<bool>("gradient_checkpointing_use_reentrant", "there is one way to recompute, with the same result as either", false),
        NoEffect<bool>("activation_offloading", "activations are in the machine's memory already; gradient_checkpointing saves it", false),
        NoEffect<bool>("average_tokens_across_devices", "the loss is always divided once, by the tokens of the whole step", true),
        NoEffect<bool>("do_train", "the command trains", false),
        NoEffect<bool>("do_predict", "`handbook generate` writes answers", false),
        NoEffect<bool>("overwrite_output_dir", "a run goes on from its last checkpoint; `fresh: true` starts anew", false),
        NoEffect<bool>("full_determinism", "the same seed gives the same bits", false),
        NoEffect<bool>("save_safetensors", "models are always saved as safetensors", true),
        NoEffect<bool>("include_tokens_per_second", Always, false),
        NoEffect<object>("include_num_input_tokens_seen", Always, "no"),
        NoEffect<bool>("skip_memory_metrics", "memory is always logged", true),
        NoEffect<bool>("prediction_loss_only", "evaluation computes losses, not predictions", false),
        NoEffect<int?>("eval_accumulation_steps", "evaluation keeps no predictions"),
        NoEffect<bool>("eval_do_concat_batches", "evaluation keeps no predictions", true),
        NoEffect<bool?>("eval_use_gather_object", "evaluation adds up sums and counts of all processes", false),
        NoEffect<bool>("batch_eval_metrics", "evaluation keeps no predictions", false),
        NoEffect<IReadOnlyList<string>>("include_for_metrics", "evaluation keeps no predictions"),
        NoEffect<bool>("include_inputs_for_metrics", "evaluation keeps no predictions", false),
        NoEffect<bool>("enable_jit_checkpoint", "a run that is told to stop saves a checkpoint first in any case", false),
        NoEffect<bool>("use_cache", "training reads whole rows, and sampling always keeps keys and values", false),
        NoEffect<bool>("restore_callback_states_from_checkpoint", "a checkpoint always holds the whole state", false),
        NoEffect<int?>("torch_empty_cache_steps", "the CPU's memory needs no such help"),
        NoEffect<bool>("torch_compile", "the fused operations are compiled already", false),
        NoEffect<string>("torch_compile_backend", "the fused operations are compiled already"),
        NoEffect<string>("torch_compile_mode", "the fused operations are compiled already"),
        NoEffect<string>("torchdynamo", "the fused operations are compiled already"),
        NoEffect<bool>("jit_mode_eval", "evaluation runs the same code as training", false),
        NoEffect<bool>("use_legacy_prediction_loop", "evaluation runs the same code as training", false),
        NoEffect<string>("fp16_backend", "mixed precision is built in", "auto"),
        NoEffect<string>("half_precision_backend", "mixed precision is built in", "auto"),
        NoEffect<string>("fp16_opt_level", "mixed precision is built in", "O1"),
        NoEffect<bool>("use_ipex", "the processor's own instructions are used anyway", false),
        NoEffect<bool>("use_mps_device", "training runs on CPUs and NVIDIA's GPUs", false),
        NoEffect<int>("tpu_num_cores", "training runs on CPUs and NVIDIA's GPUs"),
        NoEffect<bool>("tpu_metrics_debug", "training runs on CPUs and NVIDIA's GPUs", false),
        NoEffect<int>("past_index", "the models here keep no such memory", -1),
        NoEffect<string>("mp_parameters", Whole, ""),
        NoEffect<object>("debug", "every message is shown", ""),
        NoEffect<bool>("logging_nan_inf_filter", "a loss that is not a number stops the run before it spoils the weights", true),
        NoEffect<int>("_n_gpu", "each process computes on one GPU, or on the CPU", -1));

    private static IEnumerable<RecipeKey> Tracking() => Group("Tracking",
        NoEffect<string>("project", Local, "huggingface"),
        NoEffect<string>("trackio_space_id", Local, "trackio"));

    private static IEnumerable<RecipeKey> Processes() => Group("Several processes",
        NoEffect<object>("deepspeed", "DeepSpeed's settings, or a JSON file of them: what they share out becomes zero_stage and offload_optimizer, and "
            + "what the recipe says too has to agree with them") with
        { Disposition = Disposition.Expands },
        NoEffect<object>("fsdp", Whole, ""),
        NoEffect<object>("fsdp_config", Whole),
        NoEffect<int>("fsdp_min_num_params", Whole, 0),
        NoEffect<string>("fsdp_transformer_layer_cls_to_wrap", Whole),
        NoEffect<object>("accelerator_config",
        "each process takes its share of a step's rows, by their length; the order of the rows does not depend on it"),
        NoEffect<object>("parallelism_config",
            "context_parallel_size says how many processes share the tokens of a row (cp_size); no layer is cut over them yet"),
        NotBuilt<int>("expert_parallel_size",
            "the experts of a mixture are not cut over processes; zero_stage: 3 shares their weights out like all others", 1),
        NoEffect<string>("ddp_backend", "on the CPU processes talk over Gloo"),
        NoEffect<bool?>("ddp_broadcast_buffers", Sums),
        NoEffect<int?>("ddp_bucket_cap_mb", Sums),
        NoEffect<bool?>("ddp_find_unused_parameters", Sums),
        NoEffect<bool>("ignore_bias_buffers", Sums, false),
        NoEffect<int>("local_rank", Launcher, -1),
        NoEffect<string>("log_level_replica", FirstSpeaks, "warning"),
        NoEffect<bool>("log_on_each_node", FirstSpeaks, true),
        NoEffect<bool>("save_on_each_node", FirstSpeaks, false),
        NoEffect<string>("ray_scope", "there is no search over settings", "last"));

    private static IEnumerable<RecipeKey> Preference()
    {
        TrainingMethod[] pairs = [.. MethodDefinition.All.OfType<PreferenceDefinition>().Select(definition => definition.Method)];
        return Group("Preference methods",
            For<int>(pairs, "label_pad_token_id", "no batch is ever padded", -100),
            For<int?>(pairs, "padding_value", "no batch is ever padded"),
            For<bool>(pairs, "use_logits_to_keep", "the head is evaluated on answers alone in any case", false),
            For<int?>(pairs, "precompute_ref_batch_size", "reference scores are computed in bins of max_tokens"),
            For<int>([TrainingMethod.Bco], "prompt_sample_size", "use_density_ratio compares all prompts", 1024),
            For<bool>([.. pairs, TrainingMethod.Grpo], "use_liger_loss", "the fused operations are always on", false),
            For<string>(pairs, "base_model_attribute_name", "the model's config.json says how it is built", "model"),
            For<bool>(pairs, "force_use_ref_model", "ref_model_name_or_path names another reference, and nothing more is needed", false),
            For<IReadOnlyDictionary<string, object?>>(pairs, "ref_model_init_kwargs", "the model's config.json says how it is built"),
            For<string>(pairs, "model_adapter_name", "the adapter that is trained needs no name: adapter_name_or_path is its folder"),
            For<string>(pairs, "ref_adapter_name",
            "the reference is the adapter as adapter_name_or_path has it, or none; ref_model_name_or_path may name another adapter's folder"));
    }

    private static IEnumerable<RecipeKey> Rejected() => Group("Not accepted",
        Reject<int?>("per_gpu_train_batch_size", "write per_device_train_batch_size"),
        Reject<int?>("per_gpu_eval_batch_size", "write per_device_eval_batch_size"),
        Reject<object>("datasets", "write them below dataset_mixture, with id for path, config for name and weight for fraction"),
        Reject<double?>("test_split_size", "write it below dataset_mixture"),
        Reject<bool>("streaming", "remove the line: rows are read from disk as they are needed", false),
        Reject<bool>("use_vllm", "there is no generation server; remove the line"),
        Reject<string>("vllm_server_host", "there is no generation server; remove the line", "0.0.0.0"),
        Reject<bool?>("is_encoder_decoder", "only decoder models are trained here; remove the line"));

    private static IEnumerable<RecipeKey> Group(string group, params RecipeKey[] keys) => keys.Select(key => key with { Group = group });

    private static RecipeKey NoEffect<T>(string name, string reason, object? otherwise = null) =>
        new() { Name = name, Group = "", Type = typeof(T), Default = otherwise, Disposition = Disposition.NoEffect, Reason = reason };

    private static RecipeKey NotBuilt<T>(string name, string reason, object? otherwise = null) =>
        NoEffect<T>(name, reason, otherwise) with { Disposition = Disposition.NotBuilt };

    private static RecipeKey Reject<T>(string name, string reason, object? otherwise = null) =>
        NoEffect<T>(name, reason, otherwise) with { Disposition = Disposition.Rejected };

    private static RecipeKey For<T>(TrainingMethod[] methods, string name, string reason, object? otherwise = null) =>
        NoEffect<T>(name, reason, otherwise) with { Methods = methods };
}
