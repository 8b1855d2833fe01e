using Handbook.Data.Mixing;

namespace Handbook.Data.Tests;

/// <summary>What a run asks of its rows at the start comes from one reading.</summary>
public sealed class RowSurveyTests
{
    [Fact]
    public void Each_row_is_read_once_whatever_is_asked()
    {
        var rows = new CountedRows(Rows(300));
        var survey = RowSurvey.Of(rows, new() { LongestText = 4, CountsAnswers = true, HasMargins = true, Digests = true });
        Assert.All(rows.Reads, count => Assert.Equal(1, count));
        Assert.Equal(new AnswerLabels(150, 150), survey.Answers);
        Assert.Equal((120, 6), (survey.TooLong, survey.Longest));      // lengths 2 to 6, of which 5 and 6 are too long
    }

    [Fact] // as itself, and as the other row whose answer stands behind its prompt
    public void Each_row_is_read_twice_where_it_gives_its_answer_to_another()
    {
        var rows = new CountedRows(Rows(300));
        RowSurvey.Of(new MismatchedRows(rows, 4), new() { LongestText = 4, CountsAnswers = true });
        Assert.All(rows.Reads, count => Assert.Equal(2, count));
    }

    [Fact]
    public void Only_samples_are_read_where_nothing_else_is_asked()
    {
        var rows = new CountedRows(Rows(1000));
        RowSurvey.Of(rows, new());
        Assert.InRange(rows.Reads.Sum(), 64, 70);
    }

    [Fact]
    public void The_key_changes_with_lengths_samples_margins_and_order()
    {
        var key = Key(Rows(100), "order");
        Assert.Equal(key, Key(Rows(100), "order"));
        Assert.NotEqual(key, Key(Rows(100), "another"));
        Assert.NotEqual(key, Key(Rows(99), "order"));
        Assert.NotEqual(key, Key(Rows(100, first: 8), "order"));
        Assert.NotEqual(key, Key(Rows(100, margin: 1), "order"));

        static string Key(ITokenRows rows, string order) => RowSurvey.Of(rows, new() { HasMargins = true }).Key(order);
    }

    [Fact]
    public void The_content_of_rows_is_that_of_their_tokens_in_their_order()
    {
        var survey = RowSurvey.Of(Rows(100), new() { Digests = true });
        Assert.Equal(survey.ContentOf(), survey.ContentOf([.. Enumerable.Range(0, 100)]));
        Assert.Equal(survey.ContentOf([3, 5]), RowSurvey.Of(Rows(6), new() { Digests = true }).ContentOf([3, 5]));
        string[] others = [survey.ContentOf(), survey.ContentOf([3, 5]), survey.ContentOf([5, 3]), survey.ContentOf([3]),
            RowSurvey.Of(Rows(100, first: 8), new() { Digests = true }).ContentOf([3, 5])];
        Assert.Equal(others.Length, others.Distinct().Count());
        Assert.Throws<InvalidOperationException>(() => RowSurvey.Of(Rows(100), new()).ContentOf([3]));
    }

    private static TokenRowList Rows(int count, int first = 7, double margin = 0) =>
        new([.. Enumerable.Range(0, count).Select(i => new TokenRow
    {
        Segments = [new(i % 2 == 0 ? SegmentRole.Chosen : SegmentRole.Rejected, -1, new[] { first, i, 3, 4, 5, 6 }.AsMemory(0, 2 + (i % 5)),
            new byte[2 + (i % 5)])],
        Margin = margin,
    })]);

    private sealed class CountedRows(ITokenRows rows) : ITokenRows
    {
        public int[] Reads { get; } = new int[rows.Count];

        public int Count => rows.Count;

        public int Length(int row) => rows.Length(row);

        public int Characters(int row) => rows.Characters(row);

        public TokenRow Read(int row)
        {
            Reads[row]++;
            return rows.Read(row);
        }
    }
}
