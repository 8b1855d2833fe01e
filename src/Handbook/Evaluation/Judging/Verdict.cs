using System.Globalization;
using System.Text.RegularExpressions;

namespace Handbook.Evaluation.Judging;

/// <summary>Who is better.</summary>
internal enum Winner
{
    /// <summary>The reply holds no verdict.</summary>
    Error,

    /// <summary>The one that stands first.</summary>
    A,

    /// <summary>The one that stands second.</summary>
    B,

    /// <summary>Neither.</summary>
    Tie,
}

/// <summary>What a judge's reply says, by the rules of FastChat's <c>common.py</c>.</summary>
internal static partial class Verdict
{
    /// <summary>Marks that differ by no more are equal (<c>TIE_DELTA</c>).</summary>
    private const double TieDelta = 0.1;

    /// <summary>The mark, in double brackets or else in single ones; null where there is none up to 10. A judge is asked for one from 1 to
    /// 10, but a 0 counts there, too.</summary>
    public static double? Mark(string reply) => (Single().Match(reply) is { Success: true } found ? found : SingleBackup().Match(reply)) is
    { Success: true } match && Number(match.Groups[1]) is <= 10 and var mark ? mark : null;

    /// <summary>The better one of two.</summary>
    /// <param name="reply">The judge's words.</param>
    /// <param name="rating">The prompt's <c>output_format</c>.</param>
    public static Winner Of(string reply, string rating)
    {
        if (rating == "[[A]]")
            return reply.Contains("[[A]]", StringComparison.Ordinal) ? Winner.A
                : reply.Contains("[[B]]", StringComparison.Ordinal) ? Winner.B
                : reply.Contains("[[C]]", StringComparison.Ordinal) ? Winner.Tie : Winner.Error;
        var match = Two().Match(reply) is { Success: true } found ? found : TwoBackup().Match(reply);
        if (!match.Success)
            return Winner.Error;
        var (a, b) = (Number(match.Groups[1]), Number(match.Groups[2]));
        return Math.Abs(a - b) <= TieDelta ? Winner.Tie : a > b ? Winner.A : Winner.B;
    }

    private static double Number(Group group) => double.Parse(group.Value, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"\[\[([0-9]+\.?[0-9]*)\]\]")]
    private static partial Regex Single();

    [GeneratedRegex(@"\[([0-9]+\.?[0-9]*)\]")]
    private static partial Regex SingleBackup();

    [GeneratedRegex(@"\[\[([0-9]+\.?[0-9]*),\s?([0-9]+\.?[0-9]*)\]\]")]
    private static partial Regex Two();

    [GeneratedRegex(@"\[([0-9]+\.?[0-9]*),\s?([0-9]+\.?[0-9]*)\]")]
    private static partial Regex TwoBackup();
}
