namespace Handbook.Cli.Tests.Mistakes;

/// <summary>Output folders, checkpoints, and going on with what is there.</summary>
internal static class RunMistakes
{
    public static IReadOnlyList<Mistake> All { get; } =
    [
        new("an output folder that is the model's", run => run.Set("output_dir", "output_dir: model"), Elsewhere) { IsQuick = true },
        new("an output folder that is a file", run => run.Set("output_dir", "output_dir: rows.jsonl"), Elsewhere),
        new("an output folder below a file", run => run.Set("output_dir", "output_dir: rows.jsonl/out"), Elsewhere),
        new("an output folder that the system does not give", run => run.Set("output_dir", "output_dir: /proc/out"), Elsewhere),
        new("an output folder that holds another's model", run =>
        {
            run.Copy("model", "taken");
            run.Set("output_dir", "output_dir: taken");
        }, Elsewhere),
        new("an output folder among the rows", run =>
        {
            run.Copy("rows.jsonl", "data/train.jsonl");
            run.Set("dataset_name", "dataset_name: data");
            run.Set("output_dir", "output_dir: data/out");
        }, Elsewhere),
        new("a checkpoint that is not there", run => run.Add("resume_from_checkpoint: out/checkpoint-9"),
            run => run.Remove("resume_from_checkpoint")),
        new("a folder that is no checkpoint", run => run.Add("resume_from_checkpoint: model"), run => run.Remove("resume_from_checkpoint")),
        new("going on where nothing is", run => run.Add("resume_from_checkpoint: true"), run => run.Remove("resume_from_checkpoint")),
        Later("going on with another batch", run => run.Set("per_device_train_batch_size", "per_device_train_batch_size: 4"),
            run => run.Set("per_device_train_batch_size", "per_device_train_batch_size: 2")),
        Later("going on with another rate", run => run.Add("learning_rate: 1.0e-03"), run => run.Remove("learning_rate")),
        Later("going on with another model's adapter", run => run.Add("use_peft: true"), run => run.Remove("use_peft")),
        Later("going on with fewer steps", run => run.Set("max_steps", "max_steps: 1"), run => run.Set("max_steps", "max_steps: 4")),
        Later("going on with other rows", run => run.Replace("rows.jsonl", "number", "figure"), run => run.Add("fresh: true"))
            with { IsSeenByValidate = false },
        Later("going on from a spoilt checkpoint", run =>
        {
            run.Bytes("out/checkpoint-2/model.safetensors", "a bit in it is another", bytes =>
            {
                bytes[^3] ^= 0x10;
                return bytes;
            });
            run.Add("resume_from_checkpoint: checkpoint-2");
        }, run => run.Set("resume_from_checkpoint", "fresh: true")) with { IsSeenByValidate = false },
        new("beginning anew where a run is", run =>
        {
            run.Succeed("sft", "r.yaml", "--max_steps=2");
            run.Add("resume_from_checkpoint: false");
        }, run => run.Set("resume_from_checkpoint", "fresh: true")),
        new("going on with another method", run =>
        {
            run.Succeed("sft", "r.yaml", "--max_steps=2");
            run.Write("rows.jsonl", "{\"text\": \"number one\"}\n{\"text\": \"it is\"}\n");
        }, run => run.Add("fresh: true")) { Method = "cpt" },
        new("a model that is a checkpoint of the run", run =>
        {
            run.Succeed("sft", "r.yaml", "--max_steps=2");
            run.Set("model_name_or_path", "model_name_or_path: out/checkpoint-2");
        }, Elsewhere),
        new("rows that are longer than the model's positions", run =>
        {
            run.Write("gpt2.json", """{"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 8}""");
            run.Succeed("init", "--config", "gpt2.json", "--tokenizer", "model", "--output", "short");
            run.Set("model_name_or_path", "model_name_or_path: short");
        }, run => run.Set("max_length", "max_length: 8")) { IsSeenByValidate = false },
        new("processes that cannot share rows", run =>
        {
            run.Variable("WORLD_SIZE", "3");
            run.Variable("RANK", "0");
            run.Variable("LOCAL_RANK", "0");
            run.Variable("MASTER_ADDR", "127.0.0.1");
            run.Variable("MASTER_PORT", "29511");
            run.Add("context_parallel_size: 2");
        }, run =>
        {
            foreach (var name in new[] { "WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT" })
                run.Variable(name, null);
            run.Remove("context_parallel_size");
        }) { IsSeenByValidate = false },
        new("a number of processes that is none", run => run.Variable("WORLD_SIZE", "many"),
            run => run.Variable("WORLD_SIZE", null)) { IsSeenByValidate = false },
    ];

    private static void Elsewhere(MistakeFolder run) => run.Set("output_dir", "output_dir: elsewhere");

    /// <summary>A change after a run of two steps, which goes on.</summary>
    private static Mistake Later(string title, Action<MistakeFolder> change, Action<MistakeFolder> mend) => new(title, run =>
    {
        run.Add("lr_scheduler_type: constant");
        run.Succeed("sft", "r.yaml", "--max_steps=2");
        change(run);
    }, mend)
    { Runs = [] };
}
