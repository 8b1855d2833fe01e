using System.Text.Json;
using Handbook.Base;
using Handbook.Data;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Models;
using Handbook.Testing;
using Handbook.Text.Tokenizers;
using Handbook.Training.Rewards;
using Handbook.Training.Tests.Contract;

namespace Handbook.Training.Tests.Rewards;

[Collection("tensors")]
public sealed class ScoreRunTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly RewardModel _model = new(Tiny.Model("llama", head: ModelHead.Score), MakeTokenizer());

    [Fact]
    public void Pairs_get_the_scores_that_their_texts_have_alone()
    {
        var rows = Score("""
            {"prompt": "ab", "chosen": "ba", "rejected": "a", "id": 7}
            {"prompt": [{"role": "user", "content": "ab"}], "chosen": [{"role": "assistant", "content": "b"}], "rejected": [{"role": "assistant", "content": "bb"}]}
            """, out var summary);

        double[] texts = _model.Score([_model.Row("ab", ["ba", "a"])]);
        double[] chats =
            _model.Score([_model.Row(JsonSerializer.SerializeToElement(new[] { new { role = "user", content = "ab" } }), ["b", "bb"])]);
        Assert.Equal(["prompt", "chosen", "rejected", "id", "score_chosen", "score_rejected"],
            rows[0].EnumerateObject().Select(column => column.Name));
        double[] written = [Number(rows[0], "score_chosen"), Number(rows[0], "score_rejected"), Number(rows[1], "score_chosen"),
            Number(rows[1], "score_rejected")];
        // scores are written with the precision of float32
        Assert.All(written.Zip(texts.Concat(chats)), p => Assert.Equal((float)p.Second, (float)p.First));
        Assert.Equal((2L, 2L, 4L), (summary.Pairs, summary.Scored, summary.Scores));
        Assert.Equal((written[0] > written[1] ? 1 : 0) + (written[2] > written[3] ? 1 : 0), summary.Right);
    }

    [Theory]
    [InlineData("""{"text": "abba"}""")]
    [InlineData("""{"prompt": "ab", "completion": "ba"}""")]
    public void Texts_end_with_the_end_token_before_they_are_scored(string row)
    {
        var rows = Score(row, out _);

        Assert.Equal((float)_model.Score([TokenRow.Single([4, 5, 5, 4, 3], new byte[5])])[0], (float)Number(rows[0], "score"));
    }

    [Fact]
    public void Pairs_and_answers_by_themselves_may_stand_in_one_file()
    {
        const string pair = """{"prompt": "ab", "chosen": "ba", "rejected": "a"}""", single = """{"prompt": "ab", "completion": "ba"}""";
        var rows = Score(string.Join('\n', pair, single, """{"prompt": "ab", "chosen": "ba"}"""), out var summary);
        Assert.Equal(Number(Score(pair, out _)[0], "score_chosen"), Number(rows[0], "score_chosen"));
        Assert.Equal(Number(Score(single, out _)[0], "score"), Number(rows[1], "score"));
        Assert.False(rows[0].TryGetProperty("score", out _));
        Assert.False(rows[1].TryGetProperty("score_chosen", out _));
        Assert.Equal(JsonValueKind.Null, rows[2].GetProperty("score").ValueKind);
        Assert.Equal((3L, 2L, 1L), (summary.Rows, summary.Scored, summary.Pairs));
        Assert.Equal(["no completion"], summary.Left.Keys);
    }

    [Fact]
    public void Rows_that_cannot_be_scored_are_written_without_a_score_and_counted()
    {
        var rows = Score("""
            {"text": "ab", "score": 3}
            {"text": 5}
            no JSON
            {"text": "abababab"}
            """, out var summary, maxLength: 6);

        Assert.Equal([JsonValueKind.Number, JsonValueKind.Null, JsonValueKind.Null],
            rows.Select(row => row.GetProperty("score").ValueKind));
        Assert.NotEqual(3, Number(rows[0], "score"));
        Assert.Equal((4L, 1L), (summary.Rows, summary.Scored));
        Assert.Equal(["broken JSON", "longer than max_length", "wrong type"], summary.Left.Keys);
    }

    [Fact]
    public void An_interrupted_file_goes_on_and_ends_with_the_same_bytes()
    {
        var random = new Random(3);
        File.WriteAllLines(_folder["rows.jsonl"],
            Enumerable.Range(0, 1300).Select(_ =>
            $"{{\"text\": \"{string.Concat(Enumerable.Range(0, random.Next(1, 9)).Select(_ => random.Next(2) == 0 ? "a" : "b"))}\"}}"));
        Write("whole.jsonl", "key", stopAfter: null);
        Assert.False(Write("cut.jsonl", "key", stopAfter: 1));
        Assert.False(File.Exists(_folder["cut.jsonl"]));
        // what was written behind the last border is not trusted
        File.AppendAllText(_folder["cut.jsonl.part"], "{\"text\": \"a\", \"sco");

        using (var goesOn = ScoreFile.Open(_folder["cut.jsonl"], "key", fresh: false))
            Assert.Equal(512, goesOn.Summary.Rows);
        Assert.True(Write("cut.jsonl", "key", stopAfter: null));

        Assert.Equal(File.ReadAllBytes(_folder["whole.jsonl"]), File.ReadAllBytes(_folder["cut.jsonl"]));
        Assert.Equal(1300, File.ReadLines(_folder["cut.jsonl"]).Count());
        Assert.Equal(["cut.jsonl", "rows.jsonl", "whole.jsonl"],
            Directory.GetFiles(_folder.Path).Select(Path.GetFileName).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void What_another_model_or_other_rows_left_is_not_gone_on_with()
    {
        File.WriteAllLines(_folder["rows.jsonl"], Enumerable.Repeat("""{"text": "a"}""", 600));
        Write("cut.jsonl", "key", stopAfter: 1);

        using (var other = ScoreFile.Open(_folder["cut.jsonl"], "another key", fresh: false))
            Assert.Equal(0, other.Summary.Rows);
        Write("cut.jsonl", "key", stopAfter: 1);
        using var fresh = ScoreFile.Open(_folder["cut.jsonl"], "key", fresh: true);
        Assert.Equal(0, fresh.Summary.Rows);
    }

    [Fact]
    public void Where_nothing_was_kept_neither_a_file_nor_a_folder_is_left()
    {
        Directory.CreateDirectory(_folder["there"]);
        foreach (var name in (string[])["deep/er/scores.jsonl", "there/er/scores.jsonl", "scores.jsonl"])
        {
            ScoreFile.Open(_folder[name], "key", fresh: false).Dispose();       // as where the rows turn out to be none
            using (var discarded = ScoreFile.Open(_folder[name], "key", fresh: false))
                discarded.Discard();
        }
        Assert.Equal(["there"],
            Directory.EnumerateFileSystemEntries(_folder.Path, "*", SearchOption.AllDirectories).Select(Path.GetFileName));
        using (var kept = ScoreFile.Open(_folder["deep/er/scores.jsonl"], "key", fresh: false))
            kept.Keep();
        Assert.Equal(2, Directory.GetFiles(_folder["deep", "er"]).Length);
    }

    [Fact]
    public void Two_runs_do_not_write_one_file()
    {
        using (var first = ScoreFile.Open(_folder["scores.jsonl"], "key", fresh: false))
        {
            first.Stream.Write("row\n"u8);
            Assert.Contains("cannot be written",
                Assert.Throws<InputException>(() => ScoreFile.Open(_folder["scores.jsonl"], "key", fresh: true)).What);
            first.Finish();
        }
        Assert.Equal("row\n", File.ReadAllText(_folder["scores.jsonl"]));
    }

    public void Dispose()
    {
        _model.Dispose();
        _folder.Dispose();
    }

    /// <summary>Scores the rows of rows.jsonl into a file; stops after some chunks where asked.</summary>
    private bool Write(string name, string key, int? stopAfter)
    {
        var (source, tokenizer) = Open(null);
        using var file = ScoreFile.Open(_folder[name], key, fresh: false);
        using var cancel = new CancellationTokenSource();
        var chunks = 0;
        try
        {
            new ScoreRun(_model, source, tokenizer).Run(file.Stream, file.Summary, () =>
            {
                file.Keep();
                if (++chunks == stopAfter)
                    cancel.Cancel();
            }, cancel: cancel.Token);
        }
        catch (OperationCanceledException)
        {
            return false;
        }
        file.Finish();
        return true;
    }

    private JsonElement[] Score(string lines, out ScoreSummary summary, int? maxLength = null)
    {
        File.WriteAllText(_folder["rows.jsonl"], lines);
        var (source, tokenizer) = Open(maxLength);
        using var output = new MemoryStream();
        summary = new();
        new ScoreRun(_model, source, tokenizer).Run(output, summary);
        return [.. System.Text.Encoding.UTF8.GetString(output.ToArray()).Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => JsonDocument.Parse(line).RootElement)];
    }

    private (IRowSource, ScoreTokenizer) Open(int? maxLength)
    {
        var spec = new DatasetSpec { Id = _folder["rows.jsonl"] };
        var source = Dataset.Open(spec);
        return (source, new ScoreTokenizer(source, spec, _model.Tokenizer, maxLength));
    }

    private static double Number(JsonElement row, string name) => row.GetProperty(name).GetDouble();

    internal static Tokenizer MakeTokenizer()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["tokenizer.json"], """
            {"version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
             "added_tokens": [{"id": 3, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
             "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
              "byte_fallback": false, "ignore_merges": false, "vocab": {"</s>": 3, "a": 4, "b": 5, ">": 6, "\n": 7}, "merges": []}}
            """);
        File.WriteAllText(folder["tokenizer_config.json"],
            """{"eos_token": "</s>", "chat_template": "{% for m in messages %}{{ m['content'] + '>' }}{% endfor %}"}""");
        return Tokenizer.Load(folder.Path);
    }
}
