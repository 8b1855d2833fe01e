using Handbook.Data.Tokenizing;

namespace Handbook.Data.Tests.Preferences;

/// <summary>Begin token 1, end token 2; all other numbers stand for words.</summary>
public sealed class AnswerRulesTests
{
    private static readonly PreferenceTokenizerOptions s_plain = new() { End = AnswerEnding.Once };

    [Theory]
    [InlineData(AnswerEnding.Once, new[] { 7, 8 }, new[] { 7, 8, 2 })]
    [InlineData(AnswerEnding.Once, new[] { 7, 2 }, new[] { 7, 2 })]
    [InlineData(AnswerEnding.Once, new int[0], new[] { 2 })]
    [InlineData(AnswerEnding.Always, new[] { 7, 2 }, new[] { 7, 2, 2 })]
    [InlineData(AnswerEnding.IfMissing, new[] { 7, 2 }, new[] { 7, 2 })]
    [InlineData(AnswerEnding.IfMissing, new[] { 7 }, new[] { 7, 2 })]
    [InlineData(AnswerEnding.Texts, new[] { 7 }, new[] { 7 })]
    public void Number_9_answers_end_as_the_rule_says(AnswerEnding end, int[] answer, int[] ended) =>
        Assert.Equal(ended, Apply(s_plain with { End = end }, [5], answer).Answer);

    [Theory]
    [InlineData(new[] { 5, 6 }, new[] { 1, 5, 6 })]
    [InlineData(new[] { 1, 5 }, new[] { 1, 5 })]
    [InlineData(new int[0], new[] { 1 })]
    public void Number_8_a_begin_token_is_never_doubled(int[] prompt, int[] begun) =>
        Assert.Equal(begun, Apply(s_plain with { AddsBegin = true }, prompt, [7]).Prompt);

    [Fact]
    public void A_tokenizer_without_begin_token_adds_none() =>
        Assert.Equal([5], new AnswerRules(s_plain with { AddsBegin = true }, begin: null, end: 2).Apply([new(SegmentRole.Chosen, [5], [7])],
            out _)[0].Prompt);

    [Theory]
    [InlineData(false, 6, new[] { 1, 5, 6 }, new[] { 7, 8, 9 })]
    [InlineData(false, 4, new[] { 1, 5, 6 }, new[] { 7 })]
    [InlineData(false, 3, new[] { 1, 5, 6 }, new int[0])]
    [InlineData(true, 6, new[] { 1, 6 }, new[] { 7, 8, 9, 2 })]
    [InlineData(true, 5, new[] { 6 }, new[] { 7, 8, 9, 2 })]
    [InlineData(true, 4, new int[0], new[] { 7, 8, 9, 2 })]
    [InlineData(true, 3, new int[0], new[] { 8, 9, 2 })]
    public void Sequences_are_cut_at_one_end_and_keep_their_begin_token(bool keepsEnd, int length, int[] prompt, int[] answer)
    {
        var cut = Apply(s_plain with { MaxLength = length, KeepsEnd = keepsEnd }, [1, 5, 6], [7, 8, 9]);
        Same(prompt, answer, cut);
    }

    [Fact]
    public void The_older_release_drops_the_begin_token_with_the_rest_of_a_prompt_s_beginning() =>
        Assert.Equal([5, 6], Apply(s_plain with { MaxLength = 6, KeepsEnd = true, KeepsBegin = false }, [1, 5, 6], [7, 8, 9]).Prompt);

    [Fact]
    public void Prompts_lose_their_beginning_and_answers_their_end()
    {
        var cut = Apply(s_plain with { MaxPromptLength = 2, MaxCompletionLength = 2 }, [5, 6, 7], [8, 9, 10]);
        Same([6, 7], [8, 9], cut);
    }

    [Theory]
    [InlineData(10, true, new[] { 3, 4, 5, 6 }, new[] { 7, 2 })]            // 4 + the longer answer's 6 fit
    [InlineData(9, true, new[] { 5, 6 }, new[] { 7, 2 })]                   // the prompt to its limit: 2 + 6 fit
    [InlineData(9, false, new[] { 3, 4 }, new[] { 7, 2 })]
    [InlineData(3, true, new[] { 5, 6 }, new[] { 7 })]                      // and the answers to what is left
    public void The_first_revision_cuts_both_answers_by_the_longer_one(int length, bool keepsEnd, int[] prompt, int[] answer)
    {
        var rules = new AnswerRules(s_plain with
        {
            Cut = AnswerCut.LongestAnswer,
            MaxLength = length,
            MaxPromptLength = 2,
            KeepsEnd = keepsEnd
        }, begin: 1, end: 2);
        var cut = rules.Apply([new(SegmentRole.Chosen, [3, 4, 5, 6], [7]), new(SegmentRole.Rejected, [3, 4, 5, 6], [8, 8, 8, 8, 8])],
            out var wasCut);
        Same(prompt, answer, cut[0]);
        Assert.Equal(prompt, cut[1].Prompt);
        Assert.Equal(length < 10, wasCut);
    }

    [Fact]      // room for begin and end is 8 − 2 = 6; prompt 2 + answer 5 are too long, and 6 − 2 answer tokens are kept
    public void Single_answers_of_the_older_release_leave_room_for_begin_and_end()
    {
        var cut = Apply(s_plain with
        {
            Cut = AnswerCut.BeforeSpecialTokens,
            AddsBegin = true,
            End = AnswerEnding.IfMissing,
            MaxLength = 8,
            MaxPromptLength = 2,
            KeepsEnd = true
        }, [3, 4, 5, 6], [7, 7, 7, 7, 7]);
        Same([1, 5, 6], [7, 7, 7, 7, 2], cut);
    }

    [Theory] // recipes with both limits alike were published
    [InlineData(AnswerCut.LongestAnswer), InlineData(AnswerCut.BeforeSpecialTokens)]
    public void A_prompt_limit_that_leaves_no_room_for_answers_leaves_rows_that_fit_as_they_are(AnswerCut cut)
    {
        var options = s_plain with { Cut = cut, MaxLength = 6, MaxPromptLength = 6 };
        Same([3, 4], [7, 7, 2], Apply(options, [3, 4], [7, 7]));
        Assert.False(AnswerRules.HasTarget(Apply(options, [3, 4, 5], [7, 7, 7])));
    }

    [Fact]
    public void Number_12_whatever_is_cut_no_row_is_longer_than_allowed_and_what_is_left_is_a_piece_of_what_was_there()
    {
        var random = new Random(1);
        foreach (var cut in new[] { AnswerCut.Sequence, AnswerCut.LongestAnswer, AnswerCut.BeforeSpecialTokens })
            for (var i = 0; i < 2000; i++)
            {
                var least = cut == AnswerCut.BeforeSpecialTokens ? 1 : 0;       // the release reserves no room beside what is empty
                var options = s_plain with
                {
                    Cut = cut,
                    AddsBegin = random.Next(2) == 0,
                    MaxLength = random.Next(8, 30),
                    MaxPromptLength = random.Next(2, 6),
                    KeepsEnd = random.Next(2) == 0
                };
                AnswerTokens[] answers = [.. Enumerable.Range(0, 2)
                    .Select(k => new AnswerTokens(k == 0 ? SegmentRole.Chosen : SegmentRole.Rejected, Words(10, random.Next(least, 20)),
                    Words(50, random.Next(least, 20))))];
                foreach (var (after, before) in new AnswerRules(options, 1, 2).Apply(answers, out var wasCut).Zip(answers))
                {
                    Assert.InRange(after.Prompt.Length + after.Answer.Length, 0, options.MaxLength!.Value);
                    Assert.True(IsPiece(after.Prompt.Where(id => id != 1), before.Prompt)
                        && IsPiece(after.Answer.Where(id => id != 2), before.Answer));
                    Assert.True(wasCut || after.Answer[^1] == 2);
                }
            }

        static int[] Words(int from, int count) => [.. Enumerable.Range(from, count)];

        static bool IsPiece(IEnumerable<int> piece, int[] whole) => piece.Zip(piece.Skip(1)).All(pair => pair.Second == pair.First + 1)
            && piece.All(whole.Contains);
    }

    [Fact]
    public void Answers_share_a_prompt_that_is_the_same_and_stand_apart_where_it_is_not()
    {
        var shared = AnswerTree.Build([new(SegmentRole.Chosen, [5, 6], [7, 2]), new(SegmentRole.Rejected, [5, 6], [8, 2])],
            promptsCarryLoss: true);
        Assert.Equal([(SegmentRole.Prompt, -1, 2), (SegmentRole.Chosen, 0, 2), (SegmentRole.Rejected, 0, 2)], Shape(shared));
        Assert.Equal([1, 1], shared.Segments[0].Loss.ToArray());

        var apart = AnswerTree.Build([new(SegmentRole.Chosen, [5, 6], [7, 2]), new(SegmentRole.Rejected, [6], [8, 2])],
            promptsCarryLoss: true);
        Assert.Equal([(SegmentRole.Prompt, -1, 2), (SegmentRole.Chosen, 0, 2), (SegmentRole.Prompt, -1, 1), (SegmentRole.Rejected, 2, 2)],
            Shape(apart));
        Assert.Equal([0], apart.Segments[2].Loss.ToArray());

        var rootless = AnswerTree.Build([new(SegmentRole.Chosen, [], [7, 2]), new(SegmentRole.Rejected, [], [8, 2])]);
        Assert.Equal([(SegmentRole.Chosen, -1, 2), (SegmentRole.Rejected, -1, 2)], Shape(rootless));
    }

    [Theory]
    [InlineData(new[] { 5, 6, 7, 2 }, new[] { 5, 6, 8, 2 }, 2)]
    [InlineData(new[] { 5, 6 }, new[] { 5, 6, 7 }, 1)]
    [InlineData(new[] { 5 }, new[] { 6 }, 0)]
    public void Whole_texts_share_their_beginning_and_keep_their_last_token(int[] chosen, int[] rejected, int shared)
    {
        var row = AnswerTree.OfWholes(chosen, rejected, margin: 0.5);
        Assert.Equal(shared, row.Segments[0].Role == SegmentRole.Prompt ? row.Segments[0].Ids.Length : 0);
        Assert.Equal(chosen[shared..], row.Segments[^2].Ids.ToArray());
        Assert.Equal(rejected[shared..], row.Segments[^1].Ids.ToArray());
        Assert.Equal(0.5, row.Margin);
    }

    private static void Same(int[] prompt, int[] answer, AnswerTokens cut)
    {
        Assert.Equal(prompt, cut.Prompt);
        Assert.Equal(answer, cut.Answer);
    }

    private static (SegmentRole, int, int)[] Shape(TokenRow row) =>
        [.. row.Segments.Select(segment => (segment.Role, segment.Parent, segment.Ids.Length))];

    private static AnswerTokens Apply(PreferenceTokenizerOptions options, int[] prompt, int[] answer) =>
        new AnswerRules(options, begin: 1, end: 2).Apply([new(SegmentRole.Chosen, prompt, answer)], out _)[0];
}
