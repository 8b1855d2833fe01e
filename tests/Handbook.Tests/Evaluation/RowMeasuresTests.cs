using System.Text.Json;
using System.Text.RegularExpressions;
using Handbook.Evaluation;

namespace Handbook.Tests.Evaluation;

public sealed class RowMeasuresTests
{
    [Fact]  // log p: −4, −2, −9 of answers of 8, 2 and 10 characters: the second is likeliest, the first per character (−0.5, −1, −0.9)
    public void Choices_are_made_by_probability_and_per_character()
    {
        var question = Question(["eight888", "ab", "ten1010101"], [0]);
        var measures = RowMeasures.Choice([new("acc"), new("acc_norm")], question, [new(-4, false), new(-2, false), new(-9, false)]).ToArray();
        Assert.Equal([0.0, 1.0], measures.Select(measure => measure.Values[0]));
    }

    [Fact]  // an answer of four Chinese characters is twelve bytes
    public void Bytes_and_characters_differ_where_letters_are_wide()
    {
        var question = Question(["北京上海", "abcde"], [0]);
        var measures = RowMeasures.Choice([new("acc_norm"), new("acc_bytes")], question, [new(-6, false), new(-5, false)]).ToArray();
        Assert.Equal([0.0, 1.0], measures.Select(measure => measure.Values[0]));
    }

    [Fact]  // p: 0.2, 0.1 right; 0.3 wrong: 0.3 / 0.6
    public void Mc2_is_the_share_of_the_right_answers_probability()
    {
        var question = Question(["a", "b", "c"], [0, 1]);
        var measure = RowMeasures.Choice([new("mc2")], question,
            [new(Math.Log(0.2), false), new(Math.Log(0.1), false), new(Math.Log(0.3), false)]).Single();
        Assert.Equal(0.5, measure.Values[0], 12);
    }

    [Theory]
    [InlineData(1, 10, 3, 0.3)]             // the share itself
    [InlineData(2, 4, 1, 0.5)]              // 1 − C(3,2)/C(4,2) = 1 − 3/6
    [InlineData(3, 5, 2, 0.9)]              // 1 − C(3,3)/C(5,3) = 1 − 1/10
    [InlineData(3, 5, 3, 1.0)]              // two wrong ones cannot fill three places
    [InlineData(5, 5, 0, 0.0)]
    public void Pass_at_k_is_the_unbiased_estimate(int k, int n, int c, double expected) =>
        Assert.Equal(expected, RowMeasures.PassAt(k, n, c), 12);

    [Fact]  // two texts: log p −10 over 4 words and −20 over 6: e^(30/10); bits 30 / (2·50·ln 2)
    public void Perplexity_is_weighted_by_what_the_texts_hold()
    {
        double[][] words = [[-10, 4], [-20, 6]], bytes = [[-10, 40], [-20, 60]];
        Assert.Equal(Math.Exp(3), RowMeasures.Measure("word_perplexity", words, 1).Value, 10);
        Assert.Equal(0.3 / Math.Log(2), RowMeasures.Measure("bits_per_byte", bytes, 1).Value, 10);
        Assert.Equal(4.0, RowMeasures.Rolling([new("word_perplexity")], "one two\nthree  four", -1).Single().Values[1]);
    }

    [Fact]  // Wilson for 7 of 10: (0.7 + 0.19207 ± 1.95996·√(0.021 + 0.0096)) / 1.38415 = 0.3968 … 0.8922
    public void A_share_has_its_wilson_interval()
    {
        var value = ConfidenceInterval.Wilson(7, 10);
        Assert.Equal((0.7, 0.3968, 0.8922), (value.Value, Math.Round(value.Low, 4), Math.Round(value.High, 4)));
        Assert.Equal(0, ConfidenceInterval.Wilson(0, 20).Low, 12);
        Assert.Equal(Math.Sqrt(0.7 * 0.3 / 9), value.StandardError, 12);         // the deviation of 0s and 1s over √n
    }

    [Fact]  // the mean of 400 values of a die has the standard error 1.708/20 = 0.0854: ±0.167
    public void A_bootstrap_interval_is_as_wide_as_theory_says_and_the_same_each_time()
    {
        var random = new Random(5);
        var values = Enumerable.Range(0, 400).Select(_ => random.Next(1, 7) + 0.0).ToArray();
        var value = ConfidenceInterval.Mean(values, seed: 9);
        Assert.InRange((value.High - value.Low) / 2, 0.13, 0.21);
        Assert.InRange(value.Value, value.Low, value.High);
        Assert.InRange(value.StandardError, 0.075, 0.095);
        Assert.Equal(value, ConfidenceInterval.Mean(values, seed: 9));
    }

    [Theory]
    [InlineData("The answer is #### 1,234.", "strict", "1,234.")]
    [InlineData("no mark", "strict", "[invalid]")]
    [InlineData("first 12 then $30", "last", "$30")]
    public void Filters_find_what_a_pattern_names(string answer, string which, string expected)
    {
        AnswerFilter step = which == "strict" ? new(FilterKind.Regex) { Pattern = new Regex(@"#### (-?[0-9.,]+)") }
            : new(FilterKind.Regex) { Pattern = new Regex(@"(-?[$0-9.,]{2,})|(-?[0-9]+)"), Select = -1 };
        Assert.Equal([expected], new FilterPipeline("f", [step, new(FilterKind.TakeFirst)]).Apply([answer, "other"]));
    }

    [Fact]
    public void Filters_vote_map_and_trim()
    {
        Assert.Equal(["b"], new FilterPipeline("f", [new(FilterKind.RemoveWhitespace), new(FilterKind.Lowercase), new(FilterKind.MajorityVote)])
            .Apply(["a", " B", "b"]));
        Assert.Equal(["1", "?"], new FilterPipeline("f", [new(FilterKind.TakeFirstK) { Count = 2 },
            new(FilterKind.Map) { Map = new Dictionary<string, string> { ["A"] = "1" }, Fallback = "?" }]).Apply(["A", "B", "A"]));
    }

    [Fact]
    public void What_a_metric_ignores_makes_no_difference()
    {
        var metric = new TaskMetric("exact_match") { IgnoreCase = true, IgnorePunctuation = true, Ignored = [new Regex("(?s).*#### ")] };
        Assert.True(RowMeasures.Equal(metric, "paris!", "reasons …\n#### Paris"));
        Assert.False(RowMeasures.Equal(new("exact_match"), "paris", "Paris"));
    }

    private static TaskQuestion Question(string[] choices, int[] right) => new()
    {
        Number = 0,
        Place = "here",
        Row = JsonSerializer.SerializeToElement(new { }),
        Choices = choices,
        Right = right,
    };
}
