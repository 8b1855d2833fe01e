namespace Handbook.Cli.Tests.Mistakes;

/// <summary>Values that a key cannot have, and keys that contradict each other.</summary>
internal static class ValueMistakes
{
    public static IReadOnlyList<Mistake> All { get; } =
    [
        Value("a word for a number", "learning_rate: fast", "learning_rate: 1.0e-05"),
        Value("a number with a decimal comma", "learning_rate: 0,0001", "learning_rate: 0.0001"),
        Value("a number with a unit", "max_tokens: 4k", "max_tokens: 4096"),
        Value("a fraction for a whole number", "gradient_accumulation_steps: 1.5", "gradient_accumulation_steps: 2"),
        Value("a number that is too large", "seed: 99999999999999999999", "seed: 42"),
        Value("not a number", "weight_decay: .nan", "weight_decay: 0.01"),
        Value("a list for a number", "learning_rate: [1.0e-05, 2.0e-05]", "learning_rate: 1.0e-05"),
        Value("a map for a list", "optim_target_modules: {attn: true}", "optim_target_modules: [attn]\noptim: galore_adamw"),
        Value("a text for a map", "lr_scheduler_kwargs: min_lr=0", "lr_scheduler_kwargs: {}"),
        Value("a word for true or false", "gradient_checkpointing: maybe", "gradient_checkpointing: true"),
        Value("a value of few that is misspelt", "lr_scheduler_type: cosin", "lr_scheduler_type: cosine") with { IsQuick = true },
        Value("an optimiser that is none", "optim: adam", "optim: adamw_torch"),
        Value("an optimiser that is not built", "optim: galore_adamw_8bit", "optim: galore_adamw\noptim_target_modules: [attn]"),
        Value("a negative rate", "learning_rate: -1.0e-05", "learning_rate: 1.0e-05"),
        Value("a warm-up above all", "warmup_ratio: 3", "warmup_ratio: 0.1"),
        Value("an empty batch", "gradient_accumulation_steps: 0", "gradient_accumulation_steps: 1"),
        Value("a momentum of one", "adam_beta2: 1", "adam_beta2: 0.99"),
        Value("a share above one", "max_bad_rows: 5", "max_bad_rows: 0.05"),
        Value("smoothing of everything", "label_smoothing_factor: 1.5", "label_smoothing_factor: 0.1"),
        new("a block of one token", run => run.Set("max_length", "max_length: 1"), run => run.Set("max_length", "max_length: 64")),
        new("no steps", run => run.Set("max_steps", "max_steps: 0"), run => run.Set("max_steps", "max_steps: -1")),
        new("steps between saves that are no whole number", run => run.Set("save_steps", "save_steps: 2.5"),
            run => run.Set("save_steps", "save_steps: 2")),
        Value("checkpoints that are all removed", "save_total_limit: 0", "save_total_limit: 1"),
        Value("a number of the schedule that it does not have", "lr_scheduler_type: linear\nlr_scheduler_kwargs: {power: 2}",
            "lr_scheduler_type: polynomial\nlr_scheduler_kwargs: {power: 2}"),
        Value("a schedule without its floor", "lr_scheduler_type: cosine_with_min_lr",
            "lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr_rate: 0.1}"),
        Value("a number of the optimiser that it does not have", "optim: sgd\noptim_args: betas=0.9",
            "optim: sgd\noptim_args: momentum=0.9"),
        Value("an optimiser that is told no matrices", "optim: galore_adamw", "optim: galore_adamw\noptim_target_modules: [attn]"),
        Value("two optimisers", "optim: sgd\nadafactor: true", "adafactor: true"),
        Value("half precision on a processor", "torch_dtype: float16", "torch_dtype: bfloat16"),
        Value("products in float16", "fp16: true", "fp16: false"),
        Value("packing without a length", "packing: true\nmax_length: null",
            "packing: true\nmax_length: 16") with { Prepare = "max_length" },
        Value("a template twice", "chat_template: '{{ messages }}'\nchat_template_path: t.jinja", "chat_template_path: model"),
        Value("evaluation that never happens", "load_best_model_at_end: true",
            "load_best_model_at_end: true\neval_strategy: steps\neval_steps: 2\ndataset_train_split: train[:6]\ndataset_test_split: train[6:]"),
        Value("saves between evaluations",
            "load_best_model_at_end: true\neval_strategy: steps\neval_steps: 3\n"
                + "dataset_train_split: train[:6]\ndataset_test_split: train[6:]",
            "load_best_model_at_end: true\neval_strategy: steps\neval_steps: 2\ndataset_train_split: train[:6]\ndataset_test_split: train[6:]"),
        Value("a rate that waits for evaluations", "lr_scheduler_type: reduce_lr_on_plateau", "lr_scheduler_type: linear"),
        Value("evaluation on the rows that are trained on", "eval_strategy: steps\neval_steps: 2\ndataset_test_split: train",
            "eval_strategy: steps\neval_steps: 2\ndataset_train_split: train[:6]\ndataset_test_split: train[6:]") with { IsQuick = true },
        Value("eight bits beside four", "use_peft: true\nload_in_4bit: true\nload_in_8bit: true", "use_peft: true\nload_in_4bit: true"),
        Value("codes that would be trained", "load_in_4bit: true", "use_peft: true\nload_in_4bit: true"),
        Value("a code that does not exist", "use_peft: true\nload_in_4bit: true\nbnb_4bit_quant_type: nf5",
            "use_peft: true\nload_in_4bit: true\nbnb_4bit_quant_type: nf4"),
        Value("a stage of sharding that does not exist", "zero_stage: 4", "zero_stage: 3"),
        Value("rows that no process computes", "context_parallel_size: 0", "context_parallel_size: 1"),
        Value("a variable that is a list", "env: {OMP_NUM_THREADS: [1, 2]}", "env: {OMP_NUM_THREADS: '2'}"),
        Value("beginning anew and going on", "fresh: true\nresume_from_checkpoint: out/checkpoint-2", "fresh: true"),
        Value("settings of DeepSpeed that say something else", "deepspeed: {zero_optimization: {stage: 3}}\nzero_stage: 2",
            "deepspeed: {zero_optimization: {stage: 2}}\nzero_stage: 2"),
        Value("settings of DeepSpeed in a file that is not there", "deepspeed: ds.json", "deepspeed: {zero_optimization: {stage: 2}}"),
        Value("a place to publish that does not exist", "push_to_hub: true\nhub_strategy: sometimes", "hub_strategy: end"),
        Value("a repository with a name that none can have", "push_to_hub: true\nhub_model_id: my model!", "hub_model_id: my-model"),
        Value("a repository with three parts", "push_to_hub: true\nhub_model_id: me/models/one", "hub_model_id: me/one"),
    ];

    /// <summary>Lines that are added, and those that take their place.</summary>
    private static Change Value(string name, string wrong, string right) => new(name, wrong, right);

    private sealed record Change(string Name, string Wrong, string Right)
    {
        /// <summary>A key of the recipe that the lines have, too; null for none.</summary>
        public string? Prepare { get; init; }

        public bool IsQuick { get; init; }

        public static implicit operator Mistake(Change change) => new(change.Name, run =>
        {
            if (change.Prepare is { } key)
                run.Remove(key);
            run.Add(change.Wrong);
        }, run =>
        {
            run.Remove([.. change.Wrong.Split('\n').Select(line => line.Split(':')[0])]);
            run.Add(change.Right);
        })
        { IsQuick = change.IsQuick };
    }
}
