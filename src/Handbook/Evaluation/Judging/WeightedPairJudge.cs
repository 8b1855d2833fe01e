using Handbook.Base;
using Handbook.Models.Generation;

namespace Handbook.Evaluation.Judging;

/// <summary>Says how likely the first tokens of a reply are.</summary>
internal interface IFirstTokens : IDisposable
{
    /// <summary>As annotations name it.</summary>
    string Name { get; }

    /// <summary>Opens it, so that what is wrong is told before anything is written.</summary>
    void Open();

    /// <summary>Asks many things; each is told as soon as it is there, in any order but one at a time.</summary>
    /// <param name="asked">The system's and the user's words.</param>
    /// <param name="done">Hears (number, log p of first tokens); null where it cannot be asked, with the reason.</param>
    void Ask(IReadOnlyList<(string System, string User)> asked, Action<int, IReadOnlyDictionary<string, double>?, string> done,
        CancellationToken cancel);
}

/// <summary>A judge on an endpoint, which sends the likeliest tokens with their log-probabilities.</summary>
internal sealed class EndpointFirstTokens(Judge judge) : IFirstTokens
{
    /// <summary>How many tokens are asked for, as the published judge asks.</summary>
    public const int Count = 5;

    public string Name => judge.Name;

    public void Open() => judge.Open();

    public void Ask(IReadOnlyList<(string System, string User)> asked, Action<int, IReadOnlyDictionary<string, double>?, string> done,
        CancellationToken cancel) => judge.AskWhole(asked, (i, answer, reason) => done(i, answer is null ? null
            : answer.FirstTokens ?? throw new InputException($"{judge.Name} replied without log-probabilities",
                "--weighted reads preferences from them", "name an endpoint that gives top_logprobs, or leave --weighted out"), reason),
            cancel);

    public void Dispose() => judge.Dispose();
}

/// <summary>A judge in this process: log p of each verdict behind the prompt.</summary>
/// <param name="name">As annotations name it.</param>
/// <param name="open">Opens it; once, where it is needed.</param>
/// <param name="maxTokens">Most tokens that are scored at once.</param>
internal sealed class ModelFirstTokens(string name, Func<LanguageModel> open, int maxTokens = 4096) : IFirstTokens
{
    private const int Together = 32;

    private LanguageModel? _model;

    public string Name => name;

    public void Open() => _model ??= open();

    public void Ask(IReadOnlyList<(string System, string User)> asked, Action<int, IReadOnlyDictionary<string, double>?, string> done,
        CancellationToken cancel)
    {
        Open();
        string[] verdicts = [WeightedPairJudge.First, WeightedPairJudge.Second];
        var scorer = new LikelihoodScorer(_model!, maxTokens, _model!.Network.Config.LongestText);
        foreach (var chunk in Enumerable.Range(0, asked.Count).Chunk(Together))
        {
            var scores = scorer.Score([.. chunk.Select(i => (asked[i].System.Length > 0 ? $"{asked[i].System}\n\n{asked[i].User}"
                : asked[i].User, (IReadOnlyList<string>)verdicts))], chat: true, cancel);
            for (var place = 0; place < chunk.Length; place++)
                if (scores[place][0].IsCut)
                    done(chunk[place], null, "the prompt is longer than the judge reads");
                else
                    done(chunk[place], verdicts.Zip(scores[place]).ToDictionary(pair => pair.First, pair => pair.Second.LogProb), "");
        }
    }

    public void Dispose() => _model?.Dispose();
}

/// <summary>A judge that answers with one letter, whose probability is the preference: AlpacaEval 2's
/// <c>weighted_alpaca_eval_gpt4_turbo</c>. arXiv:2404.04475.</summary>
/// <remarks>
/// <code>
/// preference = 2 − p(m) / ( p(m) + p(M) )      m: the first answer is better, M: the second; a letter that is not among the
///                                              likeliest has probability 0, and where neither is there is no preference
/// </code>
/// Both orders are asked and averaged; the published judge draws one.
/// </remarks>
internal sealed class WeightedPairJudge(IFirstTokens judge, WeightedPrompt prompt) : IPairJudge
{
    /// <summary>The letter for the answer that stands first.</summary>
    public const string First = "m";

    /// <summary>The letter for the answer that stands second.</summary>
    public const string Second = "M";

    public string Name => judge.Name;

    public string Key => string.Join('\0', "weighted", judge.Name, prompt.System, prompt.User);

    public void Open() => judge.Open();

    public void Compare(IReadOnlyList<(AlpacaOutput First, AlpacaOutput Second)> pairs, Action<int, double, IReadOnlyList<string>> done,
        CancellationToken cancel)
    {
        (string, string)[] asked = [.. pairs.SelectMany(pair =>
            ((string, string)[])[prompt.Filled(pair.First, pair.Second), prompt.Filled(pair.Second, pair.First)])];
        var found = new (double Preference, string Words)?[asked.Length];
        judge.Ask(asked, (i, tokens, reason) =>
        {
            found[i] = tokens is null ? (double.NaN, $"(not asked: {reason})") : (Preference(tokens), Shown(tokens));
            if (found[i / 2 * 2] is { } one && found[i / 2 * 2 + 1] is { } two)
                done(i / 2, (one.Preference + 3 - two.Preference) / 2, [one.Words, two.Words]);
        }, cancel);
    }

    /// <summary>From 1, the first is better, to 2, the second is; NaN where neither letter is there.</summary>
    /// <param name="tokens">log p of the likeliest tokens.</param>
    public static double Preference(IReadOnlyDictionary<string, double> tokens)
    {
        var (first, second) = (LogProb(First), LogProb(Second));
        return first is null && second is null ? double.NaN
            : 2 - 1 / (1 + Math.Exp((second ?? double.NegativeInfinity) - (first ?? double.NegativeInfinity)));

        double? LogProb(string letter) => tokens.TryGetValue(letter, out var logProb) ? logProb : null;
    }

    private static string Shown(IReadOnlyDictionary<string, double> tokens) =>
        string.Join(' ', tokens.OrderByDescending(token => token.Value).Select(token => $"{token.Key}:{token.Value:R}"));

    public void Dispose() => judge.Dispose();
}
