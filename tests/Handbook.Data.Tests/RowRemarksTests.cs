using System.Text.Json;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Data.Tokenizing;
using Handbook.Testing;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;

namespace Handbook.Data.Tests;

public sealed class RowRemarksTests
{
    private const string Behind = "{% for message in messages %}{{ message['content'] + eos_token }}{% endfor %}";

    // their added tokens are normalized: "</s>" is one token at the beginning of a text or behind a blank, and pieces behind a word
    [Theory]
    [InlineData("models", "tinystories-656k", Behind, true)]
    [InlineData("models", "tinystories-656k", "{{ messages[0]['content'] }}", false)]
    [InlineData("tokenizers", "llama2", Behind, true)]
    [InlineData("tokenizers", "llama2", "{% for message in messages %}{{ message['content'] + ' ' + eos_token }}{% endfor %}", false)]
    [InlineData("tokenizers", "qwen2.5", Behind, false)]
    [InlineData("tokenizers", "llama3", Behind, false)]
    public void An_end_token_that_is_split_where_it_stands_is_told(string kind, string name, string template, bool told)
    {
        var tokenizer = Tokenizer.Load(SharedFiles.Need(kind, name)).With(chatTemplate: template);
        Assert.NotNull(tokenizer.EosId);
        var end = tokenizer.SpecialTokens["eos_token"];
        var chat = new Conversation
        {
            Messages = JsonSerializer.SerializeToElement(new[] { new { role = "user", content = "Once" },
            new { role = "assistant", content = "there was." } })
        };
        var said = ChatRemarks.SplitEnd(tokenizer, new ChatRowEncoder(tokenizer, ChatTemplate.Parse(template, "chat_template")), chat);
        if (told)
            Assert.Contains($"splits into {tokenizer.Encode("Once" + end, addSpecialTokens: false).Length - tokenizer.Encode("Once", addSpecialTokens: false).Length} pieces", said);
        else
            Assert.Null(said);
    }

    [Theory]
    [InlineData(null, true)]
    [InlineData("preference", false)]       // read: nothing to tell
    public void A_column_of_verdicts_that_is_not_read_is_told(string? mapped, bool told)
    {
        using var folder = new TemporaryFolder();
        var file = Path.Combine(folder.Path, "rows.jsonl");
        File.WriteAllText(file, """{"instruction": "1 + 1?", "output_1": "2", "output_2": "3", "preference": 1}""" + "\n"
            + """{"instruction": "1 + 2?", "output_1": "2", "output_2": "3", "preference": 2}""" + "\n");
        var mapping = new Dictionary<string, string> { ["prompt"] = "instruction", ["chosen"] = "output_1", ["rejected"] = "output_2" };
        if (mapped is not null)
            mapping["preference"] = mapped;
        var spec = new DatasetSpec { Id = file, ColumnMapping = mapping };
        var source = Dataset.Open(spec);
        Assert.Equal(told, RowReader.For(source, spec, RowUse.Preferences).IgnoresPreference);
    }

    private const string Turn = "<|{{ m.role }}|>{{ m.content or '' }}";

    [Theory]
    [InlineData("{% for m in messages %}" + Turn + "\n{% endfor %}", LossScope.Automatic, "no token that ends an answer carries loss")]
    [InlineData("{% for m in messages %}" + Turn + "{{ eos_token }}\n{% endfor %}", LossScope.Automatic, null)]
    [InlineData("{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ "
        + "m.content }}{% endif %}{{ eos_token }}{% endfor %}", LossScope.Automatic, null)]
    [InlineData("{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ "
        + "m.content }}{% endif %}{{ eos_token }}{% endfor %}", LossScope.Assistant, "no token that ends an answer carries loss")]
    [InlineData("{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}{% "
        + "else %}{{ m.content }}{% endif %}{% endfor %}", LossScope.Assistant, null)]
    [InlineData("{% for m in messages %}<|im_start|>" + Turn + "<|im_end|>\n{% endfor %}", LossScope.Automatic,
        "the chat template writes <|im_start|>, <|im_end|>, which this tokenizer splits into pieces")]
    public void Case_12_mask_without_end_token_answers_without_a_learnt_end_are_told(string template, LossScope loss, string? told)
    {
        var remarks = Remarks(template, loss,
            """{"messages": [{"role": "user", "content": "hot?"}, {"role": "assistant", "content": "cold"}]}""");
        if (told is null)
            Assert.Empty(remarks);
        else
            Assert.Contains(told, Assert.Single(remarks));
    }

    [Fact]
    public void Words_of_the_assistant_outside_of_every_generation_block_are_told() =>
        Assert.EndsWith("leave out words of the assistant, which carry no loss (in the one conversation)",
            Remarks("{% for m in messages %}{% if m.role == 'assistant' and loop.last %}{% generation %}{{ m.content }}{{ eos_token }}{% "
                + "endgeneration %}{% else %}{{ m.role }}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}", LossScope.Assistant,
                """{"messages": [{"role": "user", "content": "hot?"}, {"role": "assistant", "content": "cold"}, {"role": "user", "content": "big?"}, {"role": "assistant", "content": "small"}]}""").Single());

    [Fact]
    public void Case_19_tool_calls_not_rendered_what_the_template_leaves_out_is_told()
    {
        var remarks = Remarks("{% for m in messages %}" + Turn + "{{ eos_token }}{% endfor %}", LossScope.Automatic,
            """{"messages": [{"role": "user", "content": "rain?"}, {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}, {"role": "assistant", "content": "It rains."}], "tools": [{"name": "f"}]}""",
            """{"messages": [{"role": "user", "content": "rain?"}, {"role": "assistant", "content": "yes"}]}""");
        Assert.EndsWith("the chat template leaves out tools (in 1 of 2 conversations), tool_calls (in 1 of 2 conversations)",
            Assert.Single(remarks));
    }

    private const string Known = "{% for m in messages %}{% if m.role == 'user' %}Q {{ m.content }}{% elif m['role'] == \"assistant\" %}A {{ m.content }}"
        + "{{ eos_token }}{% endif %}{% endfor %}";

    [Theory]
    [InlineData("User", "Assistant", "roles User, Assistant; wanted are user, assistant; did you mean user, assistant?")]
    [InlineData("human", "gpt", "roles human, gpt; wanted are user, assistant; did you mean user, assistant?")]
    [InlineData("user", "asistant", "role asistant; wanted are user, assistant; did you mean assistant?")]
    [InlineData("user", "narrator", "role narrator; wanted are user, assistant")]
    [InlineData("user", "assistant", null)]
    [InlineData("user", "tool", null)]                      // what a template leaves out of a known role is its choice
    public void Turns_of_a_role_that_the_template_does_not_know_make_a_row_unusable(string first, string second, string? told)
    {
        var problem = Problem(Known, $$"""{"messages": [{"role": "{{first}}", "content": "hot?"}, {"role": "{{second}}", "content": "cold"}]}""");
        Assert.Equal((told is null ? null : "turns of a role that the chat template leaves out", told), (problem?.Reason, problem?.Detail));
        Assert.Equal(told is not null, problem?.Fix?.StartsWith("write the roles as the chat template knows them", StringComparison.Ordinal) == true);
    }

    [Fact]
    public void A_role_of_its_own_that_the_template_writes_is_good() =>
        Assert.Null(Problem("{% for m in messages %}" + Turn + "{{ eos_token }}{% endfor %}",
            """{"messages": [{"role": "narrator", "content": "hot?"}, {"role": "bot", "content": "cold"}]}"""));

    [Theory]
    [InlineData("", "")]
    [InlineData(" \\n", "it is blanks alone")]
    public void A_completion_that_says_nothing_is_empty(string completion, string detail)
    {
        var problem = Problem(Known, $$"""{"prompt": "hot? ", "completion": "{{completion}}"}""");
        Assert.Equal(("empty completion", detail), (problem?.Reason, problem?.Detail));
    }

    private static RowProblem? Problem(string template, string row)
    {
        using var files = new TextMaker();
        var tokenizer = TextMaker.Bytes.With(chatTemplate: template);
        var spec = new DatasetSpec { Id = files.Write("rows.jsonl", row + "\n") };
        var source = Dataset.Open(spec);
        var rows = new RowTokenizer(RowReader.For(source, spec, RowUse.FineTuning), tokenizer,
            new(tokenizer, ChatTemplate.Of(tokenizer, "chat_template")), new());
        rows.Tokenize(source.Read().Single().Value, out var problem, out _);
        return problem;
    }

    [Fact]
    public void A_null_that_the_template_writes_as_a_word_is_told() =>
        Assert.EndsWith("the chat template writes the word None for a content that is null (in the one conversation)",
            Remarks("{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.name }}{% endfor %}{{ eos_token "
                + "}}{% endfor %}", LossScope.Automatic,
                """{"messages": [{"role": "user", "content": "rain?"}, {"role": "assistant", "content": null, "tool_calls": [{"name": "f"}]}]}""").Single());

    [Theory]
    [InlineData(15, "tools (in 15 of 15 conversations)")]
    [InlineData(40, "tools (in 16 of the first 16 conversations; no others were looked at)")]
    public void Counts_of_the_first_conversations_alone_say_so(int rows, string said) =>
        Assert.EndsWith($"the chat template leaves out {said}",
            Remarks("{% for m in messages %}" + Turn + "{{ eos_token }}{% endfor %}", LossScope.Automatic,
            [.. Enumerable.Repeat(
                """{"messages": [{"role": "user", "content": "rain?"}, {"role": "assistant", "content": "yes"}], "tools": [{"name": "f"}]}""", rows)]).Single());

    [Theory]
    [InlineData("rows.parquet", "dataset_encoding latin1 is not read: texts in files of the format Parquet are UTF-8",
        "sample_by paragraph is not read: files of the format Parquet have rows of their own")]
    [InlineData("rows.arrow", "dataset_encoding latin1 is not read: texts in files of the format Arrow are UTF-8",
        "sample_by paragraph is not read: files of the format Arrow have rows of their own")]
    [InlineData("rows.jsonl", "sample_by paragraph is not read: files of the format JsonLines have rows of their own")]
    [InlineData("rows.txt")]
    public void Keys_of_text_files_are_told_where_no_file_is_one(string name, params string[] told)
    {
        using var files = new TextMaker();
        var path = files.Write(name, "x");
        var spec = new DatasetSpec { Id = path, Encoding = "latin1", TextUnit = TextUnit.Paragraph };
        Assert.Equal(told.Select(line => $"note: {path}: {line}"), Dataset.Open(spec).Remarks);
        Assert.Empty(Dataset.Open(new DatasetSpec { Id = path }).Remarks);
    }

    [Fact]
    public void A_config_of_a_data_set_that_is_one_file_is_told()
    {
        using var files = new TextMaker();
        var path = files.Write("rows.txt", "x");
        Assert.Equal([$"note: {path}: the config en is not read: this is one file"],
            Dataset.Open(new DatasetSpec { Id = path, Config = "en" }).Remarks);
    }

    private static List<string> Remarks(string template, LossScope loss, params string[] rows)
    {
        using var files = new TextMaker();
        var tokenizer = TextMaker.Bytes.With(chatTemplate: template);
        var spec = new DatasetSpec { Id = files.Write("rows.jsonl", string.Join('\n', rows) + "\n") };
        var source = Dataset.Open(spec);
        var options = new TrainingDataOptions
        {
            Mixture = new() { Dialect = MixtureDialect.Single, Datasets = [spec] },
            Tokenizer = tokenizer,
            Chats = new(tokenizer, ChatTemplate.Of(tokenizer, "chat_template")),
            Rows = new() { Loss = loss },
        };
        return [.. ChatRemarks.Of(source, RowReader.For(source, spec, RowUse.FineTuning), options)];
    }
}
