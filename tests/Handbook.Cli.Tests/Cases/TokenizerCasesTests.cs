namespace Handbook.Cli.Tests.Cases;

/// <summary>Cases of a tokenizer's files.</summary>
[Trait("kind", "golden")]
[Trait("needs", "shared")]
public sealed class TokenizerCasesTests
{
    [Fact, Case("25-add-bos-eos-ignored")]
    public void The_configuration_says_which_tokens_stand_around_a_text()
    {
        var tables = CaseRun.Of("25-add-bos-eos-ignored").Text.Split("tokens, 5 characters", StringSplitOptions.RemoveEmptyEntries);
        Assert.Contains("1 <s>", tables[0]);
        Assert.DoesNotContain("</s>", tables[0]);
        Assert.Contains("2 </s>", tables[1]);
        Assert.DoesNotContain("<s>", tables[1]);
        Assert.All(tables.Take(2), table => Assert.Contains("22172 ▁hello", table));
    }

    [Fact, Case("26-added-tokens-of-the-config")]
    public void Added_tokens_of_the_configuration_are_single_tokens()
    {
        var run = CaseRun.Of("26-added-tokens-of-the-config");
        Assert.Contains("eos_token       <|im_end|>  id 32001", run.Text);
        Assert.Contains("32000 <|im_start|>  32001 <|im_end|>", run.Text);
        Assert.Contains("1 of 1 rows, 16 tokens", run.Text);
    }

    [Fact, Case("27-double-bos-in-texts")]
    public void A_text_with_a_begin_token_gets_no_second_one()
    {
        var rows = CaseRun.Of("27-double-bos-in-texts").Rows;
        Assert.Equal(2, rows.Count);
        Assert.All(rows, row => Assert.Equal(2, row.Split("<s>").Length));
        Assert.StartsWith("<s>[INST] hello there [/INST]", rows[1]);
    }
}
