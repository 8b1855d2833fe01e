using System.Text.Json;
using Handbook.Data;
using Handbook.Data.Mixing;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Text.Tokenizers;
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

    /// <summary>The prompts with their answers, each with its advantage.</summary>
    /// <param name="rows">The prompts, by number.</param>
    /// <param name="texts">What each prompt says.</param>
    /// <param name="step">Steps done; −1 in evaluation.</param>
    /// <param name="log">Receives every answer; null for none.</param>
    internal SampledRows Sample(Decoder model, IReadOnlyList<(int Number, TokenRow Row)> rows, Func<int, PromptText> texts, long step,
        MetricSums metrics, Action<LoggedAnswer>? log = null)
    {
        var requests = rows.Select(row => new SampleRequest(row.Row.Segments[0].Ids.ToArray(),
            [.. Enumerable.Range(0, options.Size).Select(i => Stream(step, row.Number, i))])).ToArray();
        Answer[][] answers;
        using (options.GathersWeights ? model.Parameters.Traffic?.Hold() : null)
            answers = new Generator(model).Sample(requests, options.Sampling);
        var said = rows.Zip(answers).SelectMany(pair =>
            pair.Second.Select(answer => Said(texts(pair.First.Number), pair.First.Row, answer))).ToArray();
        Measure([.. answers.SelectMany(group => group)], metrics);
        var rewards = Rewards(said, metrics, out var scores);
        var advantages = Advantages.Of(rewards, options.Size, options.Scaling, metrics);
        for (var i = 0; i < said.Length; i++)
            log?.Invoke(new(said[i], [.. scores.Select(each => each[i])], rewards[i], advantages[i]));
        return new(rows.Select((row, r) => (row.Number, Tree(row.Row, answers[r], advantages.AsSpan(r * options.Size, options.Size)))));
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

    /// <summary>Σ weight · score of each answer. An answer that a scorer cannot judge counts 0, as in the reference trainer.</summary>
    private double[] Rewards(SampledAnswer[] answers, MetricSums metrics, out double[][] scores)
    {
        var sums = new double[answers.Length];
        scores = new double[scorers.Count][];
        for (var s = 0; s < scorers.Count; s++)
        {
            var (scorer, weight) = scorers[s];
            scores[s] = Array.ConvertAll(scorer.Score(answers), score => score.Value);
            for (var i = 0; i < sums.Length; i++)
                sums[i] += double.IsNaN(scores[s][i]) ? 0 : weight * scores[s][i];
            double[] known = [.. scores[s].Where(score => !double.IsNaN(score))];
            if (known.Length == 0)
                continue;
            metrics.Add($"rewards/{scorer.Name}/mean", known.Sum(), known.Length);
            metrics.Add($"rewards/{scorer.Name}/std", Advantages.Deviation(known), 1);
        }
        return sums;
    }

    private static void Measure(Answer[] answers, MetricSums metrics)
    {
        double[] lengths = Array.ConvertAll(answers, Length);
        double[] ended = [.. answers.Where(answer => answer.Finish == FinishReason.Stop).Select(Length)];
        metrics.Add("completions/mean_length", lengths.Sum(), lengths.Length);
        metrics.Add("completions/min_length", lengths.Min(), 1);
        metrics.Add("completions/max_length", lengths.Max(), 1);
        metrics.Add("completions/clipped_ratio", answers.Length - ended.Length, answers.Length);
        if (ended.Length == 0)
            return;
        metrics.Add("completions/mean_terminated_length", ended.Sum(), ended.Length);
        metrics.Add("completions/min_terminated_length", ended.Min(), 1);
        metrics.Add("completions/max_terminated_length", ended.Max(), 1);

        static double Length(Answer answer) => answer.Tokens.Length + (answer.EndToken is null ? 0 : 1);
    }
}
