using System.Text.Json;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Evaluation;
using Handbook.Testing;

namespace Handbook.Tests.Evaluation;

/// <summary>The built-in tasks on what their authors published.</summary>
public sealed class PublishedTaskTests
{
    [Theory]
    [InlineData("number_match")]
    [InlineData("exact_match")]
    public void Gsm8k_solutions_get_exactly_the_published_verdicts(string metric)
    {
        var task = TaskFile.Read("""
            task: solutions
            doc_to_text: question
            doc_to_target: ground_truth
            filter_list:
              - name: stated
                filter:
                  - function: regex
                    regex_pattern: 'A: *(-?[0-9.,]+)'
                  - function: take_first
            metric_list:
              - metric: METRIC
            """.Replace("METRIC", metric, StringComparison.Ordinal), "solutions.yaml", null, _ => { });
        if (metric == "exact_match")
            task = task with
            {
                Metrics = [new(metric) { Ignored = [new(","), new("(?s).*A: ")] }],
            };
        using var measures = new AnswerMeasures(task);
        var (right, all) = (0, 0);
        foreach (var row in Rows("gsm8k", "example_model_solutions-a.jsonl"))
        {
            var question = new TaskQuestion
            {
                Number = 0,
                Place = row.Place,
                Row = row.Value,
                Targets = [row.Value.GetProperty("ground_truth").GetString()!],
            };
            foreach (var model in (string[])["6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"])
            {
                var said = row.Value.GetProperty(model);
                var value = measures.Of([question], [[said.GetProperty("solution").GetString()!]], default)[0].Single().Values.Single();
                Assert.True(value == 1 == said.GetProperty("is_correct").GetBoolean(), $"{row.Place}: {model}: {value}");
                all++;
                right += (int)value;
            }
        }
        Assert.Equal(2640, all);
        Assert.InRange(right, 500, 2000);
    }

    [Fact]
    public void Gsm8k_asks_with_five_examples_and_knows_the_answer_of_every_row()
    {
        var task = BuiltInTasks.Find("gsm8k", _ => { });
        var (train, test) = (Rows("gsm8k", "train.jsonl").Take(50).ToArray(), Rows("gsm8k", "test-a.jsonl").ToArray());
        var maker = new QuestionMaker(task, train, examplesAreRows: false, seed: 1);
        using var measures = new AnswerMeasures(task);
        foreach (var (row, i) in test.Select((row, i) => (row, i)))
        {
            var question = maker.Question(row, i, 5);
            Assert.Equal(6, question.Context.Split("Question: ").Length - 1);
            Assert.EndsWith($"Question: {row.Value.GetProperty("question").GetString()}\nAnswer:", question.Context);
            Assert.All(measures.Of([question], [[row.Value.GetProperty("answer").GetString()!]], default)[0],
                measure => Assert.Equal([1.0], measure.Values));
            Assert.All(measures.Of([question], [["I do not know."]], default)[0], measure => Assert.Equal([0.0], measure.Values));
        }
    }

    [Theory]
    [InlineData("mc1", 817)]
    [InlineData("mc2", 817)]
    public void Truthfulqa_reads_the_published_file_and_rows_of_the_hub_alike(string which, int count)
    {
        var task = BuiltInTasks.Find($"truthfulqa_{which}", _ => { });
        var maker = new QuestionMaker(task, [], true, 1);
        var rows = Rows("truthfulqa", "mc_task.json").ToArray();
        Assert.Equal(count, rows.Length);
        for (var i = 0; i < rows.Length; i++)
        {
            var question = maker.Question(rows[i], i, 0);
            var targets = rows[i].Value.GetProperty($"{which}_targets").EnumerateObject().DistinctBy(answer => answer.Name).ToArray();
            Assert.Equal(targets.Select(answer => answer.Name), question.Choices);
            Assert.Equal(targets.Where(answer => answer.Value.GetInt32() == 1).Select(answer => answer.Name), question.Targets);
            var asOnTheHub = JsonSerializer.SerializeToElement(new Dictionary<string, object>
            {
                ["question"] = rows[i].Value.GetProperty("question").GetString()!,
                [$"{which}_targets"] = new { choices = targets.Select(t => t.Name), labels = targets.Select(t => t.Value.GetInt32()) },
            });
            var other = maker.Question(rows[i] with { Value = asOnTheHub }, i, 0);
            Assert.Equal((question.Context, question.Choices, question.Right), (other.Context, other.Choices, other.Right),
                (a, b) => a.Context == b.Context && a.Choices.SequenceEqual(b.Choices) && a.Right.SequenceEqual(b.Right));
        }
    }

    [Fact, Trait("speed", "slow")]
    public void Every_published_solution_of_humaneval_passes_its_tests_and_an_empty_one_fails() => HumanEval(Rows("human-eval",
        "HumanEval.jsonl.gz").ToArray());

    [Fact]
    public void Some_published_solutions_of_humaneval_pass_their_tests() =>
        HumanEval([.. Rows("human-eval", "HumanEval.jsonl.gz").Where((_, i) => i is 0 or 63 or 130)]);

    private static void HumanEval(SourceRow[] rows)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() && File.Exists("/usr/bin/python3"), "no python3");
        var task = BuiltInTasks.Find("humaneval", _ => { });
        var maker = new QuestionMaker(task, [], true, 1);
        var questions = rows.Select((row, i) => maker.Question(row, i, 0)).ToArray();
        using var measures = new AnswerMeasures(task with { Metrics = [new("pass@k") { K = [1, 3] }] });
        // One right in three: pass@1 = 1/3, pass@3 = 1. The second is right as a fenced block that defines the function again.
        var found = measures.Of(questions, [.. rows.Select((row, i) =>
        {
            var solution = row.Value.GetProperty("canonical_solution").GetString()!;
            return (IReadOnlyList<string>)[i % 2 == 0 ? solution
                : $"Here it is:\n```python\n{row.Value.GetProperty("prompt").GetString()}{solution}```\n", "    pass\n", ""];
        })], default);
        Assert.All(found, row => Assert.Equal([1.0 / 3, 1], row.Select(measure => Math.Round(measure.Values[0], 12)),
            (a, b) => Math.Abs(a - b) < 1e-9));
    }

    private static IEnumerable<SourceRow> Rows(params string[] parts) =>
        Dataset.Open(new DatasetSpec { Id = SharedFiles.Need(["data", .. parts]) }).Read();
}
