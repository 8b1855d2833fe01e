using System.Text.Json;
using Handbook.Evaluation;
using Handbook.Models;
using Handbook.Testing;
using Handbook.Training.Distributed;
using Handbook.Training.Progress;
using Handbook.Training.Tests.Contract;

namespace Handbook.Tests.Evaluation;

/// <summary>An evaluation whose rows several workers share out.</summary>
[Collection("tensors")]
public sealed class SharedEvaluationTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact] // bit by bit: neither scores nor answers depend on what is computed beside them
    public void Workers_that_share_the_rows_give_the_results_of_one_and_one_goes_on_where_several_stopped()
    {
        File.WriteAllText(_folder["rows.jsonl"], string.Concat(Enumerable.Range(0, 9).Select(i =>
            $$"""{"q": "{{string.Concat(Enumerable.Repeat("Once upon a time ", i % 4))}}there was a {{i}}", "a": [" girl", " dog"], "gold": {{i % 2}}}""" + "\n")));
        var alone = Run(Workers.Alone, "one");
        var shared = WorkerPair.Run(2, workers => Run(workers, "two"));
        Assert.Equal([alone, alone], shared);
        Assert.Equal([alone, alone, alone], WorkerPair.Run(3, workers => Run(workers, null)));
        foreach (var task in (string[])["choice", "words", "texts"])
            Assert.Equal(Lines("one", task), Lines("two", task));
        Assert.Equal(["choice.jsonl", "texts.jsonl", "words.jsonl"],
            Directory.GetFiles(_folder["two", "samples"]).Select(Path.GetFileName).Order(StringComparer.Ordinal));

        // As after a sudden end: the first has some lines, another has told of its own to nobody, a part of one is lost.
        var lines = File.ReadAllLines(_folder["two", "samples", "choice.jsonl"]);
        File.WriteAllText(_folder["two", "samples", "choice.jsonl"], string.Concat(lines[..4].Select(line => line + "\n")) + lines[8][..9]);
        File.WriteAllText(_folder["two", "samples", "choice@1.jsonl"], string.Concat(lines[3..7].Select(line => line + "\n")));
        Assert.Equal(alone, Run(Workers.Alone, "two"));
        Assert.Equal(Lines("one", "choice"), Lines("two", "choice"));
        Assert.False(File.Exists(_folder["two", "samples", "choice@1.jsonl"]));
    }

    [Fact]
    public void A_row_is_no_example_of_itself_where_blank_lines_stand_between()
    {
        File.WriteAllText(_folder["rows.jsonl"], "{\"q\": \"one\", \"a\": [\"x\", \"y\"], \"gold\": 0}\n\n{\"q\": \"two\", \"a\": [\"z\", \"y\"], \"gold\": 0}\n");
        _ = EvaluationRun.Run(new()
        {
            Model = ModelSource.Find(SharedFiles.Need("models", "tinystories-656k")),
            Tasks = [Task("choice", "output_type: multiple_choice\ndoc_to_text: q\ndoc_to_choice: a\ndoc_to_target: gold\nnum_fewshot: 1")],
            Output = _folder["out"],
            Observer = RunObservers.None,
        });
        Assert.Equal(["two z\n\none", "one x\n\ntwo"], Lines("out", "choice").Select(line =>
            JsonDocument.Parse(line).RootElement.GetProperty("prompt").GetString()!));
        var results = JsonDocument.Parse(File.ReadAllText(_folder["out", "results.json"])).RootElement;
        Assert.True(results.GetProperty("results").GetProperty("choice").TryGetProperty("acc_stderr,none", out _));
        Assert.True(results.GetProperty("higher_is_better").GetProperty("choice").GetProperty("acc_norm").GetBoolean());
    }

    private string[] Lines(string output, string task) => [.. File.ReadAllLines(_folder[output, "samples", $"{task}.jsonl"])
        .OrderBy(line => JsonDocument.Parse(line).RootElement.GetProperty("doc_id").GetInt32())];

    private string Run(Workers workers, string? output)
    {
        var results = EvaluationRun.Run(new()
        {
            Model = ModelSource.Find(SharedFiles.Need("models", "tinystories-656k")),
            Tasks =
            [
                Task("choice", "output_type: multiple_choice\ndoc_to_text: q\ndoc_to_choice: a\ndoc_to_target: gold\nnum_fewshot: 1"),
                Task("words", "doc_to_text: q\ndoc_to_target: \"x\"\ngeneration_kwargs: {max_gen_toks: 5, temperature: 1.0, do_sample: true}\nrepeats: 2"),
                Task("texts", "output_type: loglikelihood_rolling\ndoc_to_text: \"\"\ndoc_to_target: q"),
            ],
            Output = output is null ? null : _folder[output],
            BatchSize = 3,
            Observer = RunObservers.None,
            Workers = workers,
        });
        return string.Join('\n', EvaluationReport.Table(results));
    }

    private EvaluationTask Task(string name, string rest) =>
        TaskFile.Read($"task: {name}\ndataset_path: rows.jsonl\n{rest}\n", $"{name}.yaml", _folder.Path, _ => { });
}
