using System.Text.RegularExpressions;

namespace Handbook.Cli.Tests.Cases;

/// <summary>Cases of data files, their splits and their columns.</summary>
[Trait("kind", "golden")]
[Trait("needs", "shared")]
public sealed partial class FileCasesTests
{
    [Fact, Case("01-parquet-nan")]
    public void A_number_that_is_none_is_null_in_a_column_that_nobody_reads()
    {
        var run = CaseRun.Of("01-parquet-nan");
        Assert.Equal([0], run.Codes);
        Assert.Contains("layout PromptCompletion, 2 of 2 rows", run.Text);
        Assert.Contains("hello there", run.Rows[0]);
        Assert.Contains("[general answer", run.Rows[0]);
    }

    [Fact, Case("02-parquet-case-variants")]
    public void Names_that_differ_by_their_case_alone_stay_what_they_are()
    {
        var run = CaseRun.Of("02-parquet-case-variants");
        Assert.Equal(2, Regex.Count(run.Text, Regex.Escape("""{"id": "low", "Id": "mid", "ID": "up"}""")));
        Assert.DoesNotContain("prompt_1", run.Text);
        Assert.Contains("columns.parquet [train]: layout PromptCompletion, 1 of 1 rows", run.Text);
        Assert.Contains("columns without effect: Prompt\n", run.Text);
    }

    [Fact, Case("23-readme-configs-ignored")]
    public void The_front_matter_of_a_data_set_says_which_files_are_its_splits()
    {
        var run = CaseRun.Of("23-readme-configs-ignored");
        // ds [train] has three rows, ds [test] three (with their headings), ds2 three of its default config.
        Assert.Equal(3 + 3 + 3, run.Rows.Count);
        Assert.All(run.Rows.Take(3), row => Assert.Contains("EN ask", row));
        Assert.Contains("ds [test]: layout PromptCompletion, 3 of 3 rows", run.Text);
        Assert.All(run.Rows.Skip(3).Take(3), row => Assert.Contains("FR ask", row));
        Assert.All(run.Rows.Skip(6), row => Assert.Contains("B ask", row));
    }

    [Fact, Case("24-numbered-train-files")]
    public void Numbered_files_are_one_split()
    {
        var run = CaseRun.Of("24-numbered-train-files");
        Assert.Contains("ds [train]: layout PromptCompletion, 4 of 4 rows", run.Text);
        var second = run.Rows.TakeLast(4).ToArray();
        Assert.Equal(2, second.Count(row => row.Contains("ONE ask", StringComparison.Ordinal)));
        Assert.Equal(2, second.Count(row => row.Contains("TWO ask", StringComparison.Ordinal)));
    }

    [Fact, Case("28-json-list-named-jsonl")]
    public void A_list_is_read_as_one_whatever_its_file_is_called()
    {
        var run = CaseRun.Of("28-json-list-named-jsonl");
        Assert.Equal([0], run.Codes);
        Assert.Contains("layout PromptCompletion, 2 of 2 rows", run.Text);
        Assert.DoesNotContain("unusable", run.Text);
    }

    [Fact, Case("30-split-percent")]
    public void Percents_are_rounded_as_the_reference_rounds_them_and_an_empty_slice_is_named()
    {
        var run = CaseRun.Of("30-split-percent");
        Assert.Contains("32 of 32 rows", run.Text);
        Assert.Contains("rows.jsonl [train[100:200]]: the slice holds no row: the split has 45", run.Text);
    }

    [Fact, Case("31-csv-semicolons")]
    public void A_header_of_semicolons_is_told_as_such()
    {
        var run = CaseRun.Of("31-csv-semicolons");
        Assert.Equal([2], run.Codes);
        Assert.Contains("semi.csv:1: the header holds semicolons and no commas: prompt;completion", run.Text);
        Assert.Contains("the separator is \";\"", run.Text);
    }

    [Fact, Case("33-mixture-lists-a-file-twice")]
    public void Rows_that_are_held_out_are_never_trained_on_where_a_file_is_listed_twice()
    {
        var run = CaseRun.Of("33-mixture-lists-a-file-twice");
        Assert.Equal([0], run.Codes);
        Assert.Matches(Listed(), run.Text);
    }

    [GeneratedRegex(@"note: \S*mix\.jsonl is listed 2 times in dataset_mixture: rows of it that test_split_size holds out are left out of training wherever they stand")]
    private static partial Regex Listed();
}
