using Handbook.Base;
using Handbook.Runs;

namespace Handbook.Tests.Sampling;

[Collection("tensors")]
public sealed class RejectionRunTests
{
    private static readonly string[] s_results = ["samples.jsonl", "summary.json", "round-1/train.jsonl"];

    [Fact]
    public void Every_answer_is_kept_with_its_score_and_the_best_are_rows_to_train_on()
    {
        using var folder = new SamplingFolder();
        Assert.Equal(RunEnd.Finished, RejectionRun.Run(folder.Recipe("", "out")).End);
        var samples = folder.Lines("out", "samples.jsonl");
        Assert.Equal(24, samples.Length);
        foreach (var sample in samples)
        {
            var answer = sample.GetProperty("answer").GetString()!;
            Assert.DoesNotContain('x', answer);
            Assert.Equal(System.Text.RegularExpressions.Regex.IsMatch(answer, "[a-e]") ? 1 : 0,
                sample.GetProperty("scores").GetProperty("regex").GetDouble());
            Assert.True(sample.GetProperty("log_prob").GetDouble() < 0);
            Assert.True(sample.GetProperty("use").ValueKind != sample.GetProperty("dropped").ValueKind,
                "either used, or with a reason why not");
        }
        var rows = folder.Lines("out", "round-1", "train.jsonl");
        Assert.Equal(samples.Count(sample => sample.GetProperty("use").GetString() == "trained"), rows.Length);
        Assert.All(rows, row => Assert.Equal("assistant", row.GetProperty("messages")[1].GetProperty("role").GetString()));
    }

    [Fact]
    public void Answers_do_not_depend_on_how_many_are_sampled_at_once()
    {
        using var folder = new SamplingFolder();
        RejectionRun.Run(folder.Recipe("sample_batch_size: 1", "one"));
        RejectionRun.Run(folder.Recipe("sample_batch_size: 7", "many"));
        Assert.Equal(Answers("one"), Answers("many"));

        string[] Answers(string run) =>
            [.. folder.Lines(run, "samples.jsonl").Select(sample => $"{sample.GetProperty("answer")} {sample.GetProperty("log_prob")}")];
    }

    [Theory] // the template writes each tool's name before the turns
    [InlineData("{% for t in tools or [] %}{{ t['name'] }}\\n{% endfor %}", null)]
    [InlineData("", "the chat template leaves out tools, which 6 of 6 prompts have")]
    public void Tools_of_a_prompt_stand_before_it_and_go_along_with_its_answers(string writesTools, string? told)
    {
        using var folder = new SamplingFolder();
        folder.Write("model/tokenizer_config.json",
            """{"eos_token": "</s>", "chat_template": "TOOLS{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'assistant' %}</s>{% endif %}\n{% endfor %}"}""".Replace("TOOLS", writesTools, StringComparison.Ordinal));
        var plain = Answers("plain", out _);
        folder.Write("prompts.jsonl",
            string.Concat(File.ReadAllLines(folder["prompts.jsonl"])
            .Select(line => line.Replace("\"prompt\"", "\"tools\": [{\"name\": \"lamp\"}], \"prompt\"", StringComparison.Ordinal) + "\n")));
        var tooled = Answers("tooled", out var notes);

        Assert.Equal(told is null, !plain.SequenceEqual(tooled));
        Assert.Equal(told is null ? [] : [told], notes);
        Assert.All(folder.Lines("tooled", "round-1", "train.jsonl"),
            row => Assert.Equal("lamp", row.GetProperty("tools")[0].GetProperty("name").GetString()));
        Assert.All(folder.Lines("tooled", "samples.jsonl"),
            sample => Assert.Equal("lamp", sample.GetProperty("tools")[0].GetProperty("name").GetString()));

        string[] Answers(string run, out List<string> notes)
        {
            var listener = new Notes();
            RejectionRun.Run(folder.Recipe("", run), listener);
            notes = listener.Heard;
            return [.. folder.Lines(run, "samples.jsonl")
                .Select(sample => $"{sample.GetProperty("answer")} {sample.GetProperty("log_prob")}")];
        }
    }

    private sealed class Notes : Handbook.Training.Progress.IRunObserver
    {
        public List<string> Heard { get; } = [];

        public void Noted(string text) => Heard.Add(text);
    }

    [Theory]
    [InlineData("best_of_n")]
    [InlineData("best_vs_worst")]
    public void Training_has_nothing_to_say_of_columns_that_the_run_wrote_itself(string select)
    {
        using var folder = new SamplingFolder();
        var listener = new Lines();
        RejectionRun.Run(folder.Recipe($"select: {select}\ntrain_method: {(select == "best_of_n" ? "sft" : "dpo")}\nmax_steps: 1", "out"),
            listener);
        Assert.Contains(listener.Heard, line => line.Contains("train.jsonl", StringComparison.Ordinal));
        Assert.DoesNotContain(listener.Heard, line => line.Contains("columns without effect", StringComparison.Ordinal)
            || line.Contains("the column margin", StringComparison.Ordinal));
    }

    private sealed class Lines : Handbook.Training.Progress.IRunObserver
    {
        public List<string> Heard { get; } = [];

        public void Said(string line) => Heard.Add(line);
    }

    [Fact] // a kill leaves a beginning of each journal, in the order in which they are written, perhaps with half a line
    public void Killed_at_any_byte_and_started_again_gives_the_same_files()
    {
        using var folder = new SamplingFolder();
        var recipe = folder.Recipe("reward_funcs: regex,length\nmax_answer_length: 9\nselect: best_vs_worst", "out");
        RejectionRun.Run(recipe);
        var whole = Results();
        var (answers, scores) = (File.ReadAllBytes(folder["out", "round-1", "answers.jsonl"]),
            File.ReadAllBytes(folder["out", "round-1", "scores.jsonl"]));
        var random = new Random(4);
        for (var kill = 0; kill < 12; kill++)
        {
            var written = random.Next(answers.Length + scores.Length);
            File.WriteAllBytes(folder["out", "round-1", "answers.jsonl"], answers[..Math.Min(written, answers.Length)]);
            if (written <= answers.Length)
                File.Delete(folder["out", "round-1", "scores.jsonl"]);
            else
                File.WriteAllBytes(folder["out", "round-1", "scores.jsonl"], scores[..(written - answers.Length)]);
            foreach (var file in s_results)
                File.Delete(folder["out", file]);
            Assert.Equal(RunEnd.Finished, RejectionRun.Run(recipe).End);
            Assert.Equal(whole, Results());
            // What was there stays where it was: nothing is sampled twice.
            var kept = Array.LastIndexOf(answers[..Math.Min(written, answers.Length)], (byte)'\n') + 1;
            Assert.Equal(answers[..kept], File.ReadAllBytes(folder["out", "round-1", "answers.jsonl"])[..kept]);
            Assert.Equal(24, File.ReadAllLines(folder["out", "round-1", "answers.jsonl"]).Length);
            Assert.Equal(48, File.ReadAllLines(folder["out", "round-1", "scores.jsonl"]).Length);
        }

        string[] Results() => [.. s_results.Select(file => File.ReadAllText(folder["out", file]))];
    }

    [Fact]
    public void An_interrupted_run_says_so_and_goes_on()
    {
        using var folder = new SamplingFolder();
        var recipe = folder.Recipe("", "out");
        using var stop = new CancellationTokenSource();
        stop.Cancel();
        Assert.Equal(RunEnd.Interrupted, RejectionRun.Run(recipe, cancel: stop.Token).End);
        Assert.Equal(RunEnd.Finished, RejectionRun.Run(recipe).End);
    }

    [Fact]
    public void Rounds_train_on_what_was_selected_and_sample_from_the_new_model()
    {
        using var folder = new SamplingFolder();
        var recipe = folder.Recipe("train_method: sft\nrounds: 2\nlearning_rate: 0.05", "out");
        Assert.Equal(RunEnd.Finished, RejectionRun.Run(recipe).End);
        Assert.True(File.Exists(folder["out", "model.safetensors"]) && File.Exists(folder["out", "round-1", "model", "model.safetensors"]));
        var samples = folder.Lines("out", "samples.jsonl");
        Assert.Equal(48, samples.Length);
        Assert.EndsWith("round-1/model", samples[^1].GetProperty("source").GetString());
        Assert.NotEqual(samples[..24].Select(sample => sample.GetProperty("answer").GetString()),
            samples[24..].Select(sample => sample.GetProperty("answer").GetString()));
        var weights = File.ReadAllBytes(folder["out", "model.safetensors"]);
        Assert.Equal(RunEnd.Finished, RejectionRun.Run(recipe).End);        // all is done: nothing happens
        Assert.Equal(weights, File.ReadAllBytes(folder["out", "model.safetensors"]));
    }

    [Fact]
    public void Pairs_of_best_and_worst_train_dpo()
    {
        using var folder = new SamplingFolder();
        Assert.Equal(RunEnd.Finished, RejectionRun.Run(folder.Recipe("select: best_vs_worst\ntrain_method: dpo\nbeta: 0.2", "out")).End);
        var pair = folder.Lines("out", "round-1", "train.jsonl")[0];
        Assert.Equal(1, pair.GetProperty("margin").GetDouble());
        Assert.Contains("beta: 0.2", File.ReadAllText(folder["out", "recipe.yaml"]));
        Assert.True(File.Exists(folder["out", "model.safetensors"]));
    }

    [Fact]
    public void Answers_of_another_recipe_are_not_taken_for_this_one_s_and_new_rules_score_again()
    {
        using var folder = new SamplingFolder();
        RejectionRun.Run(folder.Recipe("", "out"));
        var problem = Assert.Throws<InputException>(() => RejectionRun.Run(folder.Recipe("temperature: 0.7", "out")));
        Assert.Contains("answers.jsonl holds answers that were made from another model, other prompts or other keys of sampling",
            problem.What);
        var before = File.ReadAllText(folder["out", "round-1", "answers.jsonl"]);
        Assert.Equal(RunEnd.Finished, RejectionRun.Run(folder.Recipe("min_answer_length: 2", "out")).End);
        Assert.Equal(before, File.ReadAllText(folder["out", "round-1", "answers.jsonl"]));
        Assert.Equal(RunEnd.Finished, RejectionRun.Run(folder.Recipe("temperature: 0.7\nfresh: true", "out")).End);
        Assert.NotEqual(before, File.ReadAllText(folder["out", "round-1", "answers.jsonl"]));
    }

    [Fact]
    public void Nothing_selected_stops_before_training_with_the_reasons()
    {
        using var folder = new SamplingFolder();
        var problem = Assert.Throws<InputException>(() => RejectionRun.Run(folder.Recipe("select_threshold: 2", "out")));
        Assert.Equal("round 1: no answer was selected, so there is nothing to train on", problem.What);
        Assert.Contains("\"below select_threshold\"", File.ReadAllText(folder["out", "summary.json"]));
    }

    [Fact]
    public void A_rule_that_compares_needs_right_answers_before_anything_is_sampled()
    {
        using var folder = new SamplingFolder();
        folder.Write("prompts.jsonl", """{"prompt": "say a word"}""" + "\n");
        var problem = Assert.Throws<InputException>(() => RejectionRun.Run(folder.Recipe("reward_funcs: exact_match", "out")));
        Assert.Contains("exact_match compares with the right answer, but the row has none", problem.What);
        Assert.False(Directory.Exists(folder["out", "round-1"]));
    }
}
