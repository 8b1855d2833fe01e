using System.Diagnostics;

namespace Handbook.Cli.Tests;

public sealed class RejectionSampleCommandTests
{
    private const string Recipe = """
        model_name_or_path: model
        dataset_name: prompts.jsonl
        num_generations: 6
        max_completion_length: 24
        sample_batch_size: 8
        reward_funcs: [regex, length]
        reward_pattern: '[aeiou]'
        max_answer_length: 60
        stop_texts: [e]
        max_steps: 2
        logging_steps: 1
        report_to: none
        """;

    [Fact]
    [Trait("speed", "slow")]
    public void A_run_killed_while_it_samples_ends_as_if_it_had_not_been()
    {
        using var handbook = Folder();
        SmallModel.Succeed(handbook.Run("rejection-sample", "recipe.yaml", "--output_dir=whole"));
        var random = new Random(3);
        foreach (var kill in (int[])[1, 40, 110])
        {
            using var process = handbook.Start(["rejection-sample", "recipe.yaml", "--output_dir=cut"]);
            process.BeginOutputReadLine();
            process.BeginErrorReadLine();
            for (var waited = Stopwatch.StartNew(); Lines() < kill && !process.HasExited; Thread.Sleep(1))
                Assert.True(waited.Elapsed < TimeSpan.FromMinutes(2), $"no {kill} answers in {waited.Elapsed}");
            Thread.Sleep(random.Next(5));
            process.Kill();
            process.WaitForExit();
        }
        var outcome = SmallModel.Succeed(handbook.Run("rejection-sample", "recipe.yaml", "--output_dir=cut"));
        Assert.Contains("mean best", outcome.Output);
        foreach (var file in (string[])["samples.jsonl", "round-1/train.jsonl", "model.safetensors"])
            Assert.True(File.ReadAllBytes(Path.Combine(handbook.Folder, "whole", file)).AsSpan()
                .SequenceEqual(File.ReadAllBytes(Path.Combine(handbook.Folder, "cut", file))), $"{file} differs");

        int Lines() => Count(Path.Combine(handbook.Folder, "cut", "round-1", "answers.jsonl"));
    }

    private static int Count(string path)
    {
        if (!File.Exists(path))
            return 0;
        using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        using var reader = new StreamReader(file);
        return reader.ReadToEnd().Count(c => c == '\n');
    }

    [Theory]
    [Trait("speed", "slow")]
    [InlineData(0, 1), InlineData(1, 3)]
    public async Task Processes_that_share_the_prompts_leave_the_files_of_one_whoever_is_killed(int rank, int processes)
    {
        using var handbook = Folder();
        string[] same = ["samples.jsonl", "round-1/train.jsonl", "summary.json"];
        SmallModel.Succeed(handbook.Run("rejection-sample", "recipe.yaml", "--output_dir=out", "--train_method=none"));
        var whole = Array.ConvertAll(same, Read);
        Directory.Delete(Path.Combine(handbook.Folder, "out"), recursive: true);

        string[] words = ["rejection-sample", "recipe.yaml", "--output_dir=out", "--train_method=none"];
        using (var launched = handbook.Start(["launch", "--nproc-per-node", "2", .. words]))
        {
            launched.BeginOutputReadLine();
            var error = launched.StandardError.ReadToEndAsync();
            var answers = Path.Combine(handbook.Folder, "out", "round-1", "answers@1.jsonl");
            for (var waited = Stopwatch.StartNew(); Count(answers) < 5; Thread.Sleep(1))
                Assert.True(!launched.HasExited && waited.Elapsed < TimeSpan.FromMinutes(2), "no answer is sampled");
            using (var victim = handbook.Rank(rank))
                victim!.Kill();
            Assert.True(launched.WaitForExit(TimeSpan.FromSeconds(20)), "the other goes on");
            Assert.NotEqual(0, launched.ExitCode);
            Assert.Contains($"rank {rank} on ", await error);
            Assert.True(Count(answers) >= 5, "what was sampled is gone");
        }
        SmallModel.Succeed(handbook.Run(["launch", "--nproc-per-node", $"{processes}", .. words]));
        Assert.Equal(whole, same.Select(Read));
        Assert.Equal(["answers.jsonl", "round.json", "scores.jsonl", "train.jsonl"],
            Directory.GetFiles(Path.Combine(handbook.Folder, "out", "round-1")).Select(Path.GetFileName).Order(StringComparer.Ordinal));

        string Read(string file) => File.ReadAllText(Path.Combine(handbook.Folder, "out", file));
    }

    [Fact]
    [Trait("speed", "slow")]
    public void Two_processes_train_the_models_of_one_round_after_round()
    {
        using var handbook = Folder();
        string[] words = ["rejection-sample", "recipe.yaml", "--rounds=2", "--select=best_vs_worst", "--max_prompts=12"];
        SmallModel.Succeed(handbook.Run([.. words, "--output_dir=one", "--gradient_accumulation_steps=2"]));
        SmallModel.Succeed(handbook.Run(["launch", "--nproc-per-node", "2", .. words, "--output_dir=two", "--zero_stage=3"]));
        foreach (var round in (string[])["round-1", "round-2"])
            Assert.Equal(File.ReadAllText(Path.Combine(handbook.Folder, "one", round, "train.jsonl")),
                File.ReadAllText(Path.Combine(handbook.Folder, "two", round, "train.jsonl")));
    }

    [Theory]
    [InlineData("--reward_funcs=unit_test --unit_test_command=true", "runs code that a model wrote")]
    [InlineData("--reward_funcs=exact_mach", "did you mean exact_match?")]
    [InlineData("--select=best_vs_worst --train_method=sft", "best_vs_worst gives pairs")]
    [InlineData("--reward_funcs=judge", "judge_model is missing")]
    [InlineData("--sample_model=m --top_k=5", "whose interface has no such option")]
    [InlineData("--reward_funcs=exact_match", "has none")]
    public void Keys_that_cannot_be_are_refused_with_the_cure(string words, string message)
    {
        using var handbook = Folder(withModel: words.EndsWith("exact_match", StringComparison.Ordinal));
        var outcome = handbook.Run(["rejection-sample", "recipe.yaml", "--output_dir=out", .. words.Split(' ')]);
        Assert.Equal(2, outcome.Code);
        Assert.Contains(message, outcome.Error);
        Assert.Contains("fix:", outcome.Error);
    }

    private static HandbookProcess Folder(bool withModel = true)
    {
        var handbook = new HandbookProcess();
        if (withModel)
            SmallModel.Make(handbook);
        handbook.Write("prompts.jsonl",
            string.Concat(Enumerable.Range(0, 30).Select(i => $$"""{"prompt": "one two three {{i}}"}""" + "\n")));
        handbook.Write("recipe.yaml", Recipe);
        return handbook;
    }
}
