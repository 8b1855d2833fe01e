using System.Diagnostics;
using System.Text.Json.Nodes;

namespace Handbook.Cli.Tests;

/// <summary>The real program is killed many times, at any moment and while it writes a checkpoint: each run ends with the bits of one that
/// nobody disturbed.</summary>
[Trait("speed", "slow")]
public sealed class KillCampaignTests : IDisposable
{
    private const string Common = """
        model_name_or_path: model
        learning_rate: 3.0e-03
        logging_steps: 1
        save_steps: 2
        save_total_limit: 2
        seed: 17
        """;

    private const string Adapter = "\nuse_peft: true\nlora_r: 4\nlora_target_modules: all-linear";

    /// <summary>What the clock says, and what names the run's own folder.</summary>
    private static readonly string[] s_clock = ["runtime", "per_second", "seconds", "best_model_checkpoint", "time"];

    private readonly HandbookProcess _handbook = new();

    public KillCampaignTests()
    {
        SmallModel.Make(_handbook);
        foreach (var (split, count) in (ReadOnlySpan<(string, int)>)[("train", 44), ("test", 6)])
        {
            Write("chats", i => $$"""{"messages": [{{User(i)}}, {{Assistant($"three four {i}")}}]}""");
            Write("pairs",
                i => $$"""{"prompt": [{{User(i)}}], "chosen": [{{Assistant($"the sun {i}")}}], "rejected": [{{Assistant($"the moon and {i}")}}]}""");
            Write("prompts", i => $$"""{"prompt": [{{User(i)}}]}""");

            void Write(string name, Func<int, string> row) =>
                _handbook.Write($"{name}/{split}.jsonl", string.Concat(Enumerable.Range(0, count).Select(i => row(i) + "\n")));
        }

        static string User(int i) => $$"""{"role": "user", "content": "one two {{i}}"}""";
        static string Assistant(string text) => $$"""{"role": "assistant", "content": "{{text}}"}""";
    }

    public void Dispose() => _handbook.Dispose();

    [Theory]
    [InlineData("sft", 14, "dataset_name: chats\nassistant_only_loss: true\nneftune_noise_alpha: 5\nper_device_train_batch_size: 2\n"
        + "gradient_accumulation_steps: 2\neval_strategy: steps\neval_steps: 4")]
    [InlineData("dpo", 12, "dataset_name: pairs\nbeta: 0.1\nper_device_train_batch_size: 4\neval_strategy: steps\neval_steps: "
        + "4\noptim: rmsprop")]
    [InlineData("reward", 12, "dataset_name: pairs\ncenter_rewards_coefficient: 0.01\nper_device_train_batch_size: 4\neval_strategy: "
        + "steps\neval_steps: 4")]
    [InlineData("grpo", 12, "dataset_name: prompts\nnum_generations: 4\nmax_completion_length: 6\nreward_funcs: [regex, "
        + "length]\nreward_weights: [1.0, 0.1]\n"
        + "reward_pattern: \"o\"\nbeta: 0.02\nnum_iterations: 2\nsteps_per_generation: 2\nper_device_train_batch_size: "
            + "8\nlog_completions: true")]
    [InlineData("sft", 8, "dataset_name: chats\nper_device_train_batch_size: 2\nlora_dropout: 0.2\ninit_lora_weights: pissa\neval_strategy: "
        + "steps\neval_steps: 4" + Adapter)]
    [InlineData("sft", 8, "dataset_name: chats\nper_device_train_batch_size: 2\nload_in_4bit: true\nbf16: true\noptim: paged_adamw_32bit"
        + Adapter)]
    [InlineData("dpo", 8, "dataset_name: pairs\nper_device_train_batch_size: 4\nuse_dora: true\nprecompute_ref_log_probs: false" + Adapter)]
    [InlineData("dpo", 6, "dataset_name: pairs\nper_device_train_batch_size: 4\nload_in_4bit: true\nuse_bnb_nested_quant: true\nbf16: true\noptim: "
        + "paged_adamw_8bit\noptim_args: min_8bit_size=16" + Adapter)]
    public void A_run_killed_many_times_ends_with_the_bits_of_one_that_was_not(string method, int kills, string keys)
    {
        _handbook.Write("recipe.yaml", $"{Common}\n{keys}\nmax_steps: {kills * 16}\n");
        Finish(method, "whole");
        var random = new Random(method[0]);
        var amidSaves = 0;
        for (var killed = 0; killed < kills; killed++)
        {
            using var process = _handbook.Start(Words(method, "cut"), Surroundings("cut"));
            process.BeginOutputReadLine();
            process.BeginErrorReadLine();
            switch (killed % 4)
            {
                case 0:
                    Thread.Sleep(random.Next(1500));        // anywhere: while it starts, reads, tokenises, loads, trains
                    break;
                case 1:
                    Until(process, Lines() + random.Next(1, 8));
                    Thread.Sleep(random.Next(20));          // anywhere within a step: computing, logging, evaluating
                    break;
                default:
                    Until(process, Lines() + random.Next(1, 5));
                    UntilItSaves(process);
                    break;
            }
            Assert.False(process.HasExited, $"kill {killed + 1} of {kills}: the run was over before it");
            process.Kill();
            process.WaitForExit();
            amidSaves += Unfinished().Any() ? 1 : 0;
        }
        Finish(method, "cut");

        Assert.True(amidSaves >= kills / 4, $"only {amidSaves} of {kills} kills fell into the writing of a checkpoint");
        Assert.Empty(Unfinished());
        Assert.Equal(Contents("whole"), Contents("cut"));
    }

    /// <summary>What a run leaves, with a hash of each file that the clock has no part in, and the text of the others without what the
    /// clock says.</summary>
    private string[] Contents(string run)
    {
        var folder = Path.Combine(_handbook.Folder, run);
        // name the folder, or count the starts
        string[] starts = ["run.json", "recipe.yaml", "training_args.json", "README.md", "manifest.json"];
        return [.. Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal)
            .Where(file => !starts.Contains(Path.GetFileName(file))
                && !Path.GetRelativePath(folder, file).StartsWith("runs/", StringComparison.Ordinal))
            .Where(file => Path.GetExtension(file) is ".safetensors" or ".json" or ".jsonl" or ".jinja")
            .SelectMany(file => Lines(file).Select(line => $"{Path.GetRelativePath(folder, file)}: {line}"))];

        static IEnumerable<string> Lines(string file) => Path.GetExtension(file) switch
        {
            ".jsonl" => File.ReadLines(file).Select(line => Timeless(JsonNode.Parse(line)!)),
            ".json" => [Timeless(JsonNode.Parse(File.ReadAllText(file))!)],
            _ => [Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(file)))],
        };
    }

    private static string Timeless(JsonNode node)
    {
        Remove(node);
        return node.ToJsonString();

        static void Remove(JsonNode? node)
        {
            foreach (var item in node as JsonArray ?? [])
                Remove(item);
            foreach (var (name, value) in (node as JsonObject)?.ToArray() ?? [])
                if (s_clock.Any(word => name.Contains(word, StringComparison.OrdinalIgnoreCase)))
                    ((JsonObject)node!).Remove(name);
                else
                    Remove(value);
        }
    }

    private void Finish(string method, string run) =>
        SmallModel.Succeed(_handbook.Run(Words(method, run), TimeSpan.FromMinutes(5), Surroundings(run)));

    private static string[] Words(string method, string run) => [method, "recipe.yaml", $"--output_dir={run}"];

    // Each has a cache of its own, so that a killed run also begins without tokens and reference scores.
    private Dictionary<string, string> Surroundings(string run) =>
        new() { ["HANDBOOK_CACHE"] = Path.Combine(_handbook.Folder, $"cache-{run}"), ["OMP_NUM_THREADS"] = "1" };

    private int Lines()
    {
        var file = Path.Combine(_handbook.Folder, "cut", "metrics.jsonl");
        return File.Exists(file) ? File.ReadAllLines(file).Length : 0;
    }

    private IEnumerable<string> Unfinished()
    {
        var folder = Path.Combine(_handbook.Folder, "cut");
        return Directory.Exists(folder) ? Directory.EnumerateDirectories(folder, ".tmp-checkpoint-*") : [];
    }

    private void Until(Process process, int lines)
    {
        for (var waited = Stopwatch.StartNew(); Lines() < lines && !process.HasExited; Thread.Sleep(2))
            Assert.True(waited.Elapsed < TimeSpan.FromMinutes(2), $"no {lines} lines in {waited.Elapsed}");
    }

    /// <summary>Returns while the folder of an unfinished checkpoint is there that was not when this began.</summary>
    private void UntilItSaves(Process process)
    {
        var old = Unfinished().ToHashSet();
        for (var waited = Stopwatch.StartNew(); !Unfinished().Any(path => !old.Contains(path)) && !process.HasExited; Thread.Yield())
            Assert.True(waited.Elapsed < TimeSpan.FromMinutes(2), $"no checkpoint in {waited.Elapsed}");
    }
}
