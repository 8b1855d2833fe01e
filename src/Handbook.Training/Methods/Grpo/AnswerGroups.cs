using Handbook.Data;
using Handbook.Data.Mixing;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Text.Tokenizers;
using Handbook.Training.Distributed;
using Handbook.Training.Sampling;

namespace Handbook.Training.Methods.Grpo;

/// <summary>How groups of answers are sampled and scored.</summary>
internal sealed record AnswerGroupOptions
{
    /// <summary>Answers to each prompt.</summary>
    public required int Size { get; init; }

    public required SamplingOptions Sampling { get; init; }

    public RewardScaling Scaling { get; init; }

    /// <summary>Whether answers that were cut at their greatest length are not learnt from.</summary>
    public bool MaskTruncated { get; init; }

    /// <summary>Whether weights that are shared out among processes are gathered once for all answers, not layer by layer for every token.
    /// </summary>
    public bool GathersWeights { get; init; } = true;
}

/// <summary>An answer with all that was said of it, for the log.</summary>
/// <param name="Scores">One per scorer; NaN where it could not judge.</param>
internal sealed record LoggedAnswer(SampledAnswer Answer, double[] Scores, double Reward, double Advantage);

/// <summary>Samples n answers to each prompt from the model as it is, scores them, and compares each with its group.</summary>
/// <remarks>
/// What is drawn for an answer depends on the weights, the prompt, and the number of its random stream, which is made of step, row and
/// place in the group: not on what else is sampled, nor on where a run was interrupted.
/// </remarks>
/// <param name="tokenizer">The model's.</param>
/// <param name="scorers">What gives rewards.</param>
internal sealed class AnswerGroups(AnswerGroupOptions options, Tokenizer tokenizer,
    IReadOnlyList<(IAnswerScorer Scorer, double Weight)> scorers)
{
    private const int MostAnswers = 1 << 12;

    public AnswerGroupOptions Options => options;

    /// <summary>The prompts with their answers, each with its advantage. Everyone calls it, each with its group's prompts.</summary>
    /// <param name="rows">The prompts, by number.</param>
    /// <param name="texts">What each prompt says.</param>
    /// <param name="step">Steps done; −1 in evaluation.</param>
    /// <param name="pass">Says who works together; the first of them receives what is measured of everyone's answers.</param>
    /// <param name="log">Receives every answer; null for none.</param>
    internal SampledRows Sample(Decoder model, IReadOnlyList<(int Number, TokenRow Row)> rows, Func<int, PromptText> texts, long step,
        LossPass pass, Action<LoggedAnswer>? log = null)
    {
        var all = Answered(model, rows, texts, step, pass.Workers);
        var everyone = pass.Workers.GatherGroups(AnswerFigures.Write(all.Select(answer => answer.Figures)))
            .Select(part => AnswerFigures.Read(part, scorers.Count)).ToArray();
        var figures = everyone.SelectMany(part => part).ToArray();
        var metrics = pass.Workers.IsFirst ? pass.Metrics : new MetricSums();
        AnswerFigures.Measure(figures, metrics);
        var rewards = Rewards(figures, metrics);
        var before = everyone.Take(pass.Workers.Group).Sum(part => part.Length);
        var advantages = Advantages.Of(rewards, options.Size, options.Scaling, metrics).AsSpan(before, all.Length).ToArray();
        for (var i = 0; i < all.Length && log is not null; i++)
        {
            var (number, row) = rows[i / options.Size];
            log(new(Said(texts(number), row, all[i].Answer), all[i].Figures.Scores, rewards[before + i], advantages[i]));
        }
        return new(rows.Select((row, r) => (row.Number, Tree(row.Row,
            [.. all.AsSpan(r * options.Size, options.Size).ToArray().Select(answer => answer.Answer)],
            advantages.AsSpan(r * options.Size, options.Size)))));
    }

    /// <summary>An answer and what scorers say of it, prompt by prompt. Those who share the tokens of rows share the prompts out, and tell
    /// each other.</summary>
    private ScoredAnswer[] Answered(Decoder model, IReadOnlyList<(int Number, TokenRow Row)> rows, Func<int, PromptText> texts, long step,
        Workers workers)
    {
        var (rank, count) = (workers.Context?.Rank ?? 0, workers.Context?.Size ?? 1);
        var mine = rows.Where((_, i) => i % count == rank).ToArray();
        var requests = mine.Select(row => new SampleRequest(row.Row.Segments[0].Ids.ToArray(),
            [.. Enumerable.Range(0, options.Size).Select(i => Stream(step, row.Number, i))])).ToArray();
        Answer[] answers;
        using (model.Parameters.Traffic?.Apart(options.GathersWeights))
            answers = [.. new Generator(model).Sample(requests, options.Sampling).SelectMany(group => group)];
        var scores = Scores([.. answers.Zip(mine.SelectMany(row => Enumerable.Repeat(row, options.Size)),
            (answer, row) => Said(texts(row.Number), row.Row, answer))]);
        ScoredAnswer[] own = [.. answers.Select((answer, i) =>
            new ScoredAnswer(answer, AnswerFigures.Of(answer, [.. scores.Select(each => each[i])])))];
        if (count == 1)
            return own;
        var parts = workers.GatherInGroup(ScoredAnswer.Write(own)).Select(part => ScoredAnswer.Read(part, scorers.Count)).ToArray();
        return [.. Enumerable.Range(0, rows.Count).SelectMany(row =>
            parts[row % count].AsSpan(row / count * options.Size, options.Size).ToArray())];
    }

    private static long Stream(long step, int row, int sample) => unchecked((((step + 1) << 31) + row) * MostAnswers + sample);

    /// <summary>The prompt once, with its answers behind it.</summary>
    private TokenRow Tree(TokenRow prompt, Answer[] answers, ReadOnlySpan<double> advantages)
    {
        var scores = new SampleScore[answers.Length];
        for (var i = 0; i < answers.Length; i++)
            scores[i] = new(advantages[i], !options.MaskTruncated || answers[i].Finish == FinishReason.Stop, [], []);
        return new()
        {
            Segments =
            [
                prompt.Segments[0],
                .. answers.Select(answer =>
                {
                    int[] ids = answer.EndToken is { } end ? [.. answer.Tokens, end] : answer.Tokens;
                    return new TokenSegment(SegmentRole.Sample, 0, ids, Enumerable.Repeat((byte)1, ids.Length).ToArray());
                }),
            ],
            Samples = scores,
        };
    }

    private SampledAnswer Said(PromptText prompt, TokenRow row, Answer answer)
    {
        var text = new AnswerText(tokenizer, [], prompt.Messages is null ? row.Segments[0].Ids.Span : []);
        foreach (var id in answer.Tokens)
            text.Append(id);
        text.Finish();
        return new()
        {
            Text = prompt.Text,
            Messages = prompt.Messages,
            Inputs = prompt.Inputs,
            Answer = text.Text,
            Reference = prompt.Reference,
            Place = prompt.Place,
            Finished = answer.Finish == FinishReason.Stop,
        };
    }

    /// <summary>By scorer, its scores; NaN where it could not judge.</summary>
    private double[][] Scores(SampledAnswer[] answers) =>
        [.. scorers.Select(entry => Array.ConvertAll(entry.Scorer.Score(answers), score => score.Value))];

    /// <summary>Σ weight · score of each answer. An answer that a scorer cannot judge counts 0, as in the reference trainer.</summary>
    private double[] Rewards(AnswerFigures[] answers, MetricSums metrics)
    {
        var sums = new double[answers.Length];
        for (var s = 0; s < scorers.Count; s++)
        {
            var (scorer, weight) = scorers[s];
            var scores = Array.ConvertAll(answers, answer => answer.Scores[s]);
            for (var i = 0; i < sums.Length; i++)
                sums[i] += double.IsNaN(scores[i]) ? 0 : weight * scores[i];
            double[] known = [.. scores.Where(score => !double.IsNaN(score))];
            if (known.Length == 0)
                continue;
            metrics.Add($"rewards/{scorer.Name}/mean", known.Sum(), known.Length);
            metrics.Add($"rewards/{scorer.Name}/std", Advantages.Deviation(known), 1);
        }
        return sums;
    }
}
