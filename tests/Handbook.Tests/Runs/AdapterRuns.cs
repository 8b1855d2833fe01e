using Handbook.Recipes;
using Handbook.Runs;
using Handbook.Testing;
using Handbook.Tests.Sampling;
using Handbook.Training.Checkpoints;
using Handbook.Training.Metrics;

namespace Handbook.Tests.Runs;

/// <summary>Whole runs of adapters on a small model: rows for every method, and a recipe that a test changes.</summary>
internal sealed class AdapterRuns : IDisposable
{
    private readonly SamplingFolder _folder = new();

    public AdapterRuns()
    {
        Rows("texts", (i, random) => $$"""{"text": "{{Words(random, 40)}}"}""");
        Rows("pairs", (i, random) => $$"""{"prompt": "say {{i}}", "chosen": "{{Words(random, 12)}}", "rejected": "{{Words(random, 9)}}"}""");
        Rows("singles", (i, random) => $$"""{"prompt": "say {{i}}", "completion": "{{Words(random, 12)}}", "label": {{(i % 2 == 0 ? "true" : "false")}}}""");
        Rows("prompts", (i, _) => $$"""{"prompt": "say the word number {{i}}"}""");
    }

    public string this[params string[] parts] => _folder[parts];

    /// <summary>The recipe of a method, changed by these lines.</summary>
    public Recipe Recipe(string method, string output, params string[] keys)
    {
        var rows = method switch { "cpt" or "sft" => "texts", "kto" or "bco" => "singles", "grpo" => "prompts", _ => "pairs" };
        _folder.Write("recipe.yaml", $"""
            model_name_or_path: {this["model"]}
            dataset_name: {this[rows]}
            output_dir: {this[output]}
            use_peft: true
            lora_r: 3
            lora_target_modules: all-linear
            learning_rate: 0.01
            lr_scheduler_type: constant
            per_device_train_batch_size: 4
            max_steps: 4
            logging_steps: 1
            save_strategy: no
            report_to: none
            disable_tqdm: true
            seed: 17
            """ + (method == "grpo" ? "\nnum_generations: 4\nmax_completion_length: 8\nreward_funcs: regex\nreward_pattern: '^[a-m0-9]'\nbeta: 0.1\n" : "\n"));
        Assert.True(Handbook.Recipes.Recipe.Load(new FileInfo(this["recipe.yaml"]), [.. keys.Select(key => $"--{key.Replace(": ", "=")}")],
            Handbook.Recipes.Recipe.MethodNamed(method)!.Value).TryGet(out var recipe, out var diagnostics), diagnostics.ToString());
        return recipe;
    }

    /// <summary>Trains to the end; what was logged.</summary>
    public IReadOnlyList<MetricSet> Train(string method, string output, params string[] keys)
    {
        Assert.Equal(RunEnd.Finished, TrainingRun.Run(Recipe(method, output, keys), cancel: TestContext.Current.CancellationToken).End);
        return MetricsFile.ReadAll(this[output]);
    }

    /// <summary>A run folder as it stood right after a checkpoint, but with all lines that were logged since.</summary>
    public void CutAfter(string run, string copy, int step)
    {
        Directory.CreateDirectory(this[copy]);
        File.Copy(this[run, MetricsFile.FileName], this[copy, MetricsFile.FileName]);
        foreach (var (number, path) in CheckpointFolder.List(this[run]))
            if (number <= step)
                foreach (var file in Directory.GetFiles(path))
                {
                    Directory.CreateDirectory(this[copy, $"checkpoint-{number}"]);
                    File.Copy(file, this[copy, $"checkpoint-{number}", Path.GetFileName(file)]);
                }
    }

    /// <summary>All lines of the log, without what the clock says.</summary>
    public string[] Curve(string run) => [.. LogLines.Timeless(this[run]).Select(entry => entry.ToJsonString())];

    private void Rows(string name, Func<int, Random, string> row)
    {
        var random = new Random(name.Length);
        foreach (var (split, count) in (ReadOnlySpan<(string, int)>)[("train", 12), ("test", 4)])
            _folder.Write($"{name}/{split}.jsonl", string.Concat(Enumerable.Range(0, count).Select(i => row(i, random) + "\n")));
    }

    private static string Words(Random random, int length) =>
        string.Concat(Enumerable.Range(0, random.Next(length / 2, length)).Select(_ => (char)('a' + random.Next(26))));

    public void Dispose() => _folder.Dispose();
}
