using System.Diagnostics;
using System.Text.Json.Nodes;
using Handbook.Testing;

namespace Handbook.Cli.Tests;

/// <summary>A tiny new model with rows of its own, and the training command on them.</summary>
internal sealed class TrainingFolder : IDisposable
{
    private const string Tokenizer = """
        {"version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
         "added_tokens": [{"id": 3, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
         "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
          "byte_fallback": false, "ignore_merges": false, "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}}
        """;

    private readonly HandbookProcess _handbook = new();

    /// <param name="keys">Lines of the recipe besides model and data.</param>
    public TrainingFolder(string keys, string data = "dataset_name: rows")
    {
        _handbook.Write("tok/tokenizer.json", Tokenizer);
        _handbook.Write("tok/tokenizer_config.json", """{"eos_token": "</s>"}""");
        _handbook.Write("config.json",
            """{"model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 64}""");
        var random = new Random(5);
        foreach (var (split, count) in (ReadOnlySpan<(string, int)>)[("train", 60), ("test", 8)])
            _handbook.Write($"rows/{split}.jsonl", string.Concat(Enumerable.Range(0, count).Select(_ =>
                $"{{\"text\": \"{string.Concat(Enumerable.Range(0, random.Next(4, 40)).Select(_ => random.Next(2) == 0 ? "ab" : "a"))}\"}}\n")));
        _handbook.Write("recipe.yaml", $"model_name_or_path: model\n{data}\nlearning_rate: 0.01\nper_device_train_batch_size: "
            + $"2\ngradient_accumulation_steps: 2\nlogging_steps: 1\n{keys}\n");
        var made = _handbook.Run("init", "--config", "config.json", "--tokenizer", "tok", "--output", "model");
        Assert.True(made.Code == 0, made.Error);
    }

    public string this[params string[] parts] => Path.Combine([_handbook.Folder, .. parts]);

    private Dictionary<string, string> Environment => new() { ["HANDBOOK_CACHE"] = this["cache"], ["OMP_NUM_THREADS"] = "1" };

    public Outcome Train(params string[] overrides) =>
        _handbook.Run(["cpt", "recipe.yaml", .. overrides], TimeSpan.FromMinutes(5), Environment);

    /// <summary>Trains to the end; anything but success fails the test.</summary>
    public Outcome Finish(params string[] overrides)
    {
        var outcome = Train(overrides);
        Assert.True(outcome.Code == 0, $"exit code {outcome.Code}: {outcome.Error}");
        return outcome;
    }

    /// <summary>Starts training and hands out the running process; its output is read and dropped.</summary>
    public Process Start(params string[] overrides)
    {
        var process = _handbook.Start(["cpt", "recipe.yaml", .. overrides], Environment);
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return process;
    }

    /// <summary>The same as several processes, begun by the launcher with these words of its own.</summary>
    public Outcome Launch(string[] launcher, params string[] overrides) =>
        _handbook.Run(["launch", .. launcher, "cpt", "recipe.yaml", .. overrides], TimeSpan.FromMinutes(5), Environment);

    /// <inheritdoc cref="Launch"/>
    public Process StartLaunch(string[] launcher, params string[] overrides) =>
        _handbook.Start(["launch", .. launcher, "cpt", "recipe.yaml", .. overrides], Environment);

    /// <summary>Starts another program in this folder, with variables of its own.</summary>
    public Process StartOther(string program, string[] words, IReadOnlyDictionary<string, string> variables)
    {
        var all = Environment;
        foreach (var (name, value) in variables)
            all[name] = value;
        return _handbook.StartOther(program, words, all);
    }

    /// <summary>Writes a file below this folder.</summary>
    public string Write(string name, string text) => _handbook.Write(name, text);

    /// <summary>Starts one process of several, as a launcher would.</summary>
    public Process StartRank(int rank, int world, int port, params string[] overrides) =>
        _handbook.Start(["cpt", "recipe.yaml", .. overrides], new Dictionary<string, string>(Environment)
        {
            ["RANK"] = $"{rank}",
            ["WORLD_SIZE"] = $"{world}",
            ["MASTER_ADDR"] = "127.0.0.1",
            ["MASTER_PORT"] = $"{port}",
        });

    /// <inheritdoc cref="HandbookProcess.Rank"/>
    public Process? Rank(int rank) => _handbook.Rank(rank);

    public int Lines(string run) => File.Exists(this[run, "metrics.jsonl"]) ? File.ReadAllLines(this[run, "metrics.jsonl"]).Length : 0;

    /// <summary>All lines of the log, without what the clock says.</summary>
    public string[] Curve(string run) => [.. LogLines.Timeless(this[run]).Select(entry => entry.ToJsonString())];

    public byte[] Weights(params string[] run) => File.ReadAllBytes(Path.Combine(this[run], "model.safetensors"));

    public string[] Checkpoints(string run) =>
        [.. Directory.GetDirectories(this[run], "checkpoint-*").Select(path => Path.GetFileName(path)!)
        .OrderBy(name => int.Parse(name["checkpoint-".Length..]))];

    public JsonObject State(string run) => JsonNode.Parse(File.ReadAllText(this[run, "trainer_state.json"]))!.AsObject();

    public void Dispose() => _handbook.Dispose();
}
