using System.Text.Json;
using Handbook.Base;
using Handbook.Data.Decontamination;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Tokenizing;
using Handbook.Testing;
using Handbook.Text.Templates;

namespace Handbook.Data.Tests.Decontamination;

/// <summary>Rows that hold a reference text are neither trained nor evaluated on, wherever it stands in them.</summary>
public sealed class DecontaminatedDataTests : IDisposable
{
    private const string Secret = "Name the river that runs through the capital of Austria.";

    private readonly TextMaker _files = new();

    public void Dispose() => _files.Dispose();

    [Fact] // the original's own test, 5.7: two rows, of which the second holds HumanEval/0 with other white space and text in front
    public void A_conversation_that_holds_a_problem_of_HumanEval_is_left_out()
    {
        using var problems = new StreamReader(new System.IO.Compression.GZipStream(File.OpenRead(SharedFiles.Need("data/human-eval/HumanEval.jsonl.gz")),
            System.IO.Compression.CompressionMode.Decompress));
        var prompt = JsonDocument.Parse(problems.ReadLine()!).RootElement.GetProperty("prompt").GetString()!;
        var rows = _files.Write("rows.jsonl", Turn("user", "Hello") + "\n" + Turn("assistant", "Hello, I am\nfrom\n\n" + prompt.Replace(" ", "  ")) + "\n");
        using var data = Load(new() { Against = [new() { Id = "human-eval" }], Ngrams = 0 }, rows);
        Assert.Equal("Hello", Assert.Single(Texts(data.Train)));
        var left = Assert.Single(data.Decontamination!.Rows);
        Assert.Equal((1L, "messages[0].content", "human-eval", "HumanEval/0 docstring", "whole text"),
            (left.Row.Number, left.Row.Where, left.Row.Shared.Set, left.Row.Shared.Text, left.Row.Shared.Kind));
        Assert.Equal("decontamination against human-eval (whole texts): 1 of 2 (50.00 %) training rows are left out: they hold one of the 324 reference texts",
            data.Decontamination.Line);
        Assert.Contains(data.Decontamination.Line, data.Remarks);

        static string Turn(string role, string content) => JsonSerializer.Serialize(new { messages = new[] { new { role, content } } });
    }

    [Theory] // what the original overlooked: prompts and rejected answers
    [InlineData("prompt")]
    [InlineData("chosen")]
    [InlineData("rejected")]
    public void Every_text_of_a_pair_is_compared(string column)
    {
        var row = new Dictionary<string, string> { ["prompt"] = "p", ["chosen"] = " c", ["rejected"] = " r" };
        var clean = JsonSerializer.Serialize(row);
        row[column] += $" x {Secret.ToUpperInvariant()} y";
        var rows = _files.Write("pairs.jsonl", $"{JsonSerializer.Serialize(row)}\n{clean}\n");
        using var data = TrainingData.Load(Options(Against(), rows) with
        { Use = RowUse.Preferences, Answers = new() { Shape = AnswerShape.Pair, Encoding = AnswerEncoding.Whole } });
        Assert.Equal(1, data.Train.Count);
        Assert.Equal((0L, column), Assert.Single(data.Decontamination!.Rows) is var left ? (left.Row.Number, left.Row.Where) : default);
    }

    [Fact]
    public void A_text_that_stands_across_prompt_and_answer_is_found_and_a_column_that_is_not_read_does_not_count()
    {
        var rows = _files.Write("rows.jsonl", JsonSerializer.Serialize(new { prompt = Secret[..20], completion = Secret[20..] }) + "\n"
            + JsonSerializer.Serialize(new { prompt = "a", completion = "b", note = Secret }) + "\n");
        using var data = Load(Against(), rows);
        Assert.Equal("prompt + completion", Assert.Single(data.Decontamination!.Rows).Row.Where);
    }

    [Fact]
    public void Rows_of_tokens_are_compared_by_what_they_say()
    {
        var ids = TextMaker.Bytes.Encode($"so: {Secret}").ToArray();
        var rows = _files.Write("rows.jsonl", JsonSerializer.Serialize(new { input_ids = ids }) + "\n" + """{"input_ids": [65, 66]}""" + "\n");
        using var data = Load(Against(), rows);
        Assert.Equal((1, "input_ids"), (data.Train.Count, Assert.Single(data.Decontamination!.Rows).Row.Where));
    }

    [Fact] // the first revision filtered after shuffling: what is left keeps its order
    public void The_order_of_the_others_stays_and_held_out_rows_are_compared_too()
    {
        var train = Enumerable.Range(0, 40).Select(i => i % 7 == 3 ? $"{Secret} {i}" : $"row {i}").ToArray();
        _files.Write("set/train.jsonl", Lines(train));
        _files.Write("set/test.jsonl", Lines(["held", Secret, "out"]));
        var mixture = new MixtureSpec
        { Dialect = MixtureDialect.Mixer, Datasets = [new() { Id = Path.Combine(_files.Folder, "set") }], Seed = 42 };
        using var whole = TrainingData.Load(Options(new(), "") with { Mixture = mixture, Evaluates = true });
        using var clean = TrainingData.Load(Options(Against(), "") with { Mixture = mixture, Evaluates = true });
        Assert.Equal(Texts(whole.Train).Where(text => !text.Contains("river")), Texts(clean.Train));
        Assert.Equal(Texts(whole.Evaluation!).Where(text => !text.Contains("river")), Texts(clean.Evaluation!));
        var report = clean.Decontamination!;
        Assert.Equal((40, 6, 3, 1), (report.Train, report.TrainLeftOut, report.HeldOut, report.HeldOutLeftOut));
        var written = report.ToText().TrimEnd().Split('\n').Select(line => JsonDocument.Parse(line).RootElement).ToArray();
        Assert.Equal(7, written.Length);
        Assert.Equal(1, written.Count(line => line.GetProperty("held_out").GetBoolean()));
        Assert.EndsWith("test.jsonl:2", written.Single(line => line.GetProperty("held_out").GetBoolean()).GetProperty("row").GetString());
    }

    [Fact]
    public void What_was_compared_is_kept_until_rows_or_references_change()
    {
        var rows = _files.Write("rows.jsonl", Lines([Secret, "other"]));
        for (var start = 0; start < 2; start++)
        {
            using var data = Load(Against(), rows);
            Assert.Equal(1, data.Train.Count);
        }
        Assert.Single(Directory.GetFiles(Path.Combine(_files.Cache.Path, "contaminated")));
        using (var other = Load(Against("What is the largest lake of the whole of Africa, and how deep?"), rows))
            Assert.Equal(2, other.Train.Count);
        _files.Write("rows.jsonl", Lines(["other", "another"]));
        using var changed = Load(Against(), rows);
        Assert.Equal(2, changed.Train.Count);
    }

    [Fact]
    public void A_set_of_which_nothing_is_left_is_refused()
    {
        var rows = _files.Write("rows.jsonl", Lines([Secret]));
        Assert.StartsWith("every row to train on holds a text of ", Assert.Throws<InputException>(() => Load(Against(), rows)).What);
    }

    [Fact]
    public void Every_string_of_a_row_is_a_text_also_those_in_texts_that_are_JSON()
    {
        using var row = JsonDocument.Parse("""{"messages": [{"role": "user", "content": [{"text": "one"}]}], "tools": "[{\"name\": \"two\"}]", "n": 3}""");
        Assert.Equal(["messages[0].role user", "messages[0].content[0].text one", "tools[0].name two"],
            RowTexts.Of(row.RootElement).Select(text => $"{text.Where} {text.Text}"));
    }

    private DecontaminationOptions Against(string text = Secret) =>
        new() { Against = [new() { Id = _files.Write("exam.jsonl", JsonSerializer.Serialize(new { question = text }) + "\n") }] };

    private TrainingData Load(DecontaminationOptions options, string rows) => TrainingData.Load(Options(options, rows));

    private TrainingDataOptions Options(DecontaminationOptions options, string rows) => new()
    {
        Mixture = new() { Dialect = MixtureDialect.Single, Datasets = [new() { Id = rows }] },
        Tokenizer = TextMaker.Bytes,
        Chats = new(TextMaker.Bytes, ChatTemplate.Parse("{% for m in messages %}{{ m.content }}{% endfor %}", "t")),
        Decontamination = options,
        Cache = _files.Cache,
    };

    private static string Lines(IEnumerable<string> texts) => string.Concat(texts.Select(text => JsonSerializer.Serialize(new { text }) + "\n"));

    private static string[] Texts(ITokenRows rows) => [.. Enumerable.Range(0, rows.Count).Select(i => TextMaker.Text(rows.Read(i)))];
}
