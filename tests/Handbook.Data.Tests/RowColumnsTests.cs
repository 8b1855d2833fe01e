using System.Text.Json;
using Handbook.Base;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Data.Tokenizing;
using Handbook.Text.Templates;

namespace Handbook.Data.Tests;

/// <summary>Every column of a row has an effect, or is named as one that has none.</summary>
public sealed class RowColumnsTests : IDisposable
{
    private const string Template = "{% for m in messages %}<{{ m.role[0] }}>{{ m.content }}{% if m.role == 'assistant' %}<end>{% endif "
        + "%}{% endfor %}";

    private readonly TextMaker _files = new();

    public void Dispose() => _files.Dispose();

    [Theory]
    [InlineData("""{"messages": [{"role": "user", "content": "a"}], "system": "s"}""", "s:s u:a")]
    [InlineData("""{"messages": [{"role": "user", "content": "a"}], "system": ""}""", "u:a")]
    [InlineData("""{"messages": [{"role": "user", "content": "a"}], "system": "s", "history": [["q", "r"]]}""", "s:s u:q a:r u:a")]
    [InlineData("""{"messages": [{"role": "system", "content": "own"}, {"role": "user", "content": "a"}], "history": "[[\"q\", \"r\"]]"}""",
        "s:own u:q a:r u:a")]
    [InlineData("""{"conversations": [{"from": "human", "value": "a"}], "history": [["q", "r"]]}""", "u:q a:r u:a")]
    [InlineData("""{"prompt": "a", "completion": "b", "system": "s"}""", "s:s u:a a:b")]
    [InlineData("""{"prompt": "a", "completion": "b", "history": [["q", "r"]]}""", "u:q a:r u:a a:b")]
    [InlineData("""{"prompt": [{"role": "user", "content": "a"}], "completion": "b", "system": "s"}""", "s:s u:a a:b")]
    [InlineData("""{"prompt": "a", "completion": "b", "tools": [{"type": "function"}]}""", "u:a a:b")]
    public void What_stands_before_a_conversation_becomes_its_first_turns(string row, string expected) =>
        Assert.Equal(expected, Turns(Read(row, RowUse.FineTuning)));

    [Theory]
    [InlineData("""{"instruction": "a", "chosen": "b", "rejected": "c", "history": [["q", "r"]]}""", RowUse.Preferences)]
    [InlineData("""{"prompt": "a", "chosen": "b", "rejected": "c", "history": [["q", "r"]]}""", RowUse.Preferences)]
    [InlineData("""{"chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "rejected": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "c"}], "history": [["q", "r"]]}""", RowUse.Preferences)]
    [InlineData("""{"instruction": "a", "output": "b", "label": true, "history": [["q", "r"]]}""", RowUse.Unpaired)]
    [InlineData("""{"prompt": "a", "completion": "b", "label": true, "history": [["q", "r"]]}""", RowUse.Unpaired)]
    [InlineData("""{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "label": true, "history": [["q", "r"]]}""", RowUse.Unpaired)]
    [InlineData("""{"instruction": "a", "history": [["q", "r"]]}""", RowUse.Prompts)]
    [InlineData("""{"prompt": "a", "history": [["q", "r"]]}""", RowUse.Prompts)]
    public void A_history_stands_before_every_kind_of_prompt(string row, RowUse use) =>
        Assert.Equal("u:q a:r u:a",
            string.Join(' ', Assert.IsType<ChatAnswersExample>(Read(row, use)).Prompt.Messages.EnumerateArray().Select(Turn)));

    [Fact]
    public void A_system_column_that_says_something_else_than_the_conversation_is_counted()
    {
        var example = Read("""{"messages": [{"role": "system", "content": "own"}, {"role": "user", "content": "a"}], "system": "s"}""",
            RowUse.FineTuning);
        Assert.Equal("s:own u:a", Turns(example));
        Assert.Contains("has a system turn of its own", Assert.Single(example!.Remarks));
        Assert.Empty(Read("""{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}], "system": "s"}""",
            RowUse.FineTuning)!.Remarks);
    }

    [Fact]
    public void A_column_that_only_later_rows_have_is_read_there()
    {
        var path = _files.Write("late.jsonl",
            string.Concat(Enumerable.Range(0, 100)
            .Select(i => """{"messages": [{"role": "user", "content": "a"}]""" + (i == 99 ? ", \"system\": \"s\"}\n" : "}\n"))));
        var spec = new DatasetSpec { Id = path };
        var source = Dataset.Open(spec);
        var reader = RowReader.For(source, spec, RowUse.FineTuning);
        Assert.Equal("s:s u:a", Turns(reader.Read(source.Read().Last().Value, out _)));
    }

    [Fact]
    public void Columns_without_effect_are_named_and_a_mapping_of_one_is_refused()
    {
        var path = _files.Write("t.jsonl", """{"text": "a", "id": 1, "source": "x", "system": "s", "empty": null}""");
        var spec = new DatasetSpec { Id = path };
        Assert.Equal(["id", "source", "system"], RowReader.For(Dataset.Open(spec), spec, RowUse.FineTuning).Unread);
        spec = spec with { ColumnMapping = new Dictionary<string, string> { ["text"] = "text", ["system"] = "source" } };
        Assert.Contains("column_mapping takes system from \"source\", but rows of the layout Text have no use for it",
            Assert.Throws<InputException>(() => RowReader.For(Dataset.Open(spec), spec, RowUse.FineTuning)).Message);
    }

    [Theory]
    [InlineData("""{"input_ids": [5, 6, 7, 8], "completion_mask": [0, 0, 1, 1]}""", "0011")]
    [InlineData("""{"input_ids": [5, 6, 7, 8], "assistant_masks": [0, 1, 0, 1]}""", "0101")]
    [InlineData("""{"input_ids": [5, 6, 7, 8], "completion_mask": [0, 0, 1, 1], "assistant_masks": [0, 1, 0, 1]}""", "0001")]
    [InlineData("""{"input_ids": [5, 6, 7, 8], "labels": [-100, 6, 7, -100], "completion_mask": [false, false, true, true]}""", "0010")]
    [InlineData("""{"input_ids": [9, 5, 6, 7, 9], "attention_mask": [0, 1, 1, 1, 0], "completion_mask": [1, 0, 1, 1, 1]}""", "011")]
    public void Tokens_carry_loss_where_every_mask_says_so(string row, string loss) =>
        Assert.Equal(loss,
            string.Concat(Assert.IsType<TokensExample>(Read(row, RowUse.FineTuning)).Loss.Select(value => (char)('0' + value))));

    [Theory]
    [InlineData(LossScope.Automatic, "0001")]
    [InlineData(LossScope.Completion, "0001")]
    // as the reference reads completion_mask under completion_only_loss alone, and assistant_masks always
    [InlineData(LossScope.All, "0101")]
    public void A_completion_mask_is_read_unless_prompts_are_learnt_as_well(LossScope scope, string loss)
    {
        var (row, problem) = Tokenize("""{"input_ids": [5, 6, 7, 8], "completion_mask": [0, 0, 1, 1], "assistant_masks": [0, 1, 0, 1]}""",
            new() { Loss = scope });
        Assert.Null(problem);
        Assert.Equal(loss, string.Concat(row!.Segments[0].Loss.ToArray()));
    }

    [Theory]
    [InlineData(LossScope.All, true)]
    [InlineData(LossScope.Automatic, false)]
    public void A_completion_mask_that_is_not_read_is_told(LossScope scope, bool told)
    {
        var path = _files.Write("t.jsonl", """{"input_ids": [5, 6, 7, 8], "completion_mask": [0, 0, 1, 1]}""");
        using var data = TrainingData.Load(new()
        {
            Mixture = new() { Dialect = MixtureDialect.Single, Datasets = [new() { Id = path }] },
            Tokenizer = TextMaker.Bytes,
            Rows = new() { Loss = scope },
            Cache = _files.Cache,
        });
        Assert.Equal(told ? [$"note: {path}: the column completion_mask is not read: completion_only_loss is false"] : [], data.Remarks);
    }

    [Theory]
    [InlineData("""{"input_ids": [5, 6], "labels": [6, 7]}""", "at place 0 labels has 6, and input_ids 5")]
    [InlineData("""{"input_ids": [5, 6], "completion_mask": [1]}""", "completion_mask has 1 entries, but input_ids 2")]
    [InlineData("""{"input_ids": [5, 6], "completion_mask": [1, 2]}""", "completion_mask has 2 at place 1")]
    [InlineData("""{"input_ids": [5, 6, 7], "attention_mask": [1, 0, 1]}""",
        "the token at place 1 is left out, and others behind it are not")]
    [InlineData("""{"input_ids": [5, 99999999999]}""", "input_ids holds 99999999999, which is no token")]
    [InlineData("""{"messages": [{"role": "user", "content": "a"}], "history": [["q"]]}""",
        "history is not a list of [question, answer] pairs")]
    [InlineData("""{"messages": [{"role": "user", "content": "a"}], "system": 5}""", "system is a number")]
    public void A_column_that_does_not_say_what_it_is_there_for_makes_the_row_unusable(string row, string detail)
    {
        Read(row, RowUse.FineTuning, out var problem);
        Assert.Equal(detail, problem?.Detail);
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(300)]
    public void A_token_that_the_model_has_not_is_refused(int id)
    {
        var (_, problem) = Tokenize($$"""{"input_ids": [1, {{id}}, 2]}""", new() { VocabularySize = 258 });
        Assert.Equal($"input_ids holds {id}, but the model has 258 tokens", problem?.Detail);
        Assert.Equal($"input_ids holds {id}, but the tokenizer has no such token",
            Tokenize($$"""{"input_ids": [1, {{id}}, 2]}""", new()).Problem?.Detail);
    }

    [Theory]
    [InlineData("weight\": 0", "weight\": 1", LossScope.Assistant, "<u>q<a>old<end><u>r<a>[new<end>]")]
    [InlineData("weight\": 1", "weight\": 0", LossScope.Assistant, "<u>q<a>[old<end>]<u>r<a>new<end>")]
    [InlineData("weight\": 0.0", "weight\": 1.0", LossScope.Automatic, "<[u>q]<a>old<end>[<u>r<a>new<end>]")]
    [InlineData("train\": false", "train\": true", LossScope.Assistant, "<u>q<a>old<end><u>r<a>[new<end>]")]
    [InlineData("loss_weight\": 0", "x\": 0", LossScope.Assistant, "<u>q<a>old<end><u>r<a>[new<end>]")]
    [InlineData("weight\": null", "weight\": null", LossScope.Assistant, "<u>q<a>[old<end>]<u>r<a>[new<end>]")]
    public void A_turn_of_weight_0_carries_no_loss(string first, string second, LossScope scope, string expected)
    {
        var (row, problem) =
            Tokenize($$"""{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "old", "{{first}}}, {"role": "user", "content": "r"}, {"role": "assistant", "content": "new", "{{second}}}]}""", new() { Loss = scope });
        Assert.Null(problem);
        Assert.Equal(expected, Bracketed(row!));
    }

    [Theory]
    [InlineData("0.5")]
    [InlineData("\"high\"")]
    public void A_weight_between_is_refused(string weight)
    {
        var (_, problem) =
            Tokenize($$"""{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "weight": {{weight}}}]}""",
            new());
        Assert.Equal(("weight is neither 0 nor 1", $"turn 2 has the weight {weight}"), (problem!.Reason, problem.Detail));
    }

    [Fact]
    public void Rows_with_a_remark_are_counted_with_the_first_of_them()
    {
        var path = _files.Write("t.jsonl", string.Concat(Enumerable.Range(0, 5).Select(i =>
            $$"""{"messages": [{"role": "system", "content": "own"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "system": "{{(i < 2 ? "own" : "s")}}"}""" + "\n")));
        using var data = TrainingData.Load(new()
        {
            Mixture = new() { Dialect = MixtureDialect.Single, Datasets = [new() { Id = path }] },
            Tokenizer = TextMaker.Bytes,
            Chats = Chats,
            Cache = _files.Cache,
        });
        Assert.Equal($"3 rows: the conversation has a system turn of its own, and the column system, which says something else, is not "
            + $"read, e.g. {path}:3", Assert.Single(data.Sources[0].Summary.Noted).Line);
    }

    private static ChatRowEncoder Chats { get; } = new(TextMaker.Bytes, ChatTemplate.Parse(Template, "test"));

    private Example? Read(string row, RowUse use) => Read(row, use, out _);

    private Example? Read(string row, RowUse use, out RowProblem? problem)
    {
        var spec = new DatasetSpec { Id = _files.Write("row.jsonl", row) };
        var source = Dataset.Open(spec);
        return RowReader.For(source, spec, use).Read(source.Read().Single().Value, out problem);
    }

    private (TokenRow? Row, RowProblem? Problem) Tokenize(string row, RowTokenizerOptions options)
    {
        var spec = new DatasetSpec { Id = _files.Write("row.jsonl", row) };
        var source = Dataset.Open(spec);
        var rows = new RowTokenizer(RowReader.For(source, spec, RowUse.FineTuning), TextMaker.Bytes, Chats, options)
            .Tokenize(source.Read().Single().Value, out var problem, out _);
        return (rows.Count > 0 ? rows[0] : null, problem);
    }

    private static string Turns(Example? example) => string.Join(' ', (example switch
    {
        ChatExample chat => chat.Conversation.Messages,
        ChatPromptExample pair => pair.Whole.Messages,
        _ => throw new InvalidOperationException($"{example} is no conversation"),
    }).EnumerateArray().Select(Turn));

    private static string Turn(JsonElement turn) => $"{turn.GetProperty("role").GetString()![0]}:{turn.GetProperty("content").GetString()}";

    private static string Bracketed(TokenRow row) =>
        string.Concat(RowText.Runs(row, TextMaker.Bytes).Select(run => run.CarriesLoss ? $"[{run.Text}]" : run.Text));
}
