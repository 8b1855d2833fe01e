using System.Text.Json;
using Handbook.Testing;

namespace Handbook.Cli.Tests;

public sealed class GenerateCommandTests : IClassFixture<GenerateCommandTests.Model>
{
    private readonly HandbookProcess _handbook;

    public GenerateCommandTests(Model model) => _handbook = model.Handbook;

    public sealed class Model : IDisposable
    {
        public Model() => SmallModel.Make(Handbook);

        internal HandbookProcess Handbook { get; } = new();

        public void Dispose() => Handbook.Dispose();
    }

    [Fact]
    public void One_prompt_is_answered_on_the_standard_output()
    {
        var outcome = SmallModel.Succeed(_handbook.Run("generate", "model", "the sun", "--max-new-tokens", "9"));
        Assert.EndsWith("\n", outcome.Output);
        Assert.Matches(@"^\d tokens, [\d.]+ tokens/s", outcome.Error);
        Assert.DoesNotContain('\uFFFD', outcome.Output[..^3]);
        // Greedy unless asked otherwise, as a turn of the user unless raw.
        Assert.Equal(outcome.Output, _handbook.Run("generate", "model", "the sun", "--max-new-tokens", "9", "--seed", "7").Output);
        Assert.NotEqual(outcome.Output, _handbook.Run("generate", "model", "the sun", "--max-new-tokens", "9", "--raw").Output);
        Assert.NotEqual(outcome.Output,
            _handbook.Run("generate", "model", "the sun", "--max-new-tokens", "9", "--temperature", "2").Output);
        Assert.Equal(0, _handbook.Run("generate", "model", "the sun", "--max-new-tokens", "9", "--dtype", "bfloat16").Code);
    }

    [Theory]
    [InlineData("--max_new_tokens", "did you mean --max-new-tokens?")]
    [InlineData("--tempereture=5", "did you mean --temperature?")]
    [InlineData("--zzz", "or behind a lone --")]
    public void An_option_that_there_is_not_is_no_prompt(string word, string advice)
    {
        var outcome = _handbook.Run("generate", "model", "the sun", word);
        Assert.Equal(2, outcome.Code);
        Assert.Equal("", outcome.Output);
        Assert.Contains($"{word.Split('=')[0]} is no option of `handbook generate`", outcome.Error, StringComparison.Ordinal);
        Assert.Contains(advice, outcome.Error, StringComparison.Ordinal);
        Assert.Equal(0, _handbook.Run("generate", "model", "--max-new-tokens", "1", "--", word).Code);
    }

    [Fact]
    public void Many_prompts_become_json_lines_and_a_score()
    {
        // What the model says to each prompt alone is the right answer to it, but for the last.
        string[] prompts = ["one two", "the moon and the sun", "four 17"];
        var alone = prompts.Select(prompt =>
            SmallModel.Succeed(_handbook.Run("generate", "model", prompt, "--max-new-tokens", "6", "--raw")).Output[..^1]).ToArray();
        _handbook.Write("prompts.jsonl",
            string.Join('\n',
            prompts.Select((prompt, i) => JsonSerializer.Serialize(new { prompt, answer = i == 2 ? "no" : alone[i].Trim() }))));
        var outcome = SmallModel.Succeed(_handbook.Run("generate", "model", "--prompts", "prompts.jsonl", "--raw", "--max-new-tokens", "6",
            "--expect", "answer", "--batch-size", "2", "--output", "out/answers.jsonl"));
        Assert.Equal("accuracy 0.667 (2 of 3)\n", outcome.Output);
        var rows = File.ReadAllLines(Path.Combine(_handbook.Folder, "out", "answers.jsonl"))
            .Select(line => JsonDocument.Parse(line).RootElement).ToArray();
        Assert.Equal(prompts, rows.Select(row => row.GetProperty("prompt").GetString()));
        Assert.Equal(alone, rows.Select(row => row.GetProperty("answer").GetString()));
        Assert.Equal([true, true, false], rows.Select(row => row.GetProperty("correct").GetBoolean()));
        Assert.All(rows, row => Assert.InRange(row.GetProperty("tokens").GetInt32(), 1, 6));
        Assert.All(rows, row => Assert.Contains(row.GetProperty("finish_reason").GetString(), new[] { "stop", "length" }));
        Assert.False(File.Exists(Path.Combine(_handbook.Folder, "out", "answers.jsonl.part")));
    }

    [Fact]
    public void An_answer_keeps_the_columns_of_its_prompt_s_row()
    {
        _handbook.Write("ids.jsonl", """{"id": 7, "prompt": "the sun", "answer": "never", "tags": ["a"], "chosen": "x", "source": null}"""
            + "\n" + """{"id": "b", "prompt": "the moon"}""" + "\n");
        var lines = SmallModel.Succeed(_handbook.Run("generate", "model", "--prompts", "ids.jsonl", "--max-new-tokens", "2",
            "--temperature", "1", "-n", "2")).Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        var rows = lines.Select(line => JsonDocument.Parse(line).RootElement).ToArray();
        Assert.Equal(["7", "7", "\"b\"", "\"b\""], rows.Select(row => row.GetProperty("id").GetRawText()));
        Assert.Equal("[\"a\"]", rows[0].GetProperty("tags").GetRawText());
        Assert.Equal(["id", "tags", "source", "prompt", "answer", "tokens", "finish_reason", "row"],
            rows[0].EnumerateObject().Select(column => column.Name));
        // they are not what the model said
        Assert.Equal("""{"answer":"never","chosen":"x"}""", JsonSerializer.Serialize(rows[0].GetProperty("row")));
        Assert.Equal(["id", "prompt", "answer", "tokens", "finish_reason"], rows[3].EnumerateObject().Select(column => column.Name));
    }

    [Fact]
    public void Prompts_are_read_from_a_folder_of_data_and_its_splits()
    {
        _handbook.Write("asked/train.jsonl", """{"question": "the sun", "system": "speak"}""");
        _handbook.Write("asked/test.txt", "the moon\n");
        string Asked(params string[] more) => JsonDocument.Parse(SmallModel.Succeed(_handbook.Run(["generate", "model", "--prompts",
            "asked",
            "--max-new-tokens", "2", .. more])).Output).RootElement.GetProperty("prompt").GetRawText();
        Assert.Equal("\"the moon\"", Asked("--split", "test"));
        Assert.Equal("""[{"role":"system","content":"speak"},{"role":"user","content":"the sun"}]""", Asked());
        var outcome = _handbook.Run("generate", "model", "--prompts", "asked", "--output", "asked/train.jsonl");
        Assert.Equal(2, outcome.Code);
        Assert.Contains("--output names asked/train.jsonl, the file with the prompts", outcome.Error);
        _handbook.Write("bare/notes.md", "nothing");
        outcome = _handbook.Run("generate", "model", "--prompts", "bare");
        Assert.Equal(2, outcome.Code);
        Assert.Contains("bare: no data files in the folder", outcome.Error);
    }

    [Fact]
    public void Several_answers_to_each_prompt_begin_with_the_one_that_is_given_alone()
    {
        _handbook.Write("several.txt", "the sun\nthe moon\n");
        string[][] Answers(params string[] more) =>
            [.. SmallModel.Succeed(_handbook.Run(["generate", "model", "--prompts", "several.txt", "--temperature", "1", "--max-new-tokens",
            "6", .. more])).Output
            .Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonDocument.Parse(line).RootElement)
            .GroupBy(row => row.GetProperty("prompt").GetString())
                .Select(group => group.Select(row => row.GetProperty("answer").GetString()!).ToArray())];
        var (one, three) = (Answers(), Answers("--num-generations", "3"));
        Assert.Equal([3, 3], three.Select(answers => answers.Length));
        Assert.Equal(one.Select(answers => answers[0]), three.Select(answers => answers[0]));
        Assert.True(three.All(answers => answers.Distinct().Count() > 1));
    }

    [Fact]
    public void Conversations_are_answered_up_to_the_assistant_s_last_turn()
    {
        _handbook.Write("chats.jsonl",
            """{"messages": [{"role": "user", "content": "the sun"}, {"role": "assistant", "content": "never seen"}]}""");
        _handbook.Write("lines.txt", "the sun\n\n");
        var chat = SmallModel.Succeed(_handbook.Run("generate", "model", "--prompts", "chats.jsonl", "--max-new-tokens", "5")).Output;
        var line = SmallModel.Succeed(_handbook.Run("generate", "model", "--prompts", "lines.txt", "--max-new-tokens", "5")).Output;
        Assert.Equal(JsonDocument.Parse(line).RootElement.GetProperty("answer").GetString(),
            JsonDocument.Parse(chat).RootElement.GetProperty("answer").GetString());
        Assert.Single(JsonDocument.Parse(chat).RootElement.GetProperty("prompt").EnumerateArray());
    }

    [Theory]
    [InlineData("own.jsonl", "own.jsonl")]
    [InlineData("own.jsonl", "linked.jsonl")]
    public void Answers_never_replace_their_prompts(string prompts, string output)
    {
        const string text = """{"prompt": "the sun", "id": 7}""";
        _handbook.Write(prompts, text);
        if (output == "linked.jsonl" && !File.Exists(Path.Combine(_handbook.Folder, output)))
            File.CreateSymbolicLink(Path.Combine(_handbook.Folder, output), Path.Combine(_handbook.Folder, prompts));
        var outcome = _handbook.Run("generate", "model", "--prompts", prompts, "--output", output, "--max-new-tokens", "2");
        Assert.Equal(2, outcome.Code);
        Assert.Contains($"--output names {output}, ", outcome.Error);
        Assert.Equal(text, File.ReadAllText(Path.Combine(_handbook.Folder, prompts)));
    }

    [Theory]
    [InlineData("there is no model folder nowhere", "nowhere", "hello")]
    [InlineData("both a prompt and --prompts lines.txt are given", "model", "hello", "--prompts", "lines.txt")]
    [InlineData("there is no file or folder absent.jsonl", "model", "--prompts", "absent.jsonl")]
    [InlineData("--expect answer names a column, but there is no file", "model", "hello", "--expect", "answer")]
    [InlineData("temperature is -1", "model", "hello", "--temperature", "-1")]
    [InlineData("top-p is 2", "model", "hello", "--top-p", "2")]
    [InlineData("max-new-tokens is 0", "model", "hello", "--max-new-tokens", "0")]
    [InlineData("--num-generations is 0", "model", "hello", "--num-generations", "0")]
    [InlineData("which at temperature 0 are all the same", "model", "hello", "--num-generations", "2")]
    [InlineData("batch-size is 0", "model", "hello", "--batch-size", "0")]
    [InlineData("--stop is empty", "model", "hello", "--stop", "")]
    [InlineData("--system needs a chat template", "model", "hello", "--raw", "--system", "be kind")]
    [InlineData("bad.jsonl: has the columns query, but wanted are prompt", "model", "--prompts", "bad.jsonl")]
    [InlineData("--expect names the column answer, but the row has text", "model", "--prompts", "plain.jsonl", "--expect", "answer")]
    public void What_cannot_work_is_said(string message, params string[] words)
    {
        _handbook.Write("bad.jsonl", """{"query": "hello"}""");
        _handbook.Write("plain.jsonl", """{"text": "hello"}""");
        var outcome = _handbook.Run(["generate", .. words]);
        Assert.Contains(message, outcome.Error);
        Assert.Equal(2, outcome.Code);
        Assert.Equal("", outcome.Output);
    }

    [Fact]
    public void A_conversation_can_be_piped()
    {
        var answer = SmallModel.Succeed(_handbook.Run("generate", "model", "the sun", "--max-new-tokens", "6")).Output;
        using var chat = _handbook.Start(["chat", "model", "--max-new-tokens", "6"], input: true);
        chat.StandardInput.Write("the sun\nthe sun\n/reset\nthe sun\n/dance\n/exit\nnever read\n");
        chat.StandardInput.Close();
        var (output, error) = (chat.StandardOutput.ReadToEnd(), chat.StandardError.ReadToEnd());
        Assert.True(chat.WaitForExit(TimeSpan.FromMinutes(2)));
        Assert.Equal(0, chat.ExitCode);
        Assert.StartsWith(answer, output);
        Assert.EndsWith(answer, output);        // after the reset it does not remember
        Assert.Contains("/dance is not known", error);
    }

    [Fact]
    public void The_real_model_tells_its_story()
    {
        var folder = SharedFiles.Need("models", "tinystories-656k");
        var cases = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "golden.json"))).RootElement.GetProperty("cases")
            .EnumerateArray().ToArray();
        _handbook.Write("stories.jsonl",
            string.Join('\n',
            cases.Select(c =>
            JsonSerializer.Serialize(new { prompt = c.GetProperty("prompt").GetString(), ids = c.GetProperty("ids").GetArrayLength() }))));
        const int tokens = 40;
        var lines = SmallModel.Succeed(_handbook.Run("generate", folder, "--prompts", "stories.jsonl", "--max-new-tokens", $"{tokens}"))
            .Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(cases.Length, lines.Length);
        for (var i = 0; i < cases.Length; i++)
        {
            var answer = JsonDocument.Parse(lines[i]).RootElement.GetProperty("answer").GetString()!.Trim();
            Assert.StartsWith(answer, cases[i].GetProperty("greedy_text").GetString()!.Trim());
            Assert.NotEmpty(answer);
        }
    }
}
