using System.Text.Json;
using Handbook.Data.Cache;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Data.Tokenizing;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;

namespace Handbook.Data.Tests;

/// <summary>A tokenizer that puts a begin and an end token around texts, and texts that bring their own.</summary>
public sealed class BeginTokenTests : IDisposable
{
    private const int End = 256, Begin = 257, A = 'a', B = 'b', C = 'c';

    private readonly TextMaker _files = new();

    public void Dispose() => _files.Dispose();

    [Theory]
    [InlineData("ab")]
    [InlineData("<begin>ab")]
    [InlineData("ab<end>")]
    [InlineData("<begin>ab<end>")]
    public void A_text_has_one_begin_and_one_end_token_whatever_it_brings(string text)
    {
        var row = FineTuning($$"""{"text": "{{text}}"}""", new() { EndToken = EndTokenRule.TextsWithout });
        Assert.Equal([Begin, A, B, End], row.Segments[0].Ids.ToArray());
    }

    [Theory]
    [InlineData("a", "b")]
    [InlineData("<begin>a", "b")]
    [InlineData("<begin>a", "b<end>")]
    public void The_prompt_of_a_completion_ends_before_the_completion_not_with_an_end_token(string prompt, string completion)
    {
        var row = FineTuning($$"""{"prompt": "{{prompt}}", "completion": "{{completion}}"}""",
            new() { EndToken = EndTokenRule.TextsWithout });
        Assert.Equal([Begin, A, B, End], row.Segments[0].Ids.ToArray());
        Assert.Equal([0, 0, 1, 1], row.Segments[0].Loss.ToArray().Select(loss => (int)loss));
    }

    [Theory]
    [InlineData("a")]
    [InlineData("<begin>a")]
    public void The_answers_of_a_pair_follow_the_same_prompt(string prompt)
    {
        var options = new PreferenceTokenizerOptions { Encoding = AnswerEncoding.Tail, End = AnswerEnding.Texts };
        var row = Pair($$"""{"prompt": "{{prompt}}", "chosen": "b", "rejected": "c"}""", options);
        Assert.Equal([Begin, A], row.Segments[0].Ids.ToArray());
        Assert.Equal([[B, End], [C, End]], row.Segments.Skip(1).Select(segment => segment.Ids.ToArray()));
    }

    [Fact]
    public void Whole_texts_of_a_pair_and_prompts_to_answer_have_one_begin_token()
    {
        var whole = Pair("""{"chosen": "<begin>ab", "rejected": "ac<end>"}""",
            new() { Shape = AnswerShape.Whole, End = AnswerEnding.Texts });
        Assert.Equal([[Begin, A, B, End], [Begin, A, C, End]], Wholes(whole));
        var prompt = Pair("""{"prompt": "<begin>a"}""", new() { Shape = AnswerShape.Prompt });
        Assert.Equal([Begin, A], Assert.Single(prompt.Segments).Ids.ToArray());
    }

    /// <summary>The whole text of each leaf of a tree.</summary>
    private static int[][] Wholes(TokenRow row) =>
        [.. row.Segments.Where(leaf => leaf.Parent >= 0)
            .Select(leaf => (int[])[.. row.Segments[leaf.Parent].Ids.ToArray(), .. leaf.Ids.ToArray()])];

    private TokenRow FineTuning(string row, RowTokenizerOptions options)
    {
        var spec = new DatasetSpec { Id = _files.Write("rows.jsonl", row + "\n") };
        return One(new RowTokenizer(RowReader.For(Dataset.Open(spec), spec, RowUse.FineTuning), Around(), null, options), row);
    }

    private TokenRow Pair(string row, PreferenceTokenizerOptions options)
    {
        var spec = new DatasetSpec { Id = _files.Write("rows.jsonl", row + "\n") };
        var reader = RowReader.For(Dataset.Open(spec), spec, options.Shape == AnswerShape.Prompt ? RowUse.Prompts : RowUse.Preferences);
        var tokenizer = Around();
        return One(new PreferenceTokenizer(reader, tokenizer,
            new ChatRowEncoder(tokenizer, ChatTemplate.Parse("{{ messages }}", "template")), options), row);
    }

    private static TokenRow One(IRowTokenizer tokenizer, string row)
    {
        using var json = JsonDocument.Parse(row);
        var rows = tokenizer.Tokenize(json.RootElement.Clone(), out var problem, out _);
        Assert.Null(problem);
        return Assert.Single(rows);
    }

    /// <summary>The tokenizer of bytes, whose configuration puts both tokens around a text.</summary>
    private Tokenizer Around()
    {
        var folder = Path.Combine(_files.Folder, "around");
        TextMaker.Bytes.Save(folder);
        File.WriteAllText(Path.Combine(folder, "tokenizer_config.json"),
            """{"bos_token":"<begin>","eos_token":"<end>","add_bos_token":true,"add_eos_token":true}""");
        return Tokenizer.Load(folder);
    }
}
