using System.Text.Json;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Data.Tokenizing;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;

namespace Handbook.Data.Tests.Preferences;

public sealed class PreferenceTokenizerTests : IDisposable
{
    private const string Marks = "{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] + '<end>' + '\n' }}{% endfor %}{% if "
        + "add_generation_prompt %}{{ '<assistant>' }}{% endif %}";
    private const string Pair =
        """{"prompt": [{"role": "user", "content": "Q"}], "chosen": [{"role": "assistant", "content": "good"}], "rejected": [{"role": "assistant", "content": "bad"}], "margin": 0.5}""";

    private readonly TextMaker _files = new();

    public void Dispose() => _files.Dispose();

    [Fact]
    public void A_conversation_is_split_where_the_answer_begins()
    {
        var row = Assert.Single(Tokenize(Pair, new()));
        Assert.Equal(["<user>Q<end>\n<assistant>", "good<end>", "bad<end>"], Texts(row));
        Assert.Equal([0, 1, 1], row.Segments.Select(segment => (int)segment.Loss.Span[0]));
        Assert.Equal(0.5, row.Margin);
    }

    [Fact]
    public void The_first_revision_lets_the_answer_begin_with_its_header_and_end_with_two_ends()
    {
        var options = new PreferenceTokenizerOptions
        {
            RendersParts = true,
            Encoding = AnswerEncoding.Joint,
            AddsBegin = true,
            End = AnswerEnding.Always,
            Cut = AnswerCut.LongestAnswer,
            InsertEmptySystemTurn = true
        };
        Assert.Equal(["<user>Q<end>\n", "<assistant>good<end>\n<end>", "<assistant>bad<end>\n<end>"],
            Texts(Assert.Single(Tokenize(Pair, options))));
    }

    [Fact]
    public void A_template_that_greets_first_is_split_by_difference_in_the_first_revision_too()
    {
        var options = new PreferenceTokenizerOptions { RendersParts = true, Encoding = AnswerEncoding.Joint, End = AnswerEnding.Once };
        Assert.Equal(["Hello!\n<user>Q<end>\n<assistant>", "good<end>", "bad<end>"],
            Texts(Assert.Single(Tokenize(Pair, options, "{{ 'Hello!\n' }}" + Marks))));
    }

    [Theory] // "xa" alone is x, a; "xab…" is x, ab: the second token of the text is the prompt's, as that of the prompt alone
    [InlineData(AnswerEncoding.Whole, new[] { 257, 'x', 258 }, new[] { (int)'c', 256 }, new[] { 257, 'x', 'a' }, new[] { (int)'d', 256 })]
    [InlineData(AnswerEncoding.Tail, new[] { 257, 'x', 'a' }, new[] { (int)'c', 256 }, new[] { 257, 'x', 'a' }, new[] { (int)'d', 256 })]
    public void A_token_across_the_border_is_where_the_count_of_the_prompt_s_own_tokens_puts_it(AnswerEncoding encoding, int[] before,
        int[] chosen, int[] beforeRejected, int[] rejected)
    {
        var row = Assert.Single(Tokenize("""{"prompt": "xa", "chosen": "bc", "rejected": "d"}""", new() { Encoding = encoding },
            tokenizer: TextMaker.Joining));

        Assert.True(row.IsJoined);
        var answers = row.Segments.Where(segment => segment.Role != SegmentRole.Prompt).ToArray();
        Assert.Equal(before, row.Segments[answers[0].Parent].Ids.ToArray());
        Assert.Equal(chosen, answers[0].Ids.ToArray());
        Assert.Equal(beforeRejected, row.Segments[answers[1].Parent].Ids.ToArray());
        Assert.Equal(rejected, answers[1].Ids.ToArray());
        Assert.False(Assert.Single(Tokenize("""{"prompt": "xa", "chosen": "c", "rejected": "d"}""", new() { Encoding = encoding },
            tokenizer: TextMaker.Joining)).IsJoined);
    }

    [Fact]
    public void A_text_begins_with_one_begin_token_and_a_conversation_as_its_template_writes_it()
    {
        var options = new PreferenceTokenizerOptions { Encoding = AnswerEncoding.Whole };
        foreach (var prompt in new[] { "x", "<begin>x" })
            Assert.Equal([257, 'x'],
                Assert.Single(Tokenize($$"""{"prompt": "{{prompt}}", "chosen": "c", "rejected": "d"}""", options,
                tokenizer: TextMaker.Joining)).Segments[0].Ids.ToArray());
        Assert.Equal('<', Assert.Single(Tokenize(Pair, options, tokenizer: TextMaker.Joining)).Segments[0].Ids.Span[0]);
    }

    [Fact]
    public void The_older_release_adds_its_end_behind_the_template_s() =>
        Assert.Equal(["<user>Q<end>\n<assistant>", "good<end>\n<end>", "bad<end>\n<end>"],
            Texts(Assert.Single(Tokenize(Pair, new() { End = AnswerEnding.Always }))));

    [Fact]
    public void The_newer_release_ends_conversations_as_the_template_does_and_texts_once()
    {
        var options = new PreferenceTokenizerOptions { Encoding = AnswerEncoding.Tail, End = AnswerEnding.Texts, AlwaysOpensAnswer = true };
        Assert.Equal(["<user>Q<end>\n<assistant>", "good<end>\n", "bad<end>\n"], Texts(Assert.Single(Tokenize(Pair, options))));
        Assert.Equal(["Q: ", "good<end>", "bad<end>"],
            Texts(Assert.Single(Tokenize("""{"prompt": "Q: ", "chosen": "good", "rejected": "bad<end>"}""", options))));
    }

    [Fact]
    public void Number_7_the_end_token_is_learnt_where_the_padding_token_is_the_same()
    {
        var tokenizer = TextMaker.Bytes.With(padToken: "<end>");
        Assert.Equal(tokenizer.EosId, tokenizer.PadId);
        foreach (var row in Tokenize(Pair, new(), tokenizer: tokenizer))
            foreach (var answer in row.Segments.Where(segment => segment.Role != SegmentRole.Prompt))
            {
                Assert.Equal(256, answer.Ids.Span[^1]);
                Assert.Equal(1, answer.Loss.Span[^1]);
            }
        var batch = BatchBuilder.Build(new TokenRowList(Tokenize(Pair, new(), tokenizer: tokenizer)), [0]);
        Assert.Equal(2, batch.Targets.Count(target => target == 256));
        Assert.Equal("good".Length + "bad".Length + 2, batch.TargetCount);
    }

    [Theory]
    [InlineData("good", "good<end>")]
    [InlineData("good<end>", "good<end>")]
    [InlineData("good<end>\\n ", "good<end>")]
    [InlineData("good\\n", "good\n<end>")]
    public void Number_9_an_answer_ends_with_exactly_one_end_token(string said, string learnt)
    {
        var row = Assert.Single(Tokenize($$"""{"prompt": "Q ", "chosen": "{{said}}", "rejected": "bad"}""", new()));
        Assert.Equal(learnt, Texts(row)[1]);
    }

    [Fact]
    public void Pairs_become_one_row_for_each_answer()
    {
        var rows = Tokenize(Pair, new() { Shape = AnswerShape.Single });
        Assert.Equal([SegmentRole.Chosen, SegmentRole.Rejected], rows.Select(row => row.Segments[1].Role));
        Assert.Equal(["<user>Q<end>\n<assistant>", "bad<end>"], Texts(rows[1]));
    }

    [Fact]
    public void Number_12_rows_with_no_answer_left_are_counted_and_left_out()
    {
        var tokenizer = Tokenizer(Pair, new() { MaxLength = 10 });
        Assert.Empty(tokenizer.Tokenize(Json(Pair), out var problem, out _));
        Assert.Equal(("no answer token left after cutting", true), (problem!.Reason, problem.IsRule));
        Assert.Equal("prompt of 20 and chosen answer of 6 tokens, max_length is 10", problem.Detail);
    }

    [Fact]
    public void The_same_answer_twice_is_left_out_unless_a_release_keeps_it()
    {
        const string row = """{"prompt": "Q", "chosen": "same", "rejected": "same"}""";
        Assert.Empty(Tokenizer(row, new()).Tokenize(Json(row), out var problem, out _));
        Assert.Equal(("chosen and rejected are the same", true), (problem!.Reason, problem.IsRule));
        Assert.Single(Tokenize(row, new() { KeepsEqualPairs = true }));
    }

    [Theory]
    [InlineData("""{"prompt": "Q", "chosen": "", "rejected": "bad"}""", "chosen", AnswerShape.Pair)]
    [InlineData("""{"prompt": "Q", "chosen": "good", "rejected": " \n"}""", "rejected", AnswerShape.Pair)]
    [InlineData("""{"prompt": "Q", "completion": "", "label": true}""", "chosen", AnswerShape.Single)]
    [InlineData("""{"prompt": "Q", "chosen": "good", "rejected": ""}""", "rejected", AnswerShape.Whole)]
    [InlineData("""{"prompt": [{"role": "user", "content": "Q"}], "chosen": [{"role": "assistant", "content": ""}], "rejected": [{"role": "assistant", "content": "bad"}]}""", "chosen", AnswerShape.Pair)]
    [InlineData("""{"prompt": [{"role": "user", "content": "Q"}], "chosen": [{"role": "assistant", "content": "good"}], "rejected": [{"role": "assistant", "content": [{"type": "text", "text": " "}]}]}""", "rejected", AnswerShape.Pair)]
    public void An_answer_that_says_nothing_is_left_out_unless_a_release_keeps_it(string row, string silent, AnswerShape shape)
    {
        Assert.Empty(Tokenizer(row, new() { Shape = shape }).Tokenize(Json(row), out var problem, out _));
        Assert.Equal(("empty answer", $"the {silent} answer says nothing, so its end token alone would be learnt", false),
            (problem!.Reason, problem.Detail, problem.IsRule));
        Assert.Single(Tokenize(row, new() { Shape = shape, KeepsEmptyAnswers = true }));
    }

    [Fact]
    public void Only_the_empty_one_of_two_single_answers_is_left_out()
    {
        const string row = """{"prompt": "Q ", "chosen": "good", "rejected": ""}""";
        var rows = Tokenizer(row, new() { Shape = AnswerShape.Single }).Tokenize(Json(row), out var problem, out _);
        Assert.Equal(["Q ", "good<end>"], Texts(Assert.Single(rows)));
        Assert.Equal("empty answer", problem!.Reason);
    }

    [Fact]
    public void A_tool_call_says_something()
    {
        const string row =
            """{"prompt": [{"role": "user", "content": "Q"}], "chosen": [{"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}], "rejected": [{"role": "assistant", "content": "bad"}]}""";
        const string template = "{% for m in messages %}{{ m['content'] }}{% if m.tool_calls %}{{ m.tool_calls[0].function.name }}{% "
            + "endif %}<end>{% endfor %}";
        Assert.Equal("f<end>", Texts(Assert.Single(Tokenize(row, new(), template)))[1]);
    }

    [Fact]
    public void A_reward_model_s_rows_are_whole_texts_and_are_left_out_where_they_are_too_long()
    {
        var options = new PreferenceTokenizerOptions { Shape = AnswerShape.Whole, Cut = AnswerCut.LeaveOut, MaxLength = 40 };
        Assert.Equal(["<user>Q<end>\n<assistant>", "good<end>", "bad<end>"], Texts(Assert.Single(Tokenize(Pair, options))));
        Assert.Empty(Tokenizer(Pair, options with { MaxLength = 20 }).Tokenize(Json(Pair), out var problem, out _));
        Assert.Equal(("longer than max_length", true), (problem!.Reason, problem.IsRule));
    }

    [Fact]
    public void Prompts_alone_open_the_answer_and_lose_their_beginning()
    {
        var row = Assert.Single(Tokenize("""{"prompt": [{"role": "user", "content": "Q"}]}""", new() { Shape = AnswerShape.Prompt }));
        Assert.Equal(["<user>Q<end>\n<assistant>"], Texts(row));
        Assert.DoesNotContain((byte)1, row.Segments[0].Loss.ToArray());
        Assert.Equal(["stant>"],
            Texts(Assert.Single(Tokenize("""{"prompt": [{"role": "user", "content": "Q"}]}""",
            new() { Shape = AnswerShape.Prompt, MaxPromptLength = 6 }))));
    }

    [Fact]
    public void Prompts_of_the_limit_or_more_are_left_out()
    {
        var length = Tokenize(Pair, new())[0].Segments[0].Ids.Length;
        Assert.Empty(Tokenizer(Pair, new() { PromptLimit = length }).Tokenize(Json(Pair), out var problem, out _));
        Assert.True(problem!.IsRule);
        Assert.Single(Tokenize(Pair, new() { PromptLimit = length + 1 }));
    }

    [Fact]
    public void Orpo_s_prompts_carry_loss_once()
    {
        var row = Assert.Single(Tokenize(Pair, new() { PromptsCarryLoss = true }));
        Assert.DoesNotContain((byte)0, row.Segments[0].Loss.ToArray());
        var apart = new SeparatePrompts(new TokenRowList([row])).Read(0);
        Assert.Equal([SegmentRole.Prompt, SegmentRole.Chosen, SegmentRole.Prompt, SegmentRole.Rejected],
            apart.Segments.Select(segment => segment.Role));
        Assert.DoesNotContain((byte)1, apart.Segments[2].Loss.ToArray());
        Assert.Equal(row.Segments.Count(segment => segment.Role == SegmentRole.Prompt) * row.Segments[0].Ids.Length + row.TokenCount,
            new SeparatePrompts(new TokenRowList([row])).Length(0));
        Assert.Equal(row.Margin, apart.Margin);
    }

    [Fact]
    public void Tools_of_the_recipe_reach_prompts_that_name_none()
    {
        const string template = "{% if tools %}{{ tools[0].name + ' ' }}{% endif %}" + Marks;
        Assert.StartsWith("look <user>", Texts(Assert.Single(Tokenize(Pair, new() { Tools = """[{"name": "look"}]""" }, template)))[0]);
    }

    private IReadOnlyList<TokenRow> Tokenize(string row, PreferenceTokenizerOptions options, string template = Marks,
        Tokenizer? tokenizer = null)
    {
        var rows = Tokenizer(row, options, template, tokenizer).Tokenize(Json(row), out var problem, out _);
        Assert.Null(problem);
        return rows;
    }

    private PreferenceTokenizer Tokenizer(string row, PreferenceTokenizerOptions options, string template = Marks,
        Tokenizer? tokenizer = null)
    {
        tokenizer ??= TextMaker.Bytes;
        var spec = new DatasetSpec { Id = _files.Write("rows.jsonl", row + "\n") };
        var use = options.Shape switch
        {
            AnswerShape.Prompt => RowUse.Prompts,
            AnswerShape.Single => RowUse.Unpaired,
            _ => RowUse.Preferences
        };
        var reader = RowReader.For(Dataset.Open(spec), spec, use, answersAreLastTurns: options.RendersParts);
        return new(reader, tokenizer, new ChatRowEncoder(tokenizer, ChatTemplate.Parse(template, "template")), options);
    }

    private static JsonElement Json(string row) => JsonDocument.Parse(row).RootElement;

    private static string[] Texts(TokenRow row) => [.. row.Segments.Select(segment => TextMaker.Bytes.Decode(segment.Ids.Span))];
}
