using Handbook.Data.Mixing;
using Handbook.Data.Tokenizing;

namespace Handbook.Data.Tests.Preferences;

public sealed class AnswerLabelsTests
{
    [Theory]
    [InlineData(3, 0, "all 3 answers are desirable, and none is undesirable")]
    [InlineData(0, 2, "all 2 answers are undesirable, and none is desirable")]
    [InlineData(1, 1, null)]
    public void Answers_of_one_kind_alone_are_told(int good, int bad, string? message)
    {
        var labels = RowSurvey.Of(new TokenRowList([.. Rows(SegmentRole.Chosen, good), .. Rows(SegmentRole.Rejected, bad)]),
            new() { CountsAnswers = true }).Answers;
        Assert.Equal(new AnswerLabels(good, bad), labels);
        Assert.Equal(labels,
            RowSurvey.Of(new MismatchedRows(new TokenRowList([.. Rows(SegmentRole.Chosen, good), .. Rows(SegmentRole.Rejected, bad)]), 2),
            new() { CountsAnswers = true }).Answers);
        Assert.Equal(message is null, labels.OneSided() is null);
        Assert.StartsWith(message ?? "", labels.OneSided() ?? "");
    }

    [Theory] // 900 · 1 / (1.15 · 100) = 7.83 and 1.15 · 2 · 300 / 100 = 6.9
    [InlineData(900, 100, 1, 1, "9 to 1; the paper keeps this between 1 and 1.33: set undesirable_weight: 7.83")]
    [InlineData(100, 300, 1, 2, "0.17 to 1; the paper keeps this between 1 and 1.33: set desirable_weight: 6.9")]
    [InlineData(120, 100, 1, 1, null)]
    [InlineData(100, 100, 1, 0, null)]
    public void Weights_that_do_not_make_up_for_unequal_numbers_are_told(int good, int bad, double goodWeight, double badWeight,
        string? message)
    {
        var said = new AnswerLabels(good, bad).Unbalanced(goodWeight, badWeight);
        Assert.Equal(message is null, said is null);
        Assert.EndsWith(message ?? "", said ?? "");
    }

    private static IEnumerable<TokenRow> Rows(SegmentRole role, int count) =>
        Enumerable.Range(0, count).Select(_ => AnswerTree.Build([new(role, [5], [7, 2])]));
}
