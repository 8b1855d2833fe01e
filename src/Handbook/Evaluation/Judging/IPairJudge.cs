using Handbook.Training.Sampling;
using Handbook.Training.Sampling.Scorers;

namespace Handbook.Evaluation.Judging;

/// <summary>What says which of two answers is better.</summary>
internal interface IPairJudge : IDisposable
{
    /// <summary>As annotations name it.</summary>
    string Name { get; }

    /// <summary>What decides its verdicts.</summary>
    string Key { get; }

    /// <summary>Opens it, so that what is wrong is told before anything is written.</summary>
    void Open();

    /// <summary>Compares answers.</summary>
    /// <param name="pairs">Two answers to an instruction.</param>
    /// <param name="done">Hears (pair, preference from 1 to 2 or NaN, what was said), in any order but one at a time.</param>
    void Compare(IReadOnlyList<(AlpacaOutput First, AlpacaOutput Second)> pairs, Action<int, double, IReadOnlyList<string>> done,
        CancellationToken cancel);
}

/// <summary>A judge that speaks: asked in both orders, so that it gains nothing by where an answer stands.</summary>
internal sealed class SpokenPairJudge(Judge judge, JudgePrompts prompts) : IPairJudge
{
    private readonly JudgePrompt _prompt = prompts.Of(isPair: true, hasReference: false, isSecondTurn: false);

    public string Name => judge.Name;

    public string Key => string.Join('\0', judge.Name, _prompt.System, _prompt.Template, _prompt.Rating);

    public void Open() => judge.Open();

    public void Compare(IReadOnlyList<(AlpacaOutput First, AlpacaOutput Second)> pairs, Action<int, double, IReadOnlyList<string>> done,
        CancellationToken cancel)
    {
        var asked = pairs.SelectMany(pair => ((string, string)[])[Words(pair.First, pair.Second), Words(pair.Second, pair.First)]).ToArray();
        var replies = new string?[asked.Length];
        judge.Ask(asked, (i, reply, reason) =>
        {
            replies[i] = reply ?? $"(not asked: {reason})";
            var first = i / 2 * 2;
            if (replies[first] is not { } one || replies[first + 1] is not { } two)
                return;
            done(i / 2, (Preference(Verdict.Of(one, _prompt.Rating)) + 3 - Preference(Verdict.Of(two, _prompt.Rating))) / 2, [one, two]);
        }, cancel);
    }

    private (string System, string User) Words(AlpacaOutput a, AlpacaOutput b) => (_prompt.System, _prompt.Filled(
        new Dictionary<string, string> { ["question"] = a.Instruction, ["answer_a"] = a.Output, ["answer_b"] = b.Output }));

    private static double Preference(Winner winner) =>
        winner switch { Winner.A => 1, Winner.B => 2, Winner.Tie => 1.5, _ => double.NaN };

    public void Dispose() => judge.Dispose();
}

/// <summary>A reward model: the answer with the higher score is better.</summary>
/// <param name="name">As annotations name it.</param>
/// <param name="key">Its weights.</param>
/// <param name="open">Opens it.</param>
internal sealed class RewardPairJudge(string name, string key, Func<RewardModelScorer> open) : IPairJudge
{
    private RewardModelScorer? _scorer;

    public string Name => name;

    public string Key => key;

    public void Open() => _scorer ??= open();

    public void Compare(IReadOnlyList<(AlpacaOutput First, AlpacaOutput Second)> pairs, Action<int, double, IReadOnlyList<string>> done,
        CancellationToken cancel)
    {
        Open();
        var scores = new double?[2 * pairs.Count];
        SampledAnswer[] answers = [.. pairs.SelectMany((pair, i) => ((AlpacaOutput[])[pair.First, pair.Second]).Select(output => new SampledAnswer
        {
            Messages = Judge.Prompt("", output.Instruction).Messages,
            Answer = output.Output,
            Place = $"instruction {i + 1}",
        }))];
        _scorer!.Score(answers, (i, rating) =>
        {
            scores[i] = rating.Value;
            if (scores[i / 2 * 2] is { } first && scores[i / 2 * 2 + 1] is { } second)
                done(i / 2, second > first ? 2 : second < first ? 1 : 1.5, [$"{first:R}", $"{second:R}"]);
        }, cancel);
    }

    public void Dispose() => _scorer?.Dispose();
}
