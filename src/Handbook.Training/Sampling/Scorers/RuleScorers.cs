using System.Globalization;
using System.Numerics;
using System.Text.RegularExpressions;
using Handbook.Base;

namespace Handbook.Training.Sampling.Scorers;

/// <summary>A scorer that looks at one answer at a time.</summary>
internal abstract class RuleScorer : IAnswerScorer
{
    public abstract string Name { get; }

    public void Score(IReadOnlyList<SampledAnswer> answers, Action<int, AnswerRating> done, CancellationToken cancel)
    {
        for (var i = 0; i < answers.Count; i++)
        {
            cancel.ThrowIfCancellationRequested();
            done(i, Score(answers[i]));
        }
    }

    public abstract AnswerRating Score(SampledAnswer answer);

    public void Dispose() => GC.SuppressFinalize(this);

    private protected static AnswerRating Of(bool good) => new(good ? 1 : 0);

    private protected string Reference(SampledAnswer answer) => answer.Reference ?? throw new InputException(
        $"{answer.Place}: {Name} compares with the right answer, but the row has none",
            fix: "name the column with the right answers in reference_column, or take another scorer");
}

/// <summary>Where an answer states its result.</summary>
/// <param name="pattern">Its first group, or the whole match, is the result; the last match counts. null takes the whole answer.</param>
internal sealed class ResultPattern(string? pattern)
{
    private static readonly TimeSpan s_longest = TimeSpan.FromSeconds(1);

    private readonly Regex? _pattern = pattern is null ? null : new Regex(pattern, RegexOptions.CultureInvariant, s_longest);

    /// <summary>The result; null where the answer states none.</summary>
    public string? In(string answer)
    {
        if (_pattern is null)
            return answer;
        try
        {
            return _pattern.Matches(answer).LastOrDefault() is { } match
                ? (match.Groups.Count > 1 ? match.Groups[1] : match.Groups[0]).Value : null;
        }
        catch (RegexMatchTimeoutException)
        {
            return null;        // a pattern that runs wild on this answer finds nothing in it
        }
    }
}

/// <summary>1 where the answer is the right one, character for character, space around it aside.</summary>
internal sealed class ExactMatchScorer(ResultPattern result) : RuleScorer
{
    public override string Name => "exact_match";

    public override AnswerRating Score(SampledAnswer answer) =>
        Of(result.In(answer.Answer)?.Trim() == Reference(answer).Trim());
}

/// <summary>1 where the last number of the answer equals the last number of the right answer.</summary>
internal sealed partial class NumberMatchScorer(ResultPattern result) : RuleScorer
{
    public override string Name => "number_match";

    public override AnswerRating Score(SampledAnswer answer)
    {
        var expected = Expected(Reference(answer), answer.Place);
        return result.In(answer.Answer) is { } stated && LastNumber(stated) is { } number
            ? Of(Equal(number, expected)) : new(0, "no number");
    }

    /// <summary>The number of a right answer.</summary>
    /// <exception cref="InputException">It holds none.</exception>
    internal static string Expected(string reference, string place) => LastNumber(reference)
        ?? throw new InputException($"{place}: number_match: the right answer holds no number: \"{reference}\"",
            fix: "correct the row, or name another reference_column");

    /// <summary>The last number of a text, as digits 0–9 of whatever script with an optional sign, point and
    /// exponent; null without one.</summary>
    public static string? LastNumber(string text) =>
        Number().Matches(AsciiNumbers.In(text)).LastOrDefault()?.Value.Replace(",", "");

    private static bool Equal(string a, string b)
    {
        if (decimal.TryParse(a, NumberStyles.Float, CultureInfo.InvariantCulture, out var x)
            && decimal.TryParse(b, NumberStyles.Float, CultureInfo.InvariantCulture, out var y) && x != 0)
            return x == y;
        if (BigInteger.TryParse(a, CultureInfo.InvariantCulture, out var i)
            && BigInteger.TryParse(b, CultureInfo.InvariantCulture, out var j))
            return i == j;
        return double.TryParse(a, CultureInfo.InvariantCulture, out var v)
            && double.TryParse(b, CultureInfo.InvariantCulture, out var w) && v == w;
    }

    // A minus behind a letter, digit or bracket is no sign, but behind one of a script without capitals it is: such scripts set no space.
    // Commas count between groups of three digits.
    [GeneratedRegex(@"(?:(?<![\p{Lu}\p{Ll}\p{Lt}0-9_)])-)?(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|\.[0-9]+)", RegexOptions.CultureInvariant)]
    private static partial Regex Number();
}

/// <summary>1 where the answer matches a regular expression somewhere.</summary>
internal sealed class RegexScorer(string pattern) : RuleScorer
{
    private readonly Regex _pattern = new(pattern, RegexOptions.CultureInvariant, TimeSpan.FromSeconds(1));

    public override string Name => "regex";

    public override AnswerRating Score(SampledAnswer answer)
    {
        try
        {
            return Of(_pattern.IsMatch(answer.Answer));
        }
        catch (RegexMatchTimeoutException)
        {
            return new(0, "the pattern ran for a second without an end");
        }
    }
}

/// <summary>1 where the answer is neither too short nor too long.</summary>
internal sealed class LengthScorer(int least, int? most) : RuleScorer
{
    public override string Name => "length";

    public override AnswerRating Score(SampledAnswer answer) =>
        Of(answer.Answer.Length >= least && answer.Answer.Length <= (most ?? int.MaxValue));
}

/// <summary>1 where the answer ended by itself.</summary>
internal sealed class FinishedScorer : RuleScorer
{
    public override string Name => "finished";

    public override AnswerRating Score(SampledAnswer answer) => Of(answer.Finished);
}
