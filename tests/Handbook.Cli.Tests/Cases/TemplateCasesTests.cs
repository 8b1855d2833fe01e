namespace Handbook.Cli.Tests.Cases;

/// <summary>What the shared cases about chat templates must give.</summary>
[Trait("kind", "golden")]
[Trait("needs", "shared")]
public sealed class TemplateCasesTests
{
    [Fact, Case("05-deep-arguments-crash")]
    public void Case_05_deep_arguments_crash_both_layouts_are_read() => Assert.Equal([0, 0], CaseRun.Of("05-deep-arguments-crash").Codes);

    [Fact, Case("06-mask-final-answer-lost")]
    public void Case_06_mask_final_answer_lost_the_final_answer_is_learnt_with_its_end() =>
        Assert.Contains("ANSONE<|END_RESPONSE|><|END_OF_TURN_TOKEN|>]", Blankless("06-mask-final-answer-lost"));

    [Fact, Case("07-mask-end-of-turn-lost")]
    public void Case_07_mask_end_of_turn_lost_every_answer_is_learnt_with_the_end_of_its_turn()
    {
        var text = Blankless("07-mask-end-of-turn-lost");
        Assert.Contains("[ANSONE<|END_RESPONSE|><|END_OF_TURN_TOKEN|>]", text);
        Assert.Contains("[ANSTWO<|END_RESPONSE|><|END_OF_TURN_TOKEN|>]", text);
    }

    [Fact, Case("08-mask-generation-in-macro")]
    public void Case_08_mask_generation_in_macro_what_the_macro_marks_is_learnt()
    {
        var text = Blankless("08-mask-generation-in-macro");
        Assert.Contains("[cold<|im_end|>]", text);
        Assert.Contains("[small<|im_end|>]", text);
    }

    [Fact, Case("11-mask-tool-result-in-loss")]
    public void Case_11_mask_tool_result_in_loss_results_are_outside_of_every_bracket()
    {
        var outside = System.Text.RegularExpressions.Regex.Replace(Assert.Single(CaseRun.Of("11-mask-tool-result-in-loss").Rows),
            @"\[[^\[\]]*\]", "");
        Assert.Contains("RESONE", outside);
        Assert.DoesNotContain("ANSONE", outside);
    }

    [Fact, Case("12-mask-without-end-token")]
    public void Case_12_mask_without_end_token_is_warned_of() =>
        Assert.Contains("no token that ends an answer carries loss", CaseRun.Of("12-mask-without-end-token").Text);

    [Fact, Case("13-content-null-refused")]
    public void Case_13_content_null_refused_the_row_renders() =>
        Assert.Contains("It rains.", Assert.Single(CaseRun.Of("13-content-null-refused").Rows));

    [Fact, Case("14-nulls-dropped")]
    public void Case_14_nulls_dropped_nulls_are_rendered_in_both_rows()
    {
        var rows = CaseRun.Of("14-nulls-dropped").Rows;
        Assert.Equal(2, rows.Count);
        Assert.All(rows, row =>
        {
            Assert.Contains("\"default\": null, \"const\": null", row);
            Assert.Contains("\"unit\": null", row);
        });
    }

    [Fact, Case("15-arguments-as-json-text")]
    public void Case_15_arguments_as_json_text_are_an_object_to_both_templates()
    {
        var text = CaseRun.Of("15-arguments-as-json-text").Text;
        Assert.Contains("\"arguments\": {\"city\": \"Oslo\"}", text);
        Assert.DoesNotContain("\\\"city\\\"", text);
        Assert.Contains("<parameter=city>\nOslo\n</parameter>", text);
    }

    [Fact, Case("16-content-parts-joined")]
    public void Case_16_content_parts_joined_training_renders_what_template_render_does()
    {
        var text = CaseRun.Of("16-content-parts-joined").Text;
        Assert.Equal(3, text.Split("part one\npart two").Length);
        Assert.Equal(3, text.Split("User: part onepart two").Length);
    }

    [Fact, Case("17-tool-use-template-ignored")]
    public void Case_17_tool_use_template_ignored_the_template_for_tools_is_taken()
    {
        var row = Assert.Single(CaseRun.Of("17-tool-use-template-ignored").Rows);
        Assert.Contains("\"description\": \"W\"", row);
        Assert.Contains("\"name\": \"f\"", row);
    }

    [Fact, Case("18-no-default-template")]
    public void Case_18_no_default_template_is_refused_with_the_names_there_are() =>
        Assert.Contains("the tokenizer has several chat templates (chat, tool_use), and none is called default",
            CaseRun.Of("18-no-default-template").Text);

    [Fact, Case("19-tool-calls-not-rendered")]
    public void Case_19_tool_calls_not_rendered_the_row_is_left_out_and_what_is_missing_told()
    {
        var text = CaseRun.Of("19-tool-calls-not-rendered").Text;
        Assert.Contains("1 × empty answer", text);
        Assert.Contains("the chat template leaves out tools", text);
    }

    [Fact, Case("32-mask-refused-for-tool-chats")]
    public void Case_32_mask_refused_for_tool_chats_calls_and_answers_are_learnt()
    {
        var row = Blankless("32-mask-refused-for-tool-chats");
        Assert.Contains("[<tool_call>{\"name\":\"weather\",\"arguments\":{\"city\":\"ARGONE\"}}</tool_call><|im_end|>]", row);
        Assert.Contains("[ANSONE<|im_end|>]", row);
        Assert.Contains("ANSTWO<|im_end|>]", row);
    }

    /// <summary>What a case printed, without the blanks that its tokenizer of pieces sets before words.</summary>
    private static string Blankless(string folder) => string.Concat(CaseRun.Of(folder).Text.Where(letter => !char.IsWhiteSpace(letter)));
}
