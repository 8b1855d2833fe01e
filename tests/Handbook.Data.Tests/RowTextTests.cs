
namespace Handbook.Data.Tests;

public sealed class RowTextTests
{
    [Fact]
    public void Runs_part_what_carries_loss_from_what_does_not()
    {
        // "é" is two tokens: it stands with the second.
        var row = TokenRow.Single([.. System.Text.Encoding.UTF8.GetBytes("ab é").Select(b => (int)b), 256], [1, 1, 0, 0, 1, 1]);
        Assert.Equal([new(0, "a", false, 1), new(0, "b", true, 1), new(0, " ", false, 2), new(0, "é<end>", true, 2)],
            RowText.Runs(row, TextMaker.Bytes));
        Assert.Equal([new(0, "a", false, 1), new(0, "b", true, 1)], RowText.Runs(row, TextMaker.Bytes, longest: 2));
    }

    [Fact]
    public void Runs_of_segments_are_apart()
    {
        var row = new TokenRow
        {
            Segments = [new(SegmentRole.Row, -1, new[] { 97 }, new byte[] { 0 }),
            new(SegmentRole.Row, -1, new[] { 98, 99 }, new byte[] { 0, 0 })]
        };
        Assert.Equal([new(0, "a", false, 1), new(1, "bc", false, 2)], RowText.Runs(row, TextMaker.Bytes));
    }

    [Fact]
    public void Lengths_are_counted_in_ranges_that_cover_all()
    {
        var rows = new TokenRowList([.. Enumerable.Range(1, 100).Select(i => TokenRow.Single(new int[i], new byte[i]))]);
        var lengths = LengthStatistics.Of(rows);
        Assert.Equal((100, 1, 50.5, 51, 95, 100),
            (lengths.Count, lengths.Shortest, lengths.Mean, lengths.Median, lengths.Percentile95, lengths.Longest));
        Assert.Equal(Enumerable.Range(0, 10).Select(i => ((10 * i) + 1, (10 * i) + 10, 10)), lengths.Bars);
        Assert.Equal(0, LengthStatistics.Of(new TokenRowList([])).Count);
        var two = LengthStatistics.Of(new TokenRowList([.. new[] { 5, 9 }.Select(i => TokenRow.Single(new int[i], new byte[i]))]));
        Assert.Equal((9, 9), (two.Median, two.Percentile95));       // one of two rows is not 95 %
        Assert.Equal([(4, 4, 1)], LengthStatistics.Of(new TokenRowList([TokenRow.Single(new int[4], new byte[4])])).Bars);
    }
}
