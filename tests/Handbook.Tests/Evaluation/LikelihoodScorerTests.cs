using Handbook.Evaluation;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Tests.Evaluation;

[Collection("tensors")]
public sealed class LikelihoodScorerTests
{
    private const string Context = "Once upon a time there was a little girl named";

    private static readonly string[] s_answers = [" Lily", " Lily. She liked", " Tom", " x"];

    [Fact] // 1e-4: float32 sums in another order
    public void Answers_that_share_a_context_score_as_each_alone()
    {
        using var model = Open();
        var together = new LikelihoodScorer(model, 4096, 512).Score([(Context, s_answers), ("The dog", [" ran", " sat"])], chat: false, default);
        for (var a = 0; a < s_answers.Length; a++)
        {
            var whole = model.EncodeText(Context + s_answers[a]);
            Assert.Equal(LogProbs(model, whole)[^Scored(model, s_answers[a])..].Sum(), together[0][a].LogProb, 1e-4);
        }
        Assert.True(together[0][0].LogProb > together[0][3].LogProb);
        Assert.True(together[0][0].IsGreedy || together[0][2].IsGreedy == false);
    }

    [Fact]
    public void Scores_do_not_depend_on_what_is_computed_beside_them()
    {
        using var model = Open();
        var alone = new LikelihoodScorer(model, 16, 512).Score([(Context, s_answers)], chat: false, default)[0];
        var beside = new LikelihoodScorer(model, 4096, 512).Score([("The dog", [" ran"]), (Context, s_answers), ("A", [" b"])], chat: false,
            default)[1];
        Assert.Equal(alone, beside);
    }

    [Fact]
    public void The_blank_between_may_stand_on_either_side()
    {
        using var model = Open();
        var scorer = new LikelihoodScorer(model, 4096, 512);
        Assert.Equal(scorer.Score([("The dog", [" ran"])], false, default)[0], scorer.Score([("The dog ", ["ran"])], false, default)[0]);
    }

    [Fact] // windows of 4: every token is predicted once, from at most 4 before it
    public void A_long_text_is_read_in_windows_that_predict_every_token_once()
    {
        using var model = Open();
        const string text = "One day a girl went to the park. She saw a big dog and was happy to play with it all day long.";
        int[] ids = [model.Tokenizer.BosId ?? model.Tokenizer.EosId!.Value, .. model.Tokenizer.Encode(text, addSpecialTokens: false)];
        const int window = 4;
        var expected = 0.0;
        for (var done = 1; done < ids.Length; done += window)
        {
            var end = Math.Min(ids.Length, done + window);
            var start = Math.Max(0, end - window - 1);
            expected += LogProbs(model, ids[start..end])[^(end - done)..].Sum();
        }
        Assert.True(ids.Length > 2 * window);
        Assert.Equal(expected, new LikelihoodScorer(model, 4096, window).Rolling([text], default)[0], 1e-4);
        var whole = new LikelihoodScorer(model, 4096, 512).Rolling([text, text], default);
        Assert.Equal(LogProbs(model, ids).Sum(), whole[1], 1e-4);
    }

    [Fact]
    public void A_context_that_is_too_long_loses_its_beginning_and_is_counted()
    {
        using var model = Open();
        var scorer = new LikelihoodScorer(model, 4096, 3);
        var cut = scorer.Score([(Context, [" Lily"])], false, default)[0][0];
        var ids = model.EncodeText(Context + " Lily")[^4..];
        Assert.True(cut.IsCut);
        Assert.False(new LikelihoodScorer(model, 4096, 64).Score([(Context, [" Lily"])], false, default)[0][0].IsCut);
        Assert.Equal(LogProbs(model, ids)[^Scored(model, " Lily")..].Sum(), cut.LogProb, 1e-4);
    }

    // This tokenizer joins words, so that an answer may end up in the context's last token: that one is scored.
    private static int Scored(LanguageModel model, string answer)
    {
        var whole = model.EncodeText(Context + answer).Length;
        return whole - Math.Min(model.EncodeText(Context).Length, whole - 1);
    }

    private static LanguageModel Open() => LanguageModel.Open(SharedFiles.Need("models", "tinystories-656k"));

    private static double[] LogProbs(LanguageModel model, int[] ids)
    {
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        return LinearLogProb.LogProbs(model.Network.Hidden(StreamLayout.Of([ids])).Narrow(0, 0, ids.Length - 1), model.Network.Head, ids[1..],
            model.Network.HeadOptions).ToArray<double>();
    }
}
