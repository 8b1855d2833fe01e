namespace Handbook.Base.Tests;

public sealed class TextTableTests
{
    [Fact]
    public void Columns_begin_or_end_below_each_other_and_lines_end_without_spaces() => Assert.Equal(
        [
            "name       rows  note",
            "a             7",
            "a longer  1,234  much",
        ],
        TextTable.Lines([["name", "rows", "note"], ["a", "7", ""], ["a longer", "1,234", "much"]], right: [1]));

    [Fact]
    public void No_rows_are_no_lines() => Assert.Empty(TextTable.Lines([]));
}
