using System.Text.Json.Nodes;
using Handbook.Testing;

namespace Handbook.Cli.Tests;

/// <summary>A model that learns from its own answers, by the command that users have.</summary>
public sealed class GrpoCommandTests : IDisposable
{
    private readonly HandbookProcess _handbook = new();

    private const string Recipe = """
        model_name_or_path: model
        dataset_name: prompts
        num_generations: 8
        max_completion_length: 6
        reward_funcs: [regex, length]
        reward_weights: [1.0, 0.1]
        reward_pattern: "o"
        learning_rate: 3.0e-03
        lr_scheduler_type: constant
        per_device_train_batch_size: 64
        logging_steps: 1
        seed: 17
        """;

    public GrpoCommandTests()
    {
        SmallModel.Make(_handbook);
        _handbook.Write("prompts/train.jsonl", Prompts(48));
        _handbook.Write("prompts/test.jsonl", Prompts(6));
        _handbook.Write("grpo.yaml", Recipe + "\n");
    }

    [Fact]
    public void Rewards_rise_and_every_answer_is_logged()
    {
        SmallModel.Succeed(_handbook.Run("grpo", "grpo.yaml", "--max_steps=24", "--eval_strategy=steps", "--eval_steps=12",
            "--eval_on_start=true", "--beta=0.02", "--log_completions=true", "--output_dir=run"));

        var log = Log("run");
        var rewards = log.Where(entry => entry["reward"] is not null).Select(entry => (double)entry["reward"]!).ToArray();
        Assert.Equal(24, rewards.Length);
        Assert.True(rewards[^4..].Average() > rewards[..4].Average() + 0.2, string.Join(' ', rewards));
        var held = log.Where(entry => entry["eval_reward"] is not null).Select(entry => (double)entry["eval_reward"]!).ToArray();
        Assert.True(held[^1] > held[0] + 0.1, string.Join(' ', held));
        var last = log.Last(entry => entry["reward"] is not null);
        foreach (var name in (string[])["reward_std", "frac_reward_zero_std", "rewards/regex/mean", "rewards/regex/std",
            "rewards/length/mean", "kl", "entropy", "clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean",
            "clip_ratio/low_min", "clip_ratio/high_max",
            "completions/mean_length", "completions/min_length", "completions/max_length", "completions/clipped_ratio", "num_tokens"])
            Assert.True(last[name] is not null, name);
        var answers = File.ReadAllLines(Path.Combine(_handbook.Folder, "run", "completions.jsonl")).Select(line => JsonNode.Parse(line)!)
            .ToArray();
        Assert.Equal(24 * 64, answers.Length);
        Assert.All(answers, answer =>
            Assert.Equal(((string)answer["completion"]!).Contains('o', StringComparison.Ordinal) ? 1.0 : 0.0, (double)answer["regex"]!));
        Assert.Equal(rewards[0], answers.Take(64).Average(answer => (double)answer["reward"]!), 1e-9);
    }

    [Fact] // step 5 lies amid answers that are trained on twice, over two steps each
    [Trait("speed", "slow")]
    public void A_run_that_goes_on_amid_its_answers_ends_with_the_same_bits()
    {
        string[] words = ["grpo", "grpo.yaml", "--max_steps=8", "--num_iterations=2", "--steps_per_generation=2", "--beta=0.02",
            "--save_strategy=steps", "--save_steps=5", "--per_device_train_batch_size=16", "--log_completions=true"];
        SmallModel.Succeed(_handbook.Run([.. words, "--output_dir=whole"]));
        Copy("whole", "parted", "checkpoint-5");

        var outcome = SmallModel.Succeed(_handbook.Run([.. words, "--output_dir=parted"]));

        Assert.Contains("going on from", outcome.Error);
        Assert.Equal(File.ReadAllBytes(Path.Combine(_handbook.Folder, "whole", "model.safetensors")),
            File.ReadAllBytes(Path.Combine(_handbook.Folder, "parted", "model.safetensors")));
        string[] Curve(string run) => [.. Log(run).Where(entry => (int)entry["step"]! > 5).Select(entry => entry.ToJsonString())];
        Assert.Equal(Curve("whole"), Curve("parted"));
        Assert.Contains(Log("whole"), entry => (double?)entry["clip_ratio/region_mean"] > 0);
    }

    [Fact]
    [Trait("speed", "slow")]
    public void Two_processes_that_share_the_tokens_of_answers_log_what_one_logs() => Processes_that_share_the_tokens_of_answers_log_what_one_logs(2,
        "--context_parallel_size=2", "--beta=0.02", "--num_iterations=2", "--steps_per_generation=2");

    [Theory, Trait("speed", "slow")]
    [InlineData(3, "--context_parallel_size=3", "--zero_stage=3", "--ds3_gather_for_generation=false")]
    public void Processes_that_share_the_tokens_of_answers_log_what_one_logs(int processes, params string[] keys)
    {
        // float32: at this rate the sums' order decides no answer
        string[] words = ["grpo", "grpo.yaml", "--max_steps=4", "--learning_rate=1e-5", "--per_device_train_batch_size=16", .. keys];
        SmallModel.Succeed(_handbook.Run([.. words, "--context_parallel_size=1", "--output_dir=one"]));
        SmallModel.Succeed(_handbook.Run(["launch", "--nproc-per-node", $"{processes}", .. words, "--output_dir=several"]));
        var (one, several) = (Log("one"), Log("several"));
        Assert.Equal(one.Length, several.Length);
        foreach (var (expected, found) in one.Zip(several))
            foreach (var (name, value) in expected.AsObject())
                Assert.Equal((double)value!, (double)found[name]!, 2e-5 * Math.Max(1, Math.Abs((double)value!)));
    }

    [Fact]
    public void The_tiny_recipe_trains()
    {
        _handbook.Write("asked/train.jsonl",
            string.Concat(Enumerable.Range(0, 16)
            .Select(i => $$"""{"prompt": [{"role": "user", "content": "one two {{i}}"}], "answer": "three"}""" + "\n")));

        var outcome = SmallModel.Succeed(_handbook.Run("grpo", Path.Combine(SharedFiles.Repository, "recipes", "tiny", "grpo.yaml"),
            "--model_name_or_path=model", "--dataset_name=asked", "--max_steps=2", "--logging_steps=1", "--save_strategy=no",
            "--output_dir=tiny"));
        Assert.DoesNotContain("with loss", outcome.Error);      // prompts hold nothing to learn

        Assert.Equal(2, Log("tiny").Count(entry => entry["rewards/exact_match/mean"] is not null));
        Assert.True(File.Exists(Path.Combine(_handbook.Folder, "tiny", "model.safetensors")));
    }

    [Fact]
    public void A_missing_answer_is_told_with_its_row() =>
        Assert.Contains("train.jsonl:", Refused("--reward_funcs=[exact_match]", "--reward_weights=null", "--output_dir=none"));

    private string Refused(params string[] words)
    {
        var outcome = _handbook.Run(["grpo", "grpo.yaml", .. words]);
        Assert.True(outcome.Code == 2, $"exit code {outcome.Code}: {outcome.Error}");
        return outcome.Error;
    }

    private JsonObject[] Log(string run) =>
        LogLines.Timeless(Path.Combine(_handbook.Folder, run));

    private void Copy(string from, string to, string checkpoint)
    {
        var source = Path.Combine(_handbook.Folder, from, checkpoint);
        foreach (var file in Directory.EnumerateFiles(source, "*", SearchOption.AllDirectories))
        {
            var target = Path.Combine(_handbook.Folder, to, checkpoint, Path.GetRelativePath(source, file));
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            File.Copy(file, target);
        }
    }

    private static string Prompts(int count) =>
        string.Concat(Enumerable.Range(0, count).Select(i => $$"""{"prompt": [{"role": "user", "content": "one two {{i}}"}]}""" + "\n"));

    public void Dispose() => _handbook.Dispose();
}
