using System.Text.Json;
using Handbook.Base;
using Handbook.Recipes;
using Handbook.Runs;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Sampling;
using Handbook.Training.Tests.Sampling;

namespace Handbook.Tests.Sampling;

[Collection("tensors")]
public sealed class RejectionPlaceTests
{
    private const string Trained = "train_method: sft\nlearning_rate: 0.05\nmax_steps: 1";

    [Theory] // a run of another method, and a folder that is also the model's
    [InlineData(false, "holds a run of `handbook sft` that no rejection-sample has made")]
    [InlineData(true, "is also the folder of model_name_or_path")]
    public void A_folder_of_something_else_is_refused_before_anything_is_sampled(bool isModel, string message)
    {
        using var folder = new SamplingFolder();
        if (!isModel)
        {
            folder.Write("sft.jsonl", """{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}""" + "\n");
            Assert.Equal(RunEnd.Finished,
                TrainingRun.Run(DerivedRecipe.For(folder.Recipe(Trained, "taken"), TrainingMethod.Sft, folder["model"], folder["sft.jsonl"],
                folder["taken"], fresh: false)).End);
        }
        var place = isModel ? "model" : "taken";
        var before = Files(folder[place]);
        var recipe = folder.Recipe(Trained, place);
        Assert.Contains(message, Assert.Throws<InputException>(() => RejectionRun.Run(recipe)).What);
        Assert.Contains(RecipeProbe.Of(recipe).Problems, problem => problem.Problem.What.Contains(message, StringComparison.Ordinal));
        Assert.Equal(before, Files(folder[place]));
    }

    [Theory]
    [InlineData("learning_rate: 0.01", "learning_rate: 0.05 → 0.01")]
    [InlineData("max_steps: 2", "max_steps: 1 → 2")]
    [InlineData("train_method: none", "has trained a model, but train_method is none")]
    [InlineData("reward_pattern: '[f-g]'", "has trained on other rows than this recipe selects")]
    [InlineData("select: top_k", "has trained on other rows than this recipe selects")]
    [InlineData("num_generations: 6", "has trained on other rows than this recipe selects")]
    [InlineData("temperature: 0.5", "were made from another model, other prompts or other keys of sampling")]
    public void A_finished_run_stays_what_it_is_when_a_key_changes(string change, string message)
    {
        using var folder = new SamplingFolder();
        Assert.Equal(RunEnd.Finished, RejectionRun.Run(folder.Recipe(Trained, "out")).End);
        var before = Files(folder["out"]);
        var problem = Assert.Throws<InputException>(() => RejectionRun.Run(folder.Recipe($"{Trained}\n{change}", "out")));
        Assert.Contains(message, problem.What);
        Assert.Equal(before, Files(folder["out"]));
        Assert.Empty(RecipeProbe.Of(folder.Recipe(Trained, "out")).Problems);
        Assert.Equal(RunEnd.Finished, RejectionRun.Run(folder.Recipe($"{Trained}\nlogging_steps: 3", "out")).End);
        Assert.Equal(before, Files(folder["out"]));
    }

    [Fact]
    public void Stopped_between_two_rounds_it_does_not_go_on_with_another_learning_rate()
    {
        using var folder = new SamplingFolder();
        Assert.Equal(RunEnd.Finished, RejectionRun.Run(folder.Recipe($"{Trained}\nrounds: 2", "out")).End);
        Directory.Delete(folder["out", "round-2"], recursive: true);
        foreach (var file in Directory.GetFiles(folder["out"])
            .Where(file => Path.GetFileName(file) is not ("pipeline.yaml" or "samples.jsonl" or "summary.json")))
            File.Delete(file);
        foreach (var checkpoint in Directory.GetDirectories(folder["out"], "checkpoint-*"))
            Directory.Delete(checkpoint, recursive: true);
        var before = File.ReadAllText(folder["out", "pipeline.yaml"]);
        var problem = Assert.Throws<InputException>(() =>
            RejectionRun.Run(folder.Recipe($"{Trained}\nrounds: 2\nlearning_rate: 0.01", "out")));
        Assert.Contains("learning_rate: 0.05 → 0.01", problem.What);
        Assert.Equal(before, File.ReadAllText(folder["out", "pipeline.yaml"]));
    }

    [Fact]
    public void Rounds_may_be_raised_but_not_lowered_and_nothing_is_sampled_twice()
    {
        using var folder = new SamplingFolder();
        Assert.Equal(RunEnd.Finished, RejectionRun.Run(folder.Recipe($"{Trained}\nrounds: 2", "whole")).End);
        Assert.Equal(RunEnd.Finished, RejectionRun.Run(folder.Recipe($"{Trained}\nrounds: 1", "out")).End);
        var (first, answers) = (File.ReadAllBytes(folder["out", "model.safetensors"]), folder["out", "round-1", "answers.jsonl"]);
        string[] kept = [.. File.ReadAllLines(answers).Reverse()];      // an order that sampling again would not leave
        File.WriteAllLines(answers, kept);
        Assert.Equal(RunEnd.Finished, RejectionRun.Run(folder.Recipe($"{Trained}\nrounds: 2", "out")).End);
        Assert.Equal(kept, File.ReadAllLines(answers));
        Assert.Equal(first, File.ReadAllBytes(folder["out", "round-1", "model", "model.safetensors"]));
        Assert.Equal(File.ReadAllBytes(folder["whole", "model.safetensors"]), File.ReadAllBytes(folder["out", "model.safetensors"]));
        Assert.Equal(2, Json(folder["out", "summary.json"]).GetProperty("rounds").GetArrayLength());

        var before = Files(folder["out"]);
        var problem = Assert.Throws<InputException>(() => RejectionRun.Run(folder.Recipe($"{Trained}\nrounds: 1", "out")));
        Assert.Contains("holds a run of 2 rounds, but rounds is 1", problem.What);
        Assert.Equal(before, Files(folder["out"]));
    }

    [Theory] // how many entries a kill let the move take
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(5)]
    [InlineData(1000)]
    public void A_kill_while_the_model_moves_loses_nothing(int moved)
    {
        using var folder = new SamplingFolder();
        Assert.Equal(RunEnd.Finished, RejectionRun.Run(folder.Recipe(Trained, "out")).End);
        var model = File.ReadAllBytes(folder["out", "model.safetensors"]);
        Directory.CreateDirectory(folder["out", "round-1", "model.moving"]);
        foreach (var path in Directory.GetFileSystemEntries(folder["out"])
            .Where(path => Path.GetFileName(path) is not ("round-1" or "pipeline.yaml" or "samples.jsonl" or "summary.json"))
            .OrderDescending().Take(moved))
            Directory.Move(path, folder["out", "round-1", "model.moving", Path.GetFileName(path)]);
        Assert.Equal(RunEnd.Finished, RejectionRun.Run(folder.Recipe($"{Trained}\nrounds: 2", "out")).End);
        Assert.Equal(model, File.ReadAllBytes(folder["out", "round-1", "model", "model.safetensors"]));
        Assert.True(File.Exists(folder["out", "model.safetensors"]));
    }

    [Fact]
    public void Begun_anew_over_a_finished_run_and_stopped_it_goes_on_without_being_told_again()
    {
        using var folder = new SamplingFolder();
        Assert.Equal(RunEnd.Finished, RejectionRun.Run(folder.Recipe(Trained, "out")).End);
        using var stop = new CancellationTokenSource();
        stop.Cancel();
        Assert.Equal(RunEnd.Interrupted,
            RejectionRun.Run(folder.Recipe($"{Trained}\ntemperature: 0.7\nfresh: true", "out"), cancel: stop.Token).End);
        Assert.Equal(RunEnd.Finished, RejectionRun.Run(folder.Recipe($"{Trained}\ntemperature: 0.7", "out")).End);
        Assert.Equal(1, Json(folder["out", "run.json"]).GetProperty("starts").GetArrayLength());
    }

    [Theory]
    [InlineData("{\"answers\": \"12")]
    [InlineData("[]")]
    [InlineData("{\"answers\": 3}")]
    [InlineData("")]
    public void A_damaged_state_is_named_with_its_cure(string text)
    {
        using var folder = new SamplingFolder();
        RejectionRun.Run(folder.Recipe("", "out"));
        folder.Write("out/round-1/round.json", text);
        var problem = Assert.Throws<InputException>(() => RejectionRun.Run(folder.Recipe("", "out")));
        Assert.Contains("round.json: is broken", problem.What);
        Assert.Contains("--fresh=true", problem.Fix);
        Assert.Equal(RunEnd.Finished, RejectionRun.Run(folder.Recipe("fresh: true", "out")).End);
    }

    [Theory]
    [InlineData("{\"prompt\": 0")]
    [InlineData("{\"prompt\": 0}")]
    [InlineData("{\"prompt\": \"a\", \"sample\": 0}")]
    [InlineData("{\"prompt\": 0.5, \"sample\": 0}")]
    [InlineData("[]")]
    public void A_damaged_answer_is_named_with_its_line(string text)
    {
        using var folder = new SamplingFolder();
        RejectionRun.Run(folder.Recipe("", "out"));
        var lines = File.ReadAllLines(folder["out", "round-1", "answers.jsonl"]);
        lines[2] = text;
        File.WriteAllLines(folder["out", "round-1", "answers.jsonl"], lines);
        Assert.Contains("answers.jsonl:3: is broken", Assert.Throws<InputException>(() => RejectionRun.Run(folder.Recipe("", "out"))).What);
    }

    [Fact]
    public void A_second_run_is_kept_out_from_the_first_answer_on()
    {
        using var folder = new SamplingFolder();
        Directory.CreateDirectory(folder["out"]);
        using (RunLock.Take(folder["out"]))
            Assert.Contains("is in use by another run",
                Assert.Throws<InputException>(() => RejectionRun.Run(folder.Recipe("", "out"))).What);
        Assert.Empty(Directory.GetFileSystemEntries(folder["out"]));
        Assert.Equal(RunEnd.Finished, RejectionRun.Run(folder.Recipe(Trained, "out")).End);       // its own training stage is let in
        Assert.False(File.Exists(folder["out", RunLock.FileName]));
    }

    [Fact]
    public void A_judge_that_gave_no_mark_is_what_the_cure_is_about()
    {
        using var folder = new SamplingFolder();
        using var endpoint = new FakeEndpoint(_ => (200, "I would rather not say.", null));
        var problem = Assert.Throws<InputException>(() =>
            RejectionRun.Run(folder.Recipe($"reward_funcs: judge\njudge_model: m\njudge_base_url: {endpoint.Address}", "out")));
        Assert.Contains("judge_pattern", problem.Fix);
        Assert.DoesNotContain("num_generations", problem.Fix);
    }

    [Fact]
    public void The_summary_tells_how_long_answers_are()
    {
        using var folder = new SamplingFolder();
        RejectionRun.Run(folder.Recipe("", "out"));
        var round = Json(folder["out", "summary.json"]).GetProperty("rounds")[0];
        var samples = folder.Lines("out", "samples.jsonl");
        Assert.Equal(samples.Average(Length), round.GetProperty("mean_length").GetDouble(), 9);     // rounding of a mean alone
        Assert.Equal(samples.Where(sample => sample.GetProperty("use").GetString() == "trained").Average(Length),
            round.GetProperty("mean_length_selected").GetDouble(), 9);

        static double Length(JsonElement sample) => sample.GetProperty("answer").GetString()!.Length;
    }

    [Fact]
    public void A_full_disk_says_what_is_kept() =>
        Assert.Contains("the 1,200 lines before are kept",
            Journal.Full("answers.jsonl", 1200, new IOException("No space left on device")).Message);

    private static JsonElement Json(string path) => JsonSerializer.Deserialize<JsonElement>(File.ReadAllText(path));

    private static string[] Files(string folder) =>
        [.. Directory.GetFiles(folder, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal)
            .Select(path => $"{path} {Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(path)))}")];
}
