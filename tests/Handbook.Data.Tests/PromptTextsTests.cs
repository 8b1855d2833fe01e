using Handbook.Base;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Tokenizing;

namespace Handbook.Data.Tests;

public sealed class PromptTextsTests : IDisposable
{
    private readonly TextMaker _files = new();

    public void Dispose() => _files.Dispose();

    [Theory] // before the first step, not in its midst
    [InlineData(null, "exact_match", "rows.jsonl:2: none of the columns answer, reference, solution, expected, target holds a text or a "
        + "number; the row has prompt", "exact_match compares answers with it")]
    [InlineData("result", null, "rows.jsonl:1: result, which reference_column names, holds no text or number; the row has prompt, answer",
        null)]
    public void A_right_answer_that_is_missing_is_told_at_once(string? column, string? comparer, string what, string? why)
    {
        using var data = Load();
        var problem = Assert.Throws<InputException>(() => data.Texts(data.Train, column, comparer).Require());
        Assert.EndsWith(what, problem.What);
        Assert.Equal(why, problem.Why);
    }

    [Fact]
    public void Right_answers_are_those_of_the_usual_columns_where_nobody_needs_them()
    {
        using var data = Load();
        var texts = data.Texts(data.Train, null, null);
        Assert.Equal(["1", null], Enumerable.Range(0, 2).Select(row => texts[row].Reference));
    }

    [Fact]
    public void What_a_prompt_says_is_kept_beside_its_tokens()
    {
        using var data = Load();
        File.Move(Path.Combine(_files.Folder, "rows.jsonl"), Path.Combine(_files.Folder, "rows.jsonl.moved"));
        var texts = data.Texts(data.Train, null, null);
        Assert.Equal(["a", "b"], Enumerable.Range(0, 2).Select(row => texts[row].Text));
        Assert.EndsWith("rows.jsonl:2", texts[1].Place);
    }

    private TrainingData Load() => TrainingData.Load(new()
    {
        Mixture = new()
        {
            Dialect = MixtureDialect.Single,
            Datasets = [new() { Id = _files.Write("rows.jsonl",
            """{"prompt": "a", "answer": 1}""" + "\n" + """{"prompt": "b"}""" + "\n") }]
        },
        Tokenizer = TextMaker.Bytes,
        Use = RowUse.Prompts,
        Answers = new() { Shape = AnswerShape.Prompt },
        Cache = _files.Cache,
    }, cancel: TestContext.Current.CancellationToken);
}
