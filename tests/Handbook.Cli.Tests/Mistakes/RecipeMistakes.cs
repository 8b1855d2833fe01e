namespace Handbook.Cli.Tests.Mistakes;

/// <summary>Files that are no recipe, YAML that is none, and names of keys.</summary>
internal static class RecipeMistakes
{
    private const string Good = "model_name_or_path: model\ndataset_name: rows.jsonl\nmax_steps: 4\nreport_to: none\noutput_dir: out\n";

    public static IReadOnlyList<Mistake> All { get; } =
    [
        new("an empty recipe", run => run.Whole(""), run => run.Whole(Good)),
        new("a recipe that is a list", run => run.Whole("- model_name_or_path: model\n- dataset_name: rows.jsonl\n"),
            run => run.Whole(Good)),
        new("a recipe that is a sentence", run => run.Whole("train the model please\n"), run => run.Whole(Good)),
        new("a recipe that is not text", run => run.Bytes("r.yaml", "bytes FF FE 00 81", _ => [0xff, 0xfe, 0x00, 0x81, 0x0a]),
            run => run.Whole(Good)),
        new("a bracket that is not closed", run => run.Set("report_to", "report_to: [none"),
            run => run.Set("report_to", "report_to: [none]")),
        new("a quote that is not closed", run => run.Set("output_dir", "output_dir: \"out"),
            run => run.Set("output_dir", "output_dir: \"out\"")),
        new("a tab in the indentation", run => run.Set("dataset_name", "dataset_mixture:\n\tdatasets: [{id: rows.jsonl}]"),
            run => Undo(run, "\tdatasets", "  datasets")) { IsQuick = true },
        new("a key that is indented by mistake", run => run.Set("max_length", "  max_length: 64"),
            run => run.Set("  max_length", "max_length: 64")),
        new("no space behind the colon", run => run.Set("max_steps", "max_steps:4"), run => run.Set("max_steps", "max_steps: 4")),
        new("an equals sign for the colon", run => run.Set("max_steps", "max_steps = 4"),
            run => Undo(run, "max_steps = 4", "max_steps: 4")),
        new("a second document", run => run.Add("---\nseed: 1"), run => Undo(run, "---\n", "")),
        new("an alias without its anchor", run => run.Set("output_dir", "output_dir: *folder"),
            run => run.Set("output_dir", "output_dir: out")),
        new("a text with a colon and no quotes", run => run.Add("run_name: try 2: longer"),
            run => run.Set("run_name", "run_name: 'try 2: longer'")),
        new("a key that is given twice", run => run.Add("max_steps: 5"), run => Undo(run, "max_steps: 5\n", "")),
        new("two names of one key", run => run.Add("max_seq_length: 32"), run => run.Remove("max_seq_length")),
        new("a key that is misspelt", run => run.Add("lerning_rate: 1.0e-05"), run => run.Set("lerning_rate", "learning_rate: 1.0e-05"))
            { IsQuick = true },
        new("a key with dashes", run => run.Add("learning-rate: 1.0e-05"), run => run.Set("learning-rate", "learning_rate: 1.0e-05")),
        new("a key with capitals", run => run.Add("Learning_Rate: 1.0e-05"), run => run.Set("Learning_Rate", "learning_rate: 1.0e-05")),
        new("a key by its short name", run => run.Add("lr: 1.0e-05"), run => run.Set("lr", "learning_rate: 1.0e-05")),
        new("the batch by another tool's name", run => run.Add("micro_batch_size: 2"), run => run.Remove("micro_batch_size")),
        new("the epochs by another tool's name", run => run.Add("epochs: 1"), run => run.Set("epochs", "num_train_epochs: 1")),
        new("a key like no other", run => run.Add("colour: red"), run => run.Remove("colour")),
        new("a key of the launcher", run => run.Add("num_processes: 8"), run => run.Remove("num_processes")),
        new("a configuration of the launcher in the place of a recipe",
            run => run.Whole("compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_GPU\nnum_processes: 8\n"),
                run => run.Whole(Good)),
        new("a key that was given up", run => run.Set("per_device_train_batch_size", "per_gpu_train_batch_size: 2"),
            run => run.Set("per_gpu_train_batch_size", "per_device_train_batch_size: 2")),
        new("a key that is not built", run => run.Add("auto_find_batch_size: true"), run => run.Remove("auto_find_batch_size")),
        new("a server for answers", run => run.Add("use_vllm: true"), run => run.Remove("use_vllm")) { Method = "grpo" },
        new("a key of another method", run => run.Add("beta: 0.1"), run => run.Remove("beta")),
        new("a key of another method that is misspelt, too", run => run.Add("desirable_wieght: 1.5"),
            run => run.Set("desirable_wieght", "desirable_weight: 1.5"))
            { Method = "kto" },
        new("no model", run => run.Remove("model_name_or_path"), run => run.Add("model_name_or_path: model")),
        new("no data", run => run.Remove("dataset_name"), run => run.Add("dataset_name: rows.jsonl")),
        new("nothing behind a key", run => run.Add("learning_rate:"), run => run.Set("learning_rate", "learning_rate: 1.0e-05")),
        new("many problems at once", run => run.Whole("""
            model_name_or_path: modle
            dataset_name: rows.json
            lerning_rate: 1.0e-05
            warmup_ratio: 3
            optim: adam
            max_steps: 4.5
            beta: 0.1
            eval_strategy: step
            output_dir: model

            """), run => run.Whole(Good)) { IsQuick = true },
    ];

    /// <summary>Changes one text of the recipe.</summary>
    private static void Undo(MistakeFolder run, string text, string by) => run.Replace("r.yaml", text, by);
}
