using System.Text.Json;
using Handbook.Base;
using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Torch;
using Handbook.Torch.Fused;
using Handbook.Training.Methods;

namespace Handbook.Evaluation;

/// <summary>How likely a model finds a continuation.</summary>
/// <param name="LogProb">Σ log p of its tokens.</param>
/// <param name="IsGreedy">Whether each of them is the likeliest one.</param>
/// <param name="IsCut">Whether the context was longer than the model reads, and lost its beginning.</param>
internal readonly record struct ContinuationScore(double LogProb, bool IsGreedy, bool IsCut = false);

/// <summary>Log-probabilities of continuations; what several of them continue is computed once.</summary>
/// <param name="model">The model.</param>
/// <param name="maxTokens">Most tokens that go through the network at once; a longer row goes alone.</param>
/// <param name="window">Most tokens that the model reads at once; a longer context loses its beginning.</param>
internal sealed class LikelihoodScorer(LanguageModel model, int maxTokens, int window)
{
    /// <summary>Scores answers to questions.</summary>
    /// <param name="questions">Contexts with their continuations.</param>
    /// <param name="chat">Whether the context is what a user says.</param>
    /// <returns>For each question the scores of its continuations, in their order.</returns>
    public ContinuationScore[][] Score(IReadOnlyList<(string Context, IReadOnlyList<string> Answers)> questions, bool chat,
        CancellationToken cancel)
    {
        var (rows, places) = (new List<TokenRow>(), new List<(int Question, int Answer, bool IsCut)>());
        for (var q = 0; q < questions.Count; q++)
        {
            var (context, answers) = questions[q];
            var split = answers.Select((answer, a) => (Answer: a, Parts: chat ? Chat(context, answer) : Split(context, answer))).ToArray();
            foreach (var tree in split.GroupBy(answer => string.Join(' ', answer.Parts.Context)))
            {
                var common = tree.First().Parts.Context;
                rows.Add(new()
                {
                    Segments =
                    [
                        new(SegmentRole.Prompt, -1, common, new byte[common.Length]),
                        .. tree.Select(answer => new TokenSegment(SegmentRole.Sample, 0, answer.Parts.Answer, Ones(answer.Parts.Answer.Length))),
                    ],
                });
                foreach (var answer in tree)
                    places.Add((q, answer.Answer, answer.Parts.IsCut));
            }
        }
        var scores = questions.Select(question => new ContinuationScore[question.Answers.Count]).ToArray();
        var all = Score(rows, cancel);
        for (var i = 0; i < all.Count; i++)
            scores[places[i].Question][places[i].Answer] = all[i] with { IsCut = places[i].IsCut };
        return scores;
    }

    /// <summary>Σ log p of every token of texts, each read in windows that do not overlap but for the token before, and the last as full
    /// as it can be.</summary>
    public double[] Rolling(IReadOnlyList<string> texts, CancellationToken cancel)
    {
        var (rows, owner) = (new List<TokenRow>(), new List<int>());
        for (var t = 0; t < texts.Count; t++)
            foreach (var row in Windows(texts[t]))
            {
                rows.Add(row);
                owner.Add(t);
            }
        var sums = new double[texts.Count];
        var scores = Score(rows, cancel);
        for (var i = 0; i < scores.Count; i++)
            sums[owner[i]] += scores[i].LogProb;
        return sums;
    }

    private IEnumerable<TokenRow> Windows(string text)
    {
        int[] ids = [Prefix(), .. model.Tokenizer.Encode(text, addSpecialTokens: false)];
        for (var done = 1; done < ids.Length;)
        {
            var count = Math.Min(window, ids.Length - done);
            var start = Math.Max(0, done + count - window - 1);
            var loss = new byte[done + count - start];
            loss.AsSpan(done - start).Fill(1);
            yield return TokenRow.Single(ids[start..(done + count)], loss);
            done += count;
        }
    }

    /// <summary>The token before the first of a text.</summary>
    private int Prefix() => model.Tokenizer.BosId ?? model.Defaults.BosId ?? model.Tokenizer.EosId ?? model.StopIds.FirstOrDefault(-1) switch
    {
        >= 0 and var end => end,
        _ => throw new InputException($"{model.Folder}: the tokenizer names neither a begin nor an end token",
            "the first token of a text is predicted from one of them", "set bos_token or eos_token in tokenizer_config.json"),
    };

    // Blanks at the end of a context belong to the answer's first token.
    private (int[] Context, int[] Answer, bool IsCut) Split(string context, string answer)
    {
        var kept = context.TrimEnd();
        answer = context[kept.Length..] + answer;
        var whole = model.EncodeText(kept + answer);
        var before = kept.Length == 0 ? BeginOf(whole) : model.EncodeText(kept).Length;
        if (before == 0)
            (whole, before) = ([Prefix(), .. whole], 1);
        return Fit(whole, Math.Min(before, whole.Length - 1));
    }

    // A tokenizer that writes a begin token has written it.
    private int BeginOf(int[] whole) => whole.Length > 0 && model.Tokenizer.BosId is { } begin && whole[0] == begin ? 1 : 0;

    private (int[] Context, int[] Answer, bool IsCut) Chat(string context, string answer)
    {
        int[] before = model.EncodeChat(JsonSerializer.SerializeToElement(new[] { new { role = "user", content = context } }));
        return Fit([.. before, .. model.Tokenizer.Encode(answer, addSpecialTokens: false)], before.Length);
    }

    private (int[] Context, int[] Answer, bool IsCut) Fit(int[] whole, int before)
    {
        if (whole.Length == before)
            throw new InputException("an answer has no token, so nothing of it can be scored", fix: "remove empty answers from the rows");
        var over = whole.Length - 1 - window;
        var cut = Math.Max(0, Math.Min(over, before - 1));        // the answer stays whole
        return (whole[cut..before], whole[before..], over > 0);
    }

    private static byte[] Ones(int count)
    {
        var ones = new byte[count];
        ones.AsSpan().Fill(1);
        return ones;
    }

    /// <summary>Per row the scores of its answers, or of the row itself; row by row.</summary>
    private List<ContinuationScore> Score(IReadOnlyList<TokenRow> rows, CancellationToken cancel)
    {
        // Bit by bit: then a score does not depend on what is computed beside it, nor on where a run was stopped.
        using var exact = RowExact.Enabled();
        using var mode = GradMode.Disabled();
        var list = new TokenRowList(rows);
        var found = rows.Select(_ => new List<ContinuationScore>()).ToArray();
        foreach (var bin in Packing.Bins([.. rows.Select(row => row.TokenCount)], maxTokens))
        {
            cancel.ThrowIfCancellationRequested();
            Score(BatchBuilder.Build(list, [.. bin.Order()]), found);
        }
        return [.. found.SelectMany(scores => scores)];
    }

    private void Score(TokenBatch batch, List<ContinuationScore>[] found)
    {
        using var scope = TensorScope.Enter();
        int[] places = [.. Enumerable.Range(0, batch.Count).Where(i => batch.Targets[i] >= 0)];
        var targets = Array.ConvertAll(places, i => batch.Targets[i]);
        var statistics = new HeadStatistics(places.Length);
        _ = TokenLogProbs.Of(model.Network, new Bin(batch, batch.Stream()), places, targets, statistics);
        var at = 0;
        foreach (var segment in batch.Segments)
        {
            var (sum, greedy, any) = (0.0, true, false);
            for (; at < places.Length && places[at] < segment.Start + segment.Length; at++)
            {
                (sum, any) = (sum + statistics.LogProb[at], true);
                greedy &= statistics.ArgMax[at] == targets[at];
            }
            if (any && double.IsNaN(sum))
                throw new InputException("the log-probabilities are no numbers", "the weights or what they compute are no longer finite",
                    "check the model's weights; with bfloat16, try float32");
            if (any)
                found[segment.Row].Add(new(sum, greedy));
        }
    }
}
