using Handbook.Testing;
using Handbook.Watching;

namespace Handbook.Tests.Watching;

/// <summary>The answers of a run's folder, while they are written.</summary>
public sealed class RunSamplesTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    [Fact]
    public void The_same_answers_behind_one_another_are_one_and_a_half_written_line_is_none()
    {
        File.WriteAllText(_folder["samples.jsonl"], """
            {"step": 10, "prompt": "a", "answer": "x", "chosen": "good", "rejected": "bad"}
            {"step": 10, "prompt": "b", "answer": "y"}
            {"step": 20, "prompt": "a", "answer": "x", "chosen": "good", "rejected": "bad"}
            {"step": 20, "prompt": "b", "answer": "z"}
            {"step": 30, "prompt": "a", "answer": "x2", "chosen": "good", "rejected": "bad"}
            {"step": 30, "prompt": "b", "ans
            """);
        var prompts = RunSamples.Read(_folder.Path);
        Assert.Equal(["a", "b"], prompts.Select(prompt => prompt.Prompt));
        Assert.Equal([new(10, 20, "x", null), new(30, 30, "x2", null)], prompts[0].Answers);
        Assert.Equal([new(10, 10, "y", null), new(20, 20, "z", null)], prompts[1].Answers);
        Assert.Equal("good", prompts[0].Known["chosen"]);
        Assert.Single(RunSamples.Read(_folder.Path, most: 1));
        // Of a long file the end is read.
        Assert.Equal([new(30, 30, "x2", null)], RunSamples.Read(_folder.Path, bytes: 150)[0].Answers);
    }

    [Fact]
    public void Answers_that_are_learnt_from_come_with_their_reward_and_a_pipelines_file_is_another()
    {
        Assert.Empty(RunSamples.Read(_folder.Path));
        File.WriteAllText(_folder["completions.jsonl"], """
            {"step": 1, "prompt": [{"role": "user", "content": "2+2"}], "completion": "5", "reward": 0.0}
            {"step": 1, "prompt": [{"role": "user", "content": "2+2"}], "completion": "4", "reward": 1.0}
            """);
        var prompt = Assert.Single(RunSamples.Read(_folder.Path));
        Assert.Equal("user: 2+2", prompt.Prompt);
        Assert.Equal([new(1, 1, "5", 0), new(1, 1, "4", 1)], prompt.Answers);
        File.WriteAllText(_folder["samples.jsonl"], """{"prompt": "a", "answer": "x", "round": 1}""");
        Assert.Empty(RunSamples.Read(_folder.Path));
    }

    public void Dispose() => _folder.Dispose();
}
