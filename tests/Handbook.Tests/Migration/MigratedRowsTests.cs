using Handbook.Data;
using Handbook.Data.Mixing;
using Handbook.Data.Tests;
using Handbook.Migration;
using Handbook.Recipes;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;
using Handbook.Training.Plans;

namespace Handbook.Tests.Migration;

/// <summary>A recipe that was made for a type of data set reads rows of that type, and learns the answers in them.</summary>
public sealed class MigratedRowsTests : IDisposable
{
    private const string Chosen = """
        "chosen": [{"role": "user", "content": "say x"}, {"role": "assistant", "content": "x."}],
        "rejected": [{"role": "user", "content": "say x"}, {"role": "assistant", "content": "no."}]
        """;

    private static readonly Tokenizer s_tokenizer = TextMaker.Bytes.With(null, null, ChatTemplate.ChatMl);

    private readonly TextMaker _files = new();

    // Axolotl's type, what it trains, and a row as its own reader takes it
    private static readonly (string Type, string? Rl, string Row)[] s_rows =
    [
        ("alpaca", null, """{"instruction": "say x", "input": "", "output": "x."}"""),
        ("alpaca_instruct", null, """{"instruction": "say x", "output": "x."}"""),
        ("alpaca_chat", null, """{"instruction": "say x", "input": "now", "output": "x."}"""),
        ("alpaca_w_system", null, """{"system": "be brief", "instruction": "say x", "input": "", "output": "x."}"""),
        ("alpaca_chat.load_qa", null, """{"question": "say x", "answer": "x."}"""),
        ("alpaca_chat.load_camel_ai", null, """{"message_1": "say x", "message_2": "x."}"""),
        ("alpaca_w_system.load_open_orca", null, """{"system_prompt": "be brief", "question": "say x", "response": "x."}"""),
        ("gpteacher", null, """{"instruction": "say x", "input": "", "response": "x."}"""),
        ("oasst", null, """{"INSTRUCTION": "say x", "RESPONSE": "x."}"""),
        ("summarizetldr", null, """{"article": "say x", "summary": "x."}"""),
        ("sharegpt", null, """{"conversations": [{"from": "human", "value": "say x"}, {"from": "gpt", "value": "x."}]}"""),
        ("chat_template", null, """{"messages": [{"role": "user", "content": "say x"}, {"role": "assistant", "content": "x."}]}"""),
        ("messages", null, """{"messages": [{"role": "user", "content": "say x"}, {"role": "assistant", "content": "x."}]}"""),
        ("{field_instruction: q, field_output: a}", null, """{"q": "say x", "a": "x."}"""),
        ("completion", null, """{"text": "x."}"""),
        ("pretrain", null, """{"text": "x."}"""),
        ("chatml.intel", "dpo", """{"system": "be brief", "question": "say x", "chosen": "x.", "rejected": "no."}"""),
        ("chatml.argilla", "dpo", """{"instruction": "say x", "chosen_response": "x.", "rejected_response": "no."}"""),
        ("chatml.argilla_chat", "dpo", $"{{{Chosen}}}"),
        ("chatml.icr", "dpo", """{"system": "", "input": "say x", "chosen": "x.", "rejected": "no."}"""),
        ("chatml.prompt_pairs", "dpo", """{"prompt": "say x", "chosen": "x.", "rejected": "no."}"""),
        ("chatml.ultra", "dpo", $$"""{"prompt": "say x", {{Chosen}}}"""),
        ("chat_template.default", "dpo", """
            {"messages": [{"role": "user", "content": "say x"}], "chosen": {"role": "assistant", "content": "x."},
            "rejected": {"role": "assistant", "content": "no."}}
            """),
        ("passthrough", "dpo", """{"prompt": "say x", "chosen": "x.", "rejected": "no."}"""),
        ("{field_prompt: q, field_chosen: a, field_rejected: b}", "dpo", """{"q": "say x", "a": "x.", "b": "no."}"""),
        ("chatml.argilla", "kto", """{"instruction": "say x", "completion": "x.", "label": true}"""),
        ("chatml.intel", "kto", """{"question": "say x", "completion": "x.", "label": true}"""),
        ("chatml.argilla_chat", "kto",
            """{"completion": [{"role": "user", "content": "say x"}, {"role": "assistant", "content": "x."}], "label": true}"""),
        ("chatml.prompt_pairs", "kto", """{"prompt": "say x", "completion": "x.", "label": true}"""),
        ("chatml.ultra", "kto", """{"prompt": "say x", "completion": "x.", "label": true}"""),
    ];

    public static TheoryData<string, string?> Types => [.. s_rows.Select(row => (row.Type, row.Rl))];

    [Fact]
    public void Every_type_that_is_known_has_a_row_here() =>
        Assert.Empty(AxolotlData.Types.Except(s_rows.SelectMany(row => (string[])[row.Type, row.Type.Split('.')[^1],
            $"{row.Rl}.{row.Type.Split('.')[^1]}"])));

    [Theory, MemberData(nameof(Types))]
    public void A_recipe_reads_the_rows_that_it_was_made_for(string type, string? rl)
    {
        var row = s_rows.Single(row => (row.Type, row.Rl) == (type, rl)).Row;
        Assert.Equal(["x.", "x."], Learnt(Sets((type, row)) + (rl is null ? "train_on_inputs: false\n" : $"rl: {rl}\n")));
    }

    [Fact] // one key for both: the answers of instructions and of conversations are the assistant's turns
    public void Sets_of_several_types_read_theirs()
    {
        var sets = Sets((s_rows[0].Type, s_rows[0].Row), ("chat_template\n    roles_to_train: [assistant]", s_rows[11].Row));
        Assert.Equal(["x.", "x.", "x.", "x."], Learnt(sets + "train_on_inputs: false\n"));
    }

    [Fact]
    public void Texts_beside_conversations_are_read_and_what_that_means_is_told()
    {
        var sets = Sets(("completion", """{"text": "x."}"""), ("alpaca", s_rows[0].Row));
        var learnt = Learnt(sets + "train_on_inputs: false\n", out var text);
        Assert.Equal(4, learnt.Length);
        Assert.Contains(learnt, part => part.Contains("say x"));
        Assert.Contains("  type: completion\n#        rows without turns stand beside conversations", text);
    }

    [Fact] // the labels of rows that are tokens already say what is learnt
    public void Rows_of_tokens_have_no_type() =>
        Assert.Equal(["x.", "x."],
            Learnt(Sets((null, """{"input_ids": [97, 120, 46], "labels": [-100, 120, 46]}""")) + "train_on_inputs: false\n"));

    [Theory]
    [InlineData("""{"file_name": "rows.json"}""", """{"instruction": "say x", "input": "", "output": "x."}""")]
    [InlineData("""{"file_name": "rows.json", "columns": {"prompt": "q", "response": "a"}}""", """{"q": "say x", "a": "x."}""")]
    [InlineData("""{"file_name": "rows.json", "formatting": "sharegpt"}""",
        """{"conversations": [{"from": "human", "value": "say x"}, {"from": "gpt", "value": "x."}]}""")]
    [InlineData(
        """{"file_name": "rows.json", "formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": {"role_tag": "role"}}""",
        """{"messages": [{"role": "user", "content": "say x"}, {"role": "assistant", "content": "x."}]}""")]
    public void A_set_of_LLaMA_Factory_is_read_as_its_index_says(string info, string row)
    {
        _files.Write("rows.json", $"[{row}]");
        _files.Write("dataset_info.json", $$"""{"mine": {{info}}}""");
        Assert.Equal(["x."],
            Learnt($"model_name_or_path: m\nstage: sft\nfinetuning_type: full\ndataset: mine\ndataset_dir: {_files.Folder}\n"));
    }

    public void Dispose() => _files.Dispose();

    private string Sets(params (string? Type, string Row)[] sets) => "base_model: m\nmicro_batch_size: 2\ndatasets:\n"
        + string.Concat(sets.Select((set, i) => $"  - path: {_files.Write($"{i}.jsonl", string.Concat(Enumerable.Repeat(set.Row.ReplaceLineEndings("") + "\n", 2)))}\n"
            + (set.Type is null ? "" : $"    type: {set.Type}\n")));

    private string[] Learnt(string settings) => Learnt(settings, out _);

    /// <summary>The texts that carry loss, without what the template puts behind an answer.</summary>
    private string[] Learnt(string settings, out string text)
    {
        var migrated = RecipeMigration.Of(_files.Write("c.yml", settings), "mine.yaml");
        text = migrated.Text;
        var recipe = Recipe.Load(_files.Write("mine.yaml", text), migrated.Method);
        using var data = TrainingData.Load(RowPlan.Options(recipe, s_tokenizer) with { Cache = _files.Cache },
            cancel: TestContext.Current.CancellationToken);
        return [.. Enumerable.Range(0, data.Train.Count).Select(i => data.Train.Read(i)).Select(row => TextMaker.Bytes.Decode(
            [.. row.Segments.Where(part => part.Role is SegmentRole.Row or SegmentRole.Chosen)
                .SelectMany(part => part.Ids.ToArray().Where((id, at) => part.Loss.Span[at] == 1 && id < 256))])
            .Replace("<|im_end|>", "").Trim())];
    }
}
