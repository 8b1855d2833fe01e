using System.Text.Json;
using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Models.Generation;
using Handbook.Runs;
using Handbook.Testing;
using Handbook.Training;
using Handbook.Training.Sampling;

namespace Handbook.Tests.Sampling;

public sealed class ConstitutionTests
{
    private static readonly string[] s_files = ["train_sft.jsonl", "test_sft.jsonl", "train_prefs.jsonl", "test_prefs.jsonl"];

    [Fact]
    public void The_constitution_that_comes_with_the_recipes_is_one()
    {
        var own = Constitution.Load(Path.Combine(SharedFiles.Repository, "recipes", "constitutional-ai", "constitution.yaml"));
        Assert.True(own.Principles.Count >= 5);
        Assert.Equal(["user", "assistant", "user", "assistant", "user", "assistant"], own.Exemplars.Select(turn => (string)turn["role"]!));
    }

    [Fact]
    public void The_published_generator_s_file_is_read_too()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["c.json"],
            """{"constitutions": [{"critic": "What is wrong?", "revision": "Make it right."}], "system_chat": [[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]]}""");
        var read = Constitution.Load(folder["c.json"]);
        Assert.Equal(new Principle("principle 1", "What is wrong?", "Make it right."), read.Principles.Single());
        Assert.Equal(2, read.Exemplars.Count);
    }

    [Theory]
    [InlineData("principles:\n  - critique: What?\n", "c.yaml:2:5: error: the principle has no revision"),
        InlineData("principles: []\n", "the constitution has no principle")]
    [InlineData("principels:\n  - critique: a\n", "c.yaml:1:1: error: principels is no part of a constitution"),
        InlineData("principles:\n  - critique: a\n    revision: b\n    weight: 2\n", "weight is no part of a principle")]
    [InlineData("- a\n", "a constitution is a map"),
        InlineData("principles:\n  - critique: a\n    revision: b\nexemplars:\n  - - role: bot\n      content: x\n", "a turn has a role")]
    public void What_is_wrong_is_told_with_its_line(string text, string message)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["c.yaml"], text);
        Assert.Contains(message, Assert.Throws<InputException>(() => Constitution.Load(folder["c.yaml"])).What);
    }

    [Fact]
    public void A_second_run_in_the_folder_is_kept_out()
    {
        using var folder = new TemporaryFolder();
        var options = Options(folder, revisions: 1);
        Directory.CreateDirectory(options.Output);
        using (RunLock.Take(options.Output))
            Assert.Contains($"--output {Path.GetFullPath(options.Output)} is in use by another run",
                Assert.Throws<InputException>(() => ConstitutionRun.Run(options, () => new Speaker())).What);
        ConstitutionRun.Run(options, () => new Speaker());
        Assert.False(File.Exists(Path.Combine(options.Output, RunLock.FileName)));
    }

    [Fact]
    public void Each_answer_is_criticised_and_revised_and_becomes_a_conversation_and_a_pair()
    {
        using var folder = new TemporaryFolder();
        var speaker = new Speaker();
        var (rows, dropped) = ConstitutionRun.Run(Options(folder, revisions: 2), () => speaker);
        Assert.Equal(20, rows["train_sft"] + rows["test_sft"]);
        Assert.Equal(19, rows["train_prefs"] + rows["test_prefs"]);       // prompt 3 is not changed by its revisions
        Assert.InRange(rows["test_sft"], 1, 10);
        Assert.Equal(["revision equal to the answer: no pair"], dropped.Keys);
        // The last request saw the exemplars, the prompt, the first revision, a critique of it, and what to do.
        var last = speaker.Asked.Last(turns => turns[2] == "user: question 5");
        Assert.Equal(["user: shown", "assistant: example", "user: question 5"], last[..3]);
        Assert.StartsWith("assistant: revised: answer to question 5 by ", last[3]);
        Assert.Matches("^user: criticise by [abc]$", last[4]);
        Assert.StartsWith("assistant: critique", last[5]);
        Assert.Equal(last[4].Replace("criticise", "revise"), last[6]);
        var pair = Lines(folder, "train_prefs.jsonl").Concat(Lines(folder, "test_prefs.jsonl"))
            .First(row => row.GetProperty("index").GetInt32() == 5);
        Assert.Equal("answer to question 5", pair.GetProperty("rejected")[1].GetProperty("content").GetString());
        Assert.StartsWith("revised: revised: answer to question 5", pair.GetProperty("chosen")[1].GetProperty("content").GetString());
        Assert.Equal(2, pair.GetProperty("principles").EnumerateArray().Select(name => name.GetString()).Distinct().Count());
    }

    [Theory]
    [InlineData(0.01, "note: there is no test_sft.jsonl and no test_prefs.jsonl: --test-share 0.01 is drawn prompt by prompt, and none of "
        + "20 was drawn")]
    [InlineData(0.0, "")]
    public void Files_of_held_out_rows_that_are_missing_are_told_with_the_reason(double share, string message)
    {
        using var folder = new TemporaryFolder();
        using var said = new StringWriter();
        ConstitutionRun.Run(Options(folder) with { TestShare = share }, () => new Speaker(), new Teller(said));
        Assert.False(File.Exists(folder["out", "test_sft.jsonl"]));
        Assert.Contains(message, said.ToString());
        Assert.Equal(message.Length > 0, said.ToString().Contains("note:", StringComparison.Ordinal));
    }

    [Fact]
    public void What_cannot_be_opened_leaves_nothing_behind()
    {
        using var folder = new TemporaryFolder();
        Assert.Throws<InputException>(() => ConstitutionRun.Run(Options(folder), () => throw new InputException("no chat template")));
        Assert.False(Directory.Exists(folder["out"]));
    }

    [Fact]
    public void The_folder_is_a_data_set_with_the_published_splits()
    {
        using var folder = new TemporaryFolder();
        ConstitutionRun.Run(Options(folder), () => new Speaker());
        Assert.Equal(["test_prefs", "test_sft", "train_prefs", "train_sft"], Dataset.SplitsOf(new DatasetSpec { Id = folder["out"] }));
        var conversations = Dataset.Open(new DatasetSpec { Id = folder["out"], Split = "train_sft" });
        Assert.IsType<ChatExample>(RowReader.For(conversations, new DatasetSpec { Id = "x" }, RowUse.FineTuning)
            .Read(conversations.Read().First().Value, out _));
        var pairs = Dataset.Open(new DatasetSpec { Id = folder["out"], Split = "train_prefs" });
        Assert.Equal(RowLayout.Preference, RowReader.For(pairs, new DatasetSpec { Id = "x" }, RowUse.Preferences).Layout);
    }

    [Fact]
    public void Killed_at_any_byte_and_started_again_gives_the_same_files_and_asks_nothing_twice()
    {
        using var folder = new TemporaryFolder();
        ConstitutionRun.Run(Options(folder, revisions: 2), () => new Speaker());
        var (whole, steps) = (Files(), File.ReadAllBytes(folder["out", "steps.jsonl"]));
        var random = new Random(1);
        for (var kill = 0; kill < 10; kill++)
        {
            var kept = random.Next(steps.Length);
            File.WriteAllBytes(folder["out", "steps.jsonl"], steps[..kept]);
            foreach (var file in s_files)
                File.Delete(folder["out", file]);
            var speaker = new Speaker();
            ConstitutionRun.Run(Options(folder, revisions: 2), () => speaker);
            Assert.Equal(whole, Files());
            Assert.Equal(100 - steps[..kept].Count(b => b == '\n'), speaker.Asked.Count);
        }

        string[] Files() => [.. s_files.Select(file => File.ReadAllText(folder["out", file]))];
    }

    [Fact]
    public void Steps_of_another_model_are_not_taken_for_this_one_s()
    {
        using var folder = new TemporaryFolder();
        ConstitutionRun.Run(Options(folder), () => new Speaker());
        Assert.Contains("steps.jsonl holds steps that were made from another model",
            Assert.Throws<InputException>(() => ConstitutionRun.Run(Options(folder) with { SourceKey = "other" }, () => new Speaker()))
            .What);
    }

    [Fact]
    public void Empty_and_cut_answers_are_left_out_with_their_reason()
    {
        using var folder = new TemporaryFolder();
        var (rows, dropped) = ConstitutionRun.Run(Options(folder), () => new Speaker { Trouble = true });
        Assert.Equal(18, rows.Where(file => file.Key.EndsWith("_sft", StringComparison.Ordinal)).Sum(file => file.Value));
        Assert.Equal(["answer cut at its greatest length", "empty answer", "revision equal to the answer: no pair"], dropped.Keys.Order());
    }

    private static ConstitutionOptions Options(TemporaryFolder folder, int revisions = 1) => new()
    {
        Constitution = new([.. "abc".Select(name => new Principle($"{name}", $"criticise by {name}", $"revise by {name}"))],
            [new() { ["role"] = "user", ["content"] = "shown" }, new() { ["role"] = "assistant", ["content"] = "example" }], "text"),
        Prompts = [.. Enumerable.Range(0, 20).Select(i => new Prompt { Text = $"question {i}" })],
        Output = folder["out"],
        Revisions = revisions,
        TestShare = 0.2,
        SourceKey = "model",
    };

    private static JsonElement[] Lines(TemporaryFolder folder, string file) =>
        [.. File.ReadAllLines(folder["out", file]).Select(line => JsonSerializer.Deserialize<JsonElement>(line))];

    /// <summary>Answers from what it is asked alone.</summary>
    private sealed class Speaker : IAnswerSource
    {
        public bool Trouble { get; init; }

        public List<string[]> Asked { get; } = [];

        public string Name => "speaker";

        public string? Refuses(Prompt prompt) => null;

        public void Answer(IReadOnlyList<AnswerRequest> requests, Action<int, int, GivenAnswer> done, CancellationToken cancel)
        {
            for (var r = requests.Count - 1; r >= 0; r--)
            {
                string[] turns = [.. requests[r].Prompt.Messages!.Value.EnumerateArray()
                    .Select(turn => $"{turn.GetProperty("role")}: {turn.GetProperty("content")}")];
                Asked.Add(turns);
                var asked = turns[^1]["user: ".Length..];
                done(r, 0, asked.StartsWith("criticise", StringComparison.Ordinal) ? new("critique " + asked[^1], true)
                    : !asked.StartsWith("revise", StringComparison.Ordinal) ? Trouble && asked == "question 7" ? new(" ", true)
                        : new("answer to " + asked, !(Trouble && asked == "question 8"))
                    : turns[2] == "user: question 3" ? new("answer to question 3", true)
                    : new($"revised: {turns[3]["assistant: ".Length..]} by {asked[^1]}", true));
            }
        }

        public void Dispose()
        {
        }
    }

    private sealed class Teller(TextWriter said) : IWorkObserver
    {
        public void Said(string text) => said.WriteLine(text);
    }
}
