using Handbook.Base;
using Handbook.Data;
using Handbook.Models;
using Handbook.Testing;
using Handbook.Text.Tokenizers;
using Handbook.Torch;
using Handbook.Training.Rewards;
using Handbook.Training.Tests.Contract;

namespace Handbook.Training.Tests.Rewards;

[Collection("tensors")]
public sealed class RewardModelTests
{
    [Theory] // 1e-10 in float64: a shared prompt changes the order of sums alone
    [InlineData("llama")]
    [InlineData("mistral")]
    [InlineData("gpt2")]
    public void Answers_of_one_prompt_score_as_each_does_alone(string kind)
    {
        using var model = Open(kind);
        var random = new Random(5);
        TokenRow[] trees = [.. Enumerable.Range(0, 12).Select(_ => Tree(random, answers: random.Next(1, 5)))];
        TokenRow[] alone = [.. trees.SelectMany(Separate)];

        var shared = model.Score(trees);
        var separate = model.Score(alone);

        Assert.Equal(trees.Sum(tree => ScorePlace.Roles(tree).Count()), shared.Length);
        Assert.Equal(shared.Length, separate.Length);
        Assert.All(shared.Zip(separate), p => Assert.Equal(p.Second, p.First, 1e-10));
        Assert.True(shared.Distinct().Count() > shared.Length / 2);
    }

    [Fact]
    public void Scores_do_not_depend_on_how_rows_are_put_together()
    {
        var random = new Random(6);
        TokenRow[] rows = [.. Enumerable.Range(0, 300).Select(_ => Tree(random, answers: 2))];
        using var large = Open("llama");
        using var small = Open("llama", maxTokens: 1);
        var done = 0;

        var packed = large.Score(rows, count => done += count);
        var oneByOne = small.Score(rows);

        Assert.Equal(300, done);
        Assert.All(packed.Zip(oneByOne), p => Assert.Equal(p.Second, p.First, 1e-10));
    }

    [Fact]
    public void The_score_is_read_at_the_last_token_and_before_padding_where_the_model_was_published_so()
    {
        var rows = new TokenRowList([Row([4, 5, 6, 2]),
            new TokenRow { Segments = [Part(SegmentRole.Prompt, -1, [4]), Part(SegmentRole.Chosen, 0, [5, 2, 2]),
            Part(SegmentRole.Rejected, 0, [2])] }]);
        var batch = BatchBuilder.Build(rows, [0, 1]);

        // the second row's prompt is one token, which stands at the beginning of both answers: [4 5 2 2] [4 2]
        Assert.Equal([3, 7, 9], ScorePlace.Of(batch).Select(place => place.Place));
        Assert.Equal([2, 5, 8], ScorePlace.Of(batch, padId: 2).Select(place => place.Place));
        Assert.Equal([SegmentRole.Row, SegmentRole.Chosen, SegmentRole.Rejected], ScorePlace.Of(batch).Select(end => end.Role));
    }

    [Fact]
    public void A_language_model_is_refused_with_what_to_type()
    {
        using var folder = new TemporaryFolder();
        Tiny.Config("llama").Save(folder.Path);

        var failure = Assert.Throws<InputException>(() => RewardModel.Open(folder.Path, DType.Float32));

        Assert.Contains("is a language model", failure.Message);
        Assert.Contains($"handbook reward RECIPE --model_name_or_path={folder.Path}", failure.Message);
    }

    internal static RewardModel Open(string kind, int maxTokens = 4096) =>
        new(Tiny.Model(kind, head: ModelHead.Score),
            Tokenizer.FromJson("""{"version":"1.0","model":{"type":"BPE","vocab":{"a":0},"merges":[]}}"""u8))
        { MaxTokens = maxTokens };

    private static TokenRow Tree(Random random, int answers) => new()
    {
        Segments = [Part(SegmentRole.Prompt, -1, Ids(random, 8)),
            .. Enumerable.Range(0, answers).Select(_ => Part(SegmentRole.Sample, 0, Ids(random, 6)))],
    };

    /// <summary>Each answer with a prompt of its own.</summary>
    private static IEnumerable<TokenRow> Separate(TokenRow tree) =>
        tree.Segments.Skip(1).Select(answer => Row([.. tree.Segments[0].Ids.Span, .. answer.Ids.Span]));

    private static int[] Ids(Random random, int longest) =>
        [.. Enumerable.Range(0, random.Next(1, longest + 1)).Select(_ => random.Next(3, Tiny.Vocabulary))];

    private static TokenRow Row(int[] ids) => TokenRow.Single(ids, new byte[ids.Length]);

    private static TokenSegment Part(SegmentRole role, int parent, int[] ids) => new(role, parent, ids, new byte[ids.Length]);
}
