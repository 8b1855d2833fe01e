using System.Text.Json;
using Handbook.Testing;

namespace Handbook.Cli.Tests;

/// <summary>The steps of <c>make demo</c> with the recipes it uses, but with little data and few steps.</summary>
public sealed class DemoTests : IDisposable
{
    private readonly HandbookProcess _handbook = new();

    [Fact]
    [Trait("speed", "slow")]
    public void The_demo_runs_from_data_to_answers()
    {
        var recipes = Path.Combine(SharedFiles.Repository, "recipes", "tiny");
        Run("demo-data", "--output", "data/tiny", "--scale", "0.05");
        Run("tokenizer", "train", "data/tiny/text/train.jsonl", "data/tiny/sft/train.jsonl", "--vocab-size", "600", "--eos-token",
            "<|endoftext|>", "--special-token", "<|im_start|>",
            "--special-token", "<|im_end|>", "--chat-template", Path.Combine(recipes, "chat.jinja"), "--output", "data/tiny/tokenizer");
        Run("init", "--config", Path.Combine(recipes, "config.json"), "--tokenizer", "data/tiny/tokenizer", "--output", "runs/tiny-init");
        Run("cpt", Path.Combine(recipes, "cpt.yaml"), "--max_steps=12", "--logging_steps=1");
        Run("sft", Path.Combine(recipes, "sft.yaml"), "--max_steps=12", "--logging_steps=1");
        foreach (var run in (string[])["tiny-cpt", "tiny-sft"])
        {
            var losses = File.ReadLines(At("runs", run, "metrics.jsonl")).Select(line => JsonDocument.Parse(line).RootElement)
                .Where(row => row.TryGetProperty("loss", out _)).Select(row => row.GetProperty("loss").GetDouble()).ToArray();
            Assert.Equal(12, losses.Length);
            Assert.True(losses[^1] < 0.8 * losses[0], $"{run}: loss {losses[0]} → {losses[^1]}");
            Assert.True(File.Exists(At("runs", run, "loss.svg")));
        }
        var asked = File.ReadLines(At("data", "tiny", "sft", "test.jsonl")).Count();
        var score = Run("generate", "runs/tiny-sft", "--prompts", "data/tiny/sft/test.jsonl", "--expect", "answer", "--max-new-tokens",
            "12", "--batch-size", "64", "--output", "answers.jsonl").Output;
        Assert.Matches($@"^accuracy \d\.\d{{3}} \(\d+ of {asked}\)\n$", score);
        Assert.Equal(asked, File.ReadLines(At("answers.jsonl")).Count());
    }

    [Theory]
    [Trait("speed", "slow")]
    [InlineData("lora", "as numbers"), InlineData("qlora", "as codes: nf4")]
    public void The_demo_trains_with_adapters_when_asked_and_shows_the_memory_of_both(string adapter, string kept)
    {
        var outcome = SmallModel.Succeed(Demo($"ADAPTER={adapter}", "DEMO_SCALE=0.05"));
        foreach (var (row, trained) in (ReadOnlySpan<(string, string)>)[(@"fine-tuning \(runs/tiny-sft\)", "938,880"),
            ($@"fine-tuning, {adapter}, merged \(runs/tiny-sft-{adapter}\)", "249,600"), (@"DPO \(runs/tiny-dpo\)", "938,880"),
            ($@"DPO, {adapter}, merged \(runs/tiny-dpo-{adapter}\)", "163,840")])
            Assert.Matches($@"\n  {row} +\d\.\d{{3}} +(\d\.\d{{4}} +)?{trained} +\d+(\.\d)? MB +\d+ MB\n", outcome.Output);
        Assert.Contains($"kept {kept}", File.ReadAllText(At("runs", $"tiny-dpo-{adapter}", "README.md")));
        Assert.Contains($"a dialogue with runs/tiny-dpo-{adapter}-merged", outcome.Output);
        Assert.False(Directory.Exists(At("runs", "tiny-reward")));
    }

    [Fact]
    public void The_demo_refuses_an_adapter_that_it_does_not_know()
    {
        var outcome = Demo("ADAPTER=dora");
        Assert.Equal(2, outcome.Code);
        Assert.Equal("error: ADAPTER is dora\n  fix: ADAPTER=lora or ADAPTER=qlora, or leave it out\n", outcome.Error);
        Assert.Equal("", outcome.Output);
    }

    [Fact]
    public void The_demo_s_data_is_the_same_for_a_seed_and_asks_nothing_twice()
    {
        Run("demo-data", "--output", "one", "--scale", "0.1");
        Run("demo-data", "--output", "again", "--scale", "0.1");
        Run("demo-data", "--output", "other", "--scale", "0.1", "--seed", "5");
        Assert.Equal(File.ReadAllText(At("one", "sft", "train.jsonl")), File.ReadAllText(At("again", "sft", "train.jsonl")));
        Assert.NotEqual(File.ReadAllText(At("one", "sft", "train.jsonl")), File.ReadAllText(At("other", "sft", "train.jsonl")));
        var (train, test) = (Questions("train"), Questions("test"));
        Assert.True(test.Count > 100);
        Assert.Empty(test.Intersect(train));
    }

    public void Dispose() => _handbook.Dispose();

    private HashSet<string> Questions(string split) => [.. File.ReadLines(At("one", "sft", split + ".jsonl"))
        .SelectMany(line => JsonDocument.Parse(line).RootElement.GetProperty("messages").EnumerateArray())
        .Where(turn => turn.GetProperty("role").ValueEquals("user")).Select(turn => turn.GetProperty("content").GetString()!)];

    private string At(params string[] parts) => Path.Combine([_handbook.Folder, .. parts]);

    private Outcome Demo(params string[] environment) => _handbook.RunOther("env",
        [.. environment, $"DEMO_FOLDER={_handbook.Folder}", "bash",
        Path.Combine(SharedFiles.Repository, "tools", "demo.sh")]);

    private Outcome Run(params string[] words) => SmallModel.Succeed(_handbook.Run(words));
}
