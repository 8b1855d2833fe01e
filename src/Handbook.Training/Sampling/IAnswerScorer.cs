using Handbook.Base;

namespace Handbook.Training.Sampling;

/// <summary>Scores answers: a rule, a reward model, a judge.</summary>
public interface IAnswerScorer : IDisposable
{
    /// <summary>As <c>reward_funcs</c> calls it.</summary>
    string Name { get; }

    /// <summary>Scores answers; each is told as soon as it is known, in any order but one at a time.</summary>
    /// <param name="answers">What to score.</param>
    /// <param name="done">Hears (place in the list, score).</param>
    /// <exception cref="InputException">An answer cannot be scored, e.g. its reference is missing; scores told so far hold.</exception>
    void Score(IReadOnlyList<SampledAnswer> answers, Action<int, AnswerRating> done, CancellationToken cancel);
}

/// <summary>Ways to call a scorer.</summary>
internal static class AnswerScorer
{
    /// <summary>All scores, in the answers' order.</summary>
    public static AnswerRating[] Score(this IAnswerScorer scorer, IReadOnlyList<SampledAnswer> answers, CancellationToken cancel = default)
    {
        var scores = new AnswerRating[answers.Count];
        scorer.Score(answers, (i, score) => scores[i] = score, cancel);
        return scores;
    }
}
