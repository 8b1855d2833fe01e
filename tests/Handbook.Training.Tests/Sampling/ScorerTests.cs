using Handbook.Base;
using Handbook.Training.Sampling;
using Handbook.Training.Sampling.Scorers;

namespace Handbook.Training.Tests.Sampling;

public sealed class ScorerTests
{
    [Theory]
    [InlineData("Clara has a goat.", " Clara has a goat.\n", null, 1), InlineData("Clara has a dog.", "Clara has a goat.", null, 0)]
    [InlineData("Let me think. The answer is B. No: the answer is C", "C", "answer is ([A-E])", 1),
        InlineData("I do not know", "C", "answer is ([A-E])", 0)]
    [InlineData("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", "x", "^(a+)+$", 0)]       // a pattern that would run for years
    public void Exact_match_compares_the_stated_result(string answer, string reference, string? pattern, double score) =>
        Assert.Equal(score, new ExactMatchScorer(new(pattern)).Score(new() { Answer = answer, Reference = reference }).Value);

    [Theory]
    [InlineData("so 3 + 4 = 7 apples", "7", 1), InlineData("7.0", "7", 1), InlineData("it costs $1,234.50.", "1234.5", 1),
        InlineData("12", "#### 12", 1), InlineData("-5", "5", 0), InlineData("−5", "-5", 1)]
    [InlineData("10-3", "3", 1), InlineData("no number", "3", 0), InlineData("1, 2", "2", 1), InlineData("1e3", "1000", 1),
        InlineData("0", "-0.0", 1), InlineData("123456789012345678901234567890", "123456789012345678901234567891", 0)]
    [InlineData(".5", "0.50", 1), InlineData("v2", "2", 1), InlineData("12,5", "5", 1)]
    [InlineData("答えは１８です", "18", 1), InlineData("٥", "5", 1), InlineData("१२३", "123", 1), InlineData("答えは－３．５", "-3.5", 1),
        InlineData("答えは-5です", "-5", 1), InlineData("５", "5", 1), InlineData("1e999999999999", "3", 0)]
    [InlineData("𝟏𝟖", "18", 1), InlineData("x² is 4", "4", 1), InlineData("１，２３４", "1234", 1), InlineData("7", "７", 1),
        InlineData("größe-7", "7", 1)]
    public void Number_match_compares_the_last_numbers(string answer, string reference, double score) =>
        Assert.Equal(score, new NumberMatchScorer(new(null)).Score(new() { Answer = answer, Reference = reference }).Value);

    [Fact]
    public void No_text_stops_a_rule()
    {
        // Digits, signs and points of many scripts, lone surrogates and whatever else 16 bits hold, in every order.
        const string Likely = "0189.,-+eE −－．，٫٬٠٥९１８９()²½Ⅷ①\uD835\uDFCF\uDFD8\uD800\n```$^\\";
        var random = new Random(5);
        RuleScorer[] rules = [new ExactMatchScorer(new(null)), new ExactMatchScorer(new("is (.*)")), new NumberMatchScorer(new(null)),
            new NumberMatchScorer(new("[0-9].*")), new RegexScorer("^[a-z]+\\d"), new LengthScorer(1, 3), new FinishedScorer()];
        for (var round = 0; round < 5000; round++)
        {
            var text = string.Concat(Enumerable.Range(0, random.Next(30))
                .Select(_ => random.Next(3) > 0 ? Likely[random.Next(Likely.Length)] : (char)random.Next(char.MaxValue + 1)));
            foreach (var rule in rules)
                Assert.InRange(rule.Score(new() { Answer = text, Reference = "8" }).Value, 0, 1);
            _ = UnitTestScorer.CodeOf(text);
            if (NumberMatchScorer.LastNumber(text) is { } number)
                Assert.True(number.All(char.IsAscii), number);
        }
    }

    [Fact]
    public void A_row_without_a_right_answer_is_named()
    {
        var problem = Assert.Throws<InputException>(() =>
            new NumberMatchScorer(new(null)).Score(new() { Answer = "1", Place = "data.jsonl:7" }));
        Assert.Equal("data.jsonl:7: number_match compares with the right answer, but the row has none", problem.What);
        Assert.Contains("holds no number",
            Assert.Throws<InputException>(() => new NumberMatchScorer(new(null)).Score(new() { Answer = "1", Reference = "many" })).What);
    }

    [Fact]
    public void Rules_of_form()
    {
        Assert.Equal(1, new RegexScorer("^[A-Z].*[.]$").Score(new() { Answer = "A sentence." }).Value);
        Assert.Equal(0, new RegexScorer("^[A-Z].*[.]$").Score(new() { Answer = "no sentence" }).Value);
        Assert.Contains("without an end", new RegexScorer("^(a+)+$").Score(new() { Answer = new string('a', 40) + "!" }).Detail);
        Assert.Equal([0, 1, 1, 0],
            new[] { "", "a", "abc", "abcd" }.Select(text => new LengthScorer(1, 3).Score(new() { Answer = text }).Value));
        Assert.Equal(0, new FinishedScorer().Score(new() { Answer = "a", Finished = false }).Value);
    }

    [Theory, InlineData("Here:\n```python\nfirst\n```\nor better:\n```py\nsecond\nline\n```\nDone.", "second\nline\n"),
        InlineData("only code", "only code")]
    public void Code_is_the_last_fenced_block_or_the_whole_answer(string answer, string code) =>
        Assert.Equal(code, UnitTestScorer.CodeOf(answer));

    [Fact]
    public void A_conversation_reads_as_its_turns_and_a_single_question_as_itself()
    {
        Assert.Equal("why?", new SampledAnswer { Answer = "", Messages = Json("""[{"role":"user","content":"why?"}]""") }.PromptText());
        Assert.Equal("system: be brief\n\nuser: why?",
            new SampledAnswer
            {
                Answer = "",
                Messages = Json("""[{"role":"system","content":"be brief"},{"role":"user","content":[{"type":"text","text":"why?"}]}]""")
            }.PromptText());
    }

    private static System.Text.Json.JsonElement Json(string text) => System.Text.Json.JsonDocument.Parse(text).RootElement;
}
