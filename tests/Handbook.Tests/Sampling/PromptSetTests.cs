using Handbook.Base;
using Handbook.Recipes;
using Handbook.Runs;
using Handbook.Testing;
using Handbook.Training.Methods;

namespace Handbook.Tests.Sampling;

public sealed class PromptSetTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Rows_without_the_column_of_right_answers_are_told_with_the_columns_they_have()
    {
        var problem = Assert.Throws<InputException>(() => Load("""{"prompt": "2 + 2?", "result": "4"}""", "reference_column: solution"));
        Assert.StartsWith("2 of 2 rows cannot be asked (5 % may be unusable):\n    2 × no right answer, e.g. ",
            problem.What.Replace("5%", "5 %", StringComparison.Ordinal));
        Assert.EndsWith("rows.jsonl:1: solution, which reference_column names, holds no text or number; the row has prompt, result",
            problem.What);
        Assert.StartsWith("name the column with the right answers in reference_column", problem.Fix);
    }

    [Fact]
    public void A_scorer_that_compares_needs_right_answers()
    {
        var problem = Assert.Throws<InputException>(() => Load("""{"prompt": "2 + 2?", "result": "4"}"""));
        Assert.EndsWith("rows.jsonl:1: exact_match compares with the right answer, but the row has none", problem.What);
        Assert.Equal(["4", "4"],
            Load("""{"prompt": "2 + 2?", "result": 4}""", "reference_column: result").Prompts.Select(prompt => prompt.Expected));
    }

    [Fact]
    public void A_right_answer_without_a_number_is_told_before_anything_is_sampled()
    {
        var problem = Assert.Throws<InputException>(() => Load("""{"prompt": "2 + 2?", "answer": "four"}""", "reward_funcs: number_match"));
        Assert.EndsWith("rows.jsonl:1: number_match: the right answer holds no number: \"four\"", problem.What);
        var rows = new StringWriter();
        for (var i = 0; i < 100; i++)
            rows.WriteLine($$"""{"prompt": "2 + 2?", "answer": "{{(i == 90 ? "four" : "4")}}"}""");
        File.WriteAllText(_folder["rows.jsonl"], rows.ToString());
        File.WriteAllText(_folder["r.yaml"], $"model_name_or_path: m\ndataset_name: {_folder["rows.jsonl"]}\nreward_funcs: number_match\n");
        Assert.True(Recipe.Load(new FileInfo(_folder["r.yaml"]), [], TrainingMethod.Grpo).TryGet(out var grpo, out var diagnostics),
            diagnostics.ToString());
        Assert.EndsWith("rows.jsonl:91: number_match: the right answer holds no number: \"four\"",
            Assert.Single(Handbook.Runs.RecipeProbe.Of(grpo).Problems).Problem.What);
        Assert.Equal(2, Load("""{"prompt": "2 + 2?", "answer": "#### ４"}""", "reward_funcs: number_match").Prompts.Count);
    }

    [Fact]
    public void Rows_without_a_prompt_are_told_with_the_columns_they_have()
    {
        var problem = Assert.Throws<InputException>(() => Load("""{"ask": "2 + 2?", "answer": "4"}"""));
        Assert.Contains("has the columns ask, answer, but wanted are prompt, ", problem.What);
        Assert.Equal("column_mapping: {prompt: ask}", problem.Fix);
        Assert.Equal(2, Load("""{"ask": "2 + 2?", "answer": "4"}""", "column_mapping: {prompt: ask}").Prompts.Count);
    }

    [Fact]
    public void A_system_prompt_that_rows_have_no_place_for_is_counted() =>
        Assert.Contains("note: 2 rows: the conversation has a system turn of its own, and system_prompt is not put before it, e.g. ",
            Assert.Single(Load("""{"messages": [{"role": "system", "content": "own"}, {"role": "user", "content": "2 + 2?"}], "answer": 4}""",
                "system_prompt: Be brief.").Remarks));

    private PromptSet Load(string row, string line = "")
    {
        File.WriteAllText(_folder["rows.jsonl"], row + "\n" + row + "\n");
        File.WriteAllText(_folder["r.yaml"], $"model_name_or_path: "
            + $"m\ndataset_name: {_folder["rows.jsonl"]}\n{(line.StartsWith("reward_funcs", StringComparison.Ordinal) ? "" : "reward_funcs: exact_match\n")}{line}\n");
        var loaded = Recipe.Load(new FileInfo(_folder["r.yaml"]), [], TrainingMethod.RejectionSample);
        Assert.True(loaded.TryGet(out var recipe, out var diagnostics), diagnostics.ToString());
        return PromptSet.Load(recipe);
    }
}
