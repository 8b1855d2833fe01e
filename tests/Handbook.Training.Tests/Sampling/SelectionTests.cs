using System.Text.Json;
using Handbook.Models.Generation;
using Handbook.Training.Sampling;

namespace Handbook.Training.Tests.Sampling;

public sealed class SelectionTests
{
    [Theory]
    [InlineData(SelectionRule.BestOfN, null, "-,-,trained,-"), InlineData(SelectionRule.TopK, null, "-,trained,trained,-"),
        InlineData(SelectionRule.Threshold, 0.5, "-,trained,trained,trained")]
    [InlineData(SelectionRule.BestVsWorst, null, "rejected,-,chosen,-"), InlineData(SelectionRule.BestOfN, 2.0, "-,-,-,-"),
        InlineData(SelectionRule.BestVsWorst, 2.0, "-,-,-,-")]
    public void Each_rule_takes_its_answers(SelectionRule rule, double? threshold, string uses)
    {
        var samples = Samples(("a", 0), ("b", 0.7), ("c", 1), ("d", 0.7));
        var reason = Selection.Mark(samples, new() { Select = rule, SelectThreshold = threshold, SelectK = 2 });
        Assert.Equal(uses, string.Join(',', samples.Select(sample => sample.Use ?? "-")));
        Assert.Equal(uses == "-,-,-,-", reason is not null);
        Assert.All(samples, sample => Assert.True(sample.Use is null != sample.Dropped is null));
    }

    [Fact]
    public void What_teaches_nothing_is_left_out_with_its_reason()
    {
        var samples = Samples(("a", 1), ("a", 1), (" ", 1), ("b", double.NaN), ("c", 0.2), ("d", 1));
        samples[5] = samples[5] with { Given = samples[5].Given with { Finished = false } };
        samples[5].Total = 2;
        Selection.Mark(samples, new() { Select = SelectionRule.Threshold, SelectThreshold = 0.5 });
        Assert.Equal([null, "said before", "empty", "not scored", "below select_threshold", "cut at its greatest length"],
            samples.Select(sample => sample.Dropped));
    }

    [Theory]
    [InlineData(SelectionRule.BestOfN, null, "no answer ends by itself")]
    [InlineData(SelectionRule.BestVsWorst, null, "no answer ends by itself")]
    [InlineData(SelectionRule.BestOfN, 0.5, "no answer reaches select_threshold and ends by itself")]
    public void A_threshold_is_named_where_there_is_one(SelectionRule rule, double? threshold, string reason)
    {
        var samples = Samples(("a", 1), ("b", 0.2));
        for (var i = 0; i < samples.Length; i++)
            samples[i] = samples[i] with { Given = samples[i].Given with { Finished = false } };
        Assert.Equal(reason, Selection.Mark(samples, new() { Select = rule, SelectThreshold = threshold }));
    }

    [Fact]
    public void Equal_scores_make_no_pair_and_a_margin_asks_for_more()
    {
        Assert.Equal("no pair: the scores are too close",
            Selection.Mark(Samples(("a", 1), ("b", 1)), new() { Select = SelectionRule.BestVsWorst }));
        Assert.NotNull(Selection.Mark(Samples(("a", 1), ("b", 0.6)), new() { Select = SelectionRule.BestVsWorst, SelectMargin = 0.5 }));
        Assert.Null(Selection.Mark(Samples(("a", 1), ("b", 0.4)), new() { Select = SelectionRule.BestVsWorst, SelectMargin = 0.5 }));
    }

    [Fact]
    public void Rows_have_the_layouts_that_training_reads()
    {
        var samples = Samples(("good", 1), ("bad", 0));
        Selection.Mark(samples, new() { Select = SelectionRule.BestVsWorst });
        var chat = Selection.Rows(new Prompt { Messages = JsonDocument.Parse("""[{"role":"user","content":"q"}]""").RootElement }, samples,
            textsAreTurns: false).Single();
        Assert.Equal("""{"prompt":[{"role":"user","content":"q"}],"chosen":[{"role":"assistant","content":"good"}],"rejected":[{"role":"assistant","content":"bad"}],"score_chosen":1,"score_rejected":0,"margin":1}""", chat.ToJsonString());
        Selection.Mark(samples, new());
        Assert.Equal("""{"prompt":"q","completion":"good","score":1,"sample":0}""",
            Selection.Rows(new Prompt { Text = "q" }, samples, textsAreTurns: false).First().ToJsonString());
        Assert.Equal("""{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"good"}],"score":1,"sample":0}""",
            Selection.Rows(new Prompt { Text = "q" }, samples, textsAreTurns: true).First().ToJsonString());
    }

    [Fact]
    public void Every_column_of_a_row_is_read_or_known_as_an_annotation()
    {
        string[] read = ["prompt", "completion", "messages", "chosen", "rejected"];
        foreach (var rule in Enum.GetValues<SelectionRule>())
        {
            var samples = Samples(("good", 1), ("bad", 0));
            Selection.Mark(samples, new() { Select = rule, SelectThreshold = 0 });
            foreach (var isChat in new[] { false, true })
                Assert.All(Selection.Rows(new Prompt { Text = "q" }, samples, isChat).SelectMany(row => row),
                    column => Assert.Contains(column.Key, read.Concat(Selection.Annotations)));
        }
    }

    private static RoundSample[] Samples(params (string Text, double Score)[] answers) =>
        [.. answers.Select((answer, i) => new RoundSample(0, i, new(answer.Text, true)) { Total = answer.Score })];
}
