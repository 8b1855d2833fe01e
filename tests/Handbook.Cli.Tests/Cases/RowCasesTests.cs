namespace Handbook.Cli.Tests.Cases;

/// <summary>Cases of rows whose columns decide what is learnt.</summary>
[Trait("kind", "golden")]
[Trait("needs", "shared")]
public sealed class RowCasesTests
{
    [Fact, Case("03-pretokenized-out-of-vocabulary")]
    public void A_token_that_the_model_does_not_know_is_refused_with_its_line_before_anything_starts()
    {
        var run = CaseRun.Of("03-pretokenized-out-of-vocabulary");
        Assert.Equal([2, 2], run.Codes);
        Assert.Equal(2, run.Text.Split("oov.jsonl:1: input_ids holds 9999999, but the model has 2048 tokens").Length - 1);
    }

    [Fact, Case("04-pretokenized-masks-ignored")]
    public void Masks_of_rows_that_come_as_tokens_say_what_is_learnt()
    {
        var run = CaseRun.Of("04-pretokenized-masks-ignored");
        Assert.Equal(2, run.Rows.Count);
        Assert.Equal(run.Rows[0], run.Rows[1]);
        Assert.Matches(@"^[^\[\]]+\[[^\[\]]+\]$", run.Rows[0]);
        Assert.EndsWith("</s>]", run.Rows[0]);
    }

    [Fact, Case("20-system-column-ignored")]
    public void A_system_column_becomes_the_first_turn()
    {
        var run = CaseRun.Of("20-system-column-ignored");
        Assert.Single(run.Rows);
        Assert.Matches("(?s)be nice.*hot\\?.*cold", run.Rows[0]);
    }

    [Fact, Case("21-history-lost-in-preferences")]
    public void A_history_stands_before_every_prompt()
    {
        var run = CaseRun.Of("21-history-lost-in-preferences");
        Assert.Equal(3, run.Rows.Count);
        Assert.All(run.Rows, row => Assert.Matches("(?s)q1.*a1.*hot\\?.*cold|(?s)q1.*a1.*hot\\?.*big", row));
    }
}
