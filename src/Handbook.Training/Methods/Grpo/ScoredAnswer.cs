using System.Runtime.InteropServices;
using Handbook.Models.Generation;

namespace Handbook.Training.Methods.Grpo;

/// <summary>What is measured and rewarded of an answer; those who train together know it of everyone's.</summary>
/// <param name="Length">Tokens, the end token included.</param>
/// <param name="Finished">Whether it ended by itself.</param>
/// <param name="Scores">One per scorer; NaN where it could not judge.</param>
internal sealed record AnswerFigures(int Length, bool Finished, double[] Scores)
{
    public static AnswerFigures Of(Answer answer, double[] scores) =>
        new(answer.Tokens.Length + (answer.EndToken is null ? 0 : 1), answer.Finish == FinishReason.Stop, scores);

    public static double[] Write(IEnumerable<AnswerFigures> answers) =>
        [.. answers.SelectMany(answer => (double[])[answer.Length, answer.Finished ? 1 : 0, .. answer.Scores])];

    public static AnswerFigures[] Read(double[] numbers, int scorers) =>
        [.. numbers.Chunk(2 + scorers).Select(answer => new AnswerFigures((int)answer[0], answer[1] != 0, answer[2..]))];

    /// <summary>How long answers are, and how they end.</summary>
    public static void Measure(AnswerFigures[] answers, MetricSums metrics)
    {
        if (answers.Length == 0)
            return;
        double[] lengths = Array.ConvertAll(answers, answer => (double)answer.Length);
        double[] ended = [.. answers.Where(answer => answer.Finished).Select(answer => (double)answer.Length)];
        metrics.Add("completions/mean_length", lengths.Sum(), lengths.Length);
        metrics.Add("completions/min_length", lengths.Min(), 1);
        metrics.Add("completions/max_length", lengths.Max(), 1);
        metrics.Add("completions/clipped_ratio", answers.Length - ended.Length, answers.Length);
        if (ended.Length == 0)
            return;
        metrics.Add("completions/mean_terminated_length", ended.Sum(), ended.Length);
        metrics.Add("completions/min_terminated_length", ended.Min(), 1);
        metrics.Add("completions/max_terminated_length", ended.Max(), 1);
    }
}

/// <summary>An answer as it travels to those who learn from it.</summary>
internal sealed record ScoredAnswer(Answer Answer, AnswerFigures Figures)
{
    /// <summary>All that training needs of answers: tokens, how they end, scores.</summary>
    public static byte[] Write(IEnumerable<ScoredAnswer> answers)
    {
        var numbers = new List<double>();
        foreach (var (answer, figures) in answers)
        {
            numbers.AddRange([answer.Tokens.Length, answer.EndToken ?? -1, .. AnswerFigures.Write([figures])]);
            foreach (var token in answer.Tokens)
                numbers.Add(token);
        }
        return MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(numbers)).ToArray();
    }

    public static ScoredAnswer[] Read(byte[] bytes, int scorers)
    {
        var (numbers, answers) = (MemoryMarshal.Cast<byte, double>(bytes).ToArray(), new List<ScoredAnswer>());
        for (var at = 0; at < numbers.Length;)
        {
            var (length, end) = ((int)numbers[at], (int)numbers[at + 1]);
            var figures = AnswerFigures.Read(numbers[(at + 2)..(at + 4 + scorers)], scorers)[0];
            at += 4 + scorers;
            int[] tokens = Array.ConvertAll(numbers[at..(at + length)], token => (int)token);
            at += length;
            answers.Add(new(new(tokens, [], figures.Finished ? FinishReason.Stop : FinishReason.Length)
            {
                EndToken = end < 0 ? null : end
            }, figures));
        }
        return [.. answers];
    }
}
