namespace Handbook.Cli.Tests.Mistakes;

/// <summary>Words on the command line, and commands other than those that train.</summary>
internal static class CommandMistakes
{
    public static IReadOnlyList<Mistake> All { get; } =
    [
        new("a recipe that is nowhere", run => run.Copy("r.yaml", "s.yaml"),
            run => run.Copy("s.yaml", "t.yaml")) { Command = "validate t.yaml" },
        Word("a key on the command line that is misspelt", "--learning_rat=1.0e-05", "--learning_rate=1.0e-05") with { IsQuick = true },
        Word("a value on the command line that is empty", "--learning_rate=", "--learning_rate=1.0e-05"),
        Word("a value on the command line that is of another kind", "--max_steps=1.5", "--max_steps=1"),
        Word("a flag that is a number's", "--no_max_steps", "--max_steps=1"),
        Word("a word that is no key", "learning_rate=1.0e-05", "--learning_rate=1.0e-05"),
        Word("a list on the command line that is not closed", "--report_to=[none", "--report_to=[none]"),
        Word("an entry of a list that is not there", "--dataset_mixture.datasets.3.weight=0.5", "--max_steps=1"),
        Word("a key below a key that has none below", "--learning_rate.min=0", "--learning_rate=1.0e-05"),
        Word("a key of the launcher behind the recipe", "--num_processes=2", "--max_steps=1"),
        new("a method that is none", run => run.Words("--method", "sftt"),
            run => run.Words("--method", "sft")) { Command = "validate r.yaml" },
        new("a command that is none", run => run.Words("r.yaml"), run => run.Words("r.yaml", "--help")) { Command = "trian" },
        new("nothing to start", run => run.Words(), run => run.Words("--help")) { Command = "sft" },
        new("a plan for a device that nobody knows", run => run.Words("--device", "h900"),
            run => run.Words("--device", "h100-80g")) { Command = "plan r.yaml" },
        new("a plan for no processes", run => run.Words("--world", "0"), run => run.Words("--world", "1")) { Command = "plan r.yaml" },
        new("a plan of a model that is not there", run => run.Set("model_name_or_path", "model_name_or_path: someone/model-7b"),
            run => run.Set("model_name_or_path", "model_name_or_path: model")) { Command = "plan r.yaml" },
        new("a key that nobody can explain", run => run.Words("lerning_rate"), run => run.Words("learning_rate")) { Command = "explain" },
        new("launching what cannot be launched", run => run.Words("validate", "r.yaml"),
            run => run.Words("sft", "r.yaml", "--max_steps=1")) { Command = "launch --nproc-per-node 1" },
        new("an option of the launcher that it does not have", run => run.Words("--nprocs=1", "sft", "r.yaml"),
            run => run.Words("--nproc-per-node=1", "sft", "r.yaml", "--max_steps=1")) { Command = "launch" },
        new("a file of the launcher that is a recipe", run => run.Words("--config_file", "r.yaml", "sft", "r.yaml"),
            run => run.Words("--nproc-per-node=1", "sft", "r.yaml", "--max_steps=1")) { Command = "launch" },
        new("a host beyond the last", run => run.Words("--nnodes", "2", "--node-rank", "2", "sft", "r.yaml"),
            run => run.Words("--nnodes", "1", "sft", "r.yaml", "--max_steps=1")) { Command = "launch --nproc-per-node 1" },
        new("the words of the Python handbook's scripts", run => run.Words("scripts/run_sft.py", "r.yaml"),
            run => run.Words("sft", "r.yaml", "--max_steps=1"))
            { Command = "launch --nproc-per-node 1" },
        new("rows to look at that are nowhere", run => run.Words("row.jsonl"), run => run.Words("rows.jsonl")) { Command = "data inspect" },
        new("a recipe to migrate that is none", run => run.Write("a.yaml", "- 1\n"),
            run => run.Write("a.yaml", "base_model: model\ndatasets:\n- path: rows.jsonl\n  type: chat_template\n"))
            { Command = "migrate a.yaml" },
        new("a temperature that no model has", run => run.Words("--temperature", "hot", "Hello"),
            run => run.Words("--max-new-tokens", "2", "Hello")) { Command = "generate model" },
    ];

    private static Mistake Word(string title, string wrong, string right) => new(title, run => run.Words(wrong), run => run.Words(right));
}
