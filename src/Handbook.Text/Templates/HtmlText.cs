using System.Net;
using System.Text;
using System.Text.RegularExpressions;

namespace Handbook.Text.Templates;

/// <summary>The two filters that know HTML: taking tags away and making links.</summary>
internal static partial class HtmlText
{
    public static string StripTags(string text)
    {
        var plain = Cut(Cut(text, "<!--", "-->"), "<", ">");
        return WebUtility.HtmlDecode(string.Join(' ', PyText.Split(plain, null, -1, fromRight: false)));
    }

    private static string Cut(string text, string open, string close)
    {
        var result = new StringBuilder();
        var from = 0;
        while (text.IndexOf(open, from, StringComparison.Ordinal) is var start and >= 0
            && text.IndexOf(close, start + open.Length, StringComparison.Ordinal) is var end and >= 0)
        {
            result.Append(text, from, start - from);
            from = end + close.Length;
        }
        return result.Append(text, from, text.Length - from).ToString();
    }

    public static object Urlize(Render render, Arguments a)
    {
        int? limit = a.Or(1, null) is { } most ? PyNumber.ToInt32(most, "trim_url_limit") : null;
        var relations = new SortedSet<string>((a.OptionalText(4, "rel") ?? "").Split(' ', StringSplitOptions.RemoveEmptyEntries),
            StringComparer.Ordinal) { "noopener" };
        if (a.Truth(2, false))
            relations.Add("nofollow");
        var rel = $" rel=\"{Markup.Escape(string.Join(' ', relations))}\"";
        var target = a.OptionalText(3, "target") is { Length: > 0 } name ? $" target=\"{Markup.Escape(name)}\"" : "";
        var schemes = a.Or(5, null) is { } given ? PySequence.ToList(given).ConvertAll(scheme => PyText.Of(scheme) ?? "") : [];
        foreach (var scheme in schemes)
            if (!SchemePattern().IsMatch(scheme))
                throw JinjaException.Undefined($"{PyRepr.Quote(scheme)} is not a valid URI scheme prefix.");
        var text = Markup.EscapeValue(a[0]);
        Budget.Text(text.Length);
        var result = string.Concat(BlankPattern().Split(text).Select(word => Link(word, limit, rel + target, schemes)));
        return render.AutoEscape ? new Markup(result) : result;
    }

    private static string Link(string word, int? limit, string attributes, List<string> schemes)
    {
        string head = "", middle = word, tail = "";
        if (HeadPattern().Match(middle) is { Success: true } opening)
        {
            head = opening.Value;
            middle = middle[opening.Length..];
        }
        if (TailPattern().Match(middle) is { Success: true } closing)
        {
            tail = closing.Value;
            middle = middle[..closing.Index];
        }
        // A bracket that the link itself opened belongs to the link.
        foreach (var (open, close) in new[] { ("(", ")"), ("<", ">"), ("&lt;", "&gt;") })
        {
            var opened = middle.AsSpan().Count(open);
            if (opened <= middle.AsSpan().Count(close))
                continue;
            for (var i = Math.Min(opened, tail.AsSpan().Count(close)); i > 0; i--)
            {
                var end = tail.IndexOf(close, StringComparison.Ordinal) + close.Length;
                middle += tail[..end];
                tail = tail[end..];
            }
        }
        var shown = limit is { } most && PyText.Length(middle) > most
            ? PyText.Slice(middle, new PySlice(null, (long)most, null)) + "..." : middle;
        if (IsLink(middle))
            middle = $"<a href=\"{(middle.StartsWith("https://", StringComparison.Ordinal) || middle.StartsWith("http://", StringComparison.Ordinal) ? "" : "https://")}{middle}\"{attributes}>{shown}</a>";
        else if (middle.StartsWith("mailto:", StringComparison.Ordinal) && MailPattern().IsMatch(middle[7..]))
            middle = $"<a href=\"{middle}\">{middle[7..]}</a>";
        else if (middle.Contains('@') && !middle.StartsWith("www.", StringComparison.Ordinal) && !middle.Contains(':')
            && MailPattern().IsMatch(middle))
            middle = $"<a href=\"mailto:{middle}\">{middle}</a>";
        else if (schemes.Find(scheme => middle != scheme && middle.StartsWith(scheme, StringComparison.Ordinal)) is not null)
            middle = $"<a href=\"{middle}\"{attributes}>{middle}</a>";
        return head + middle + tail;
    }

    [GeneratedRegex(@"(\s+)")]
    private static partial Regex BlankPattern();

    [GeneratedRegex(@"^([(<]|&lt;)+")]
    private static partial Regex HeadPattern();

    [GeneratedRegex(@"([)>.,\n]|&gt;)+\z")]
    private static partial Regex TailPattern();

    [GeneratedRegex(@"^([\w.+-]{2,}:(/){0,2})\z")]
    private static partial Regex SchemePattern();

    [GeneratedRegex(@"^\S+@\w[\w.-]*\.\w+\z")]
    private static partial Regex MailPattern();

    /// <summary>
    /// Whether a word is a web address: a host behind <c>http://</c>, <c>https://</c> or <c>www.</c> (its last label letters, or an address
    /// in numbers), or a bare host under one of the oldest domains; then perhaps a port and a path.
    /// </summary>
    private static bool IsLink(string word)
    {
        var scheme = word.StartsWith("https://", StringComparison.OrdinalIgnoreCase) ? 8
            : word.StartsWith("http://", StringComparison.OrdinalIgnoreCase) ? 7 : 0;
        var isNamed = scheme > 0 || word.StartsWith("www.", StringComparison.OrdinalIgnoreCase);
        var rest = word[(scheme > 0 ? scheme : isNamed ? 4 : 0)..];
        var hostEnd = rest.StartsWith('[') ? rest.IndexOf(']') + 1 : rest.AsSpan().IndexOfAny(":/?#");
        var host = hostEnd < 0 ? rest : rest[..hostEnd];
        if (hostEnd >= 0 && !AfterHostPattern().IsMatch(rest[hostEnd..]))
            return false;
        var labels = host.Split('.');
        var domain = labels[^1];
        if (!isNamed)
            return labels.Length > 1 && _oldDomains.Contains(domain.ToLowerInvariant())
                && labels[..^1].All(label => label.Length is >= 2 and <= 63 && LabelPattern().IsMatch(label));
        if (scheme > 0 && (SixGroupsPattern()
            .IsMatch(host) || (labels.Length == 4 && labels.All(label => label.Length is >= 1 and <= 3 && label.All(char.IsDigit)))))
            return true;
        return DomainPattern().IsMatch(domain) && labels[..^1].All(label => LabelPattern().IsMatch(label));
    }

    private static readonly HashSet<string> _oldDomains = ["com", "net", "org", "info", "edu", "gov", "int", "mil"];

    [GeneratedRegex(@"^(:\d{1,5})?([/?#]\S*)?\z")]
    private static partial Regex AfterHostPattern();

    [GeneratedRegex(@"^[\w%-]+\z")]
    private static partial Regex LabelPattern();

    [GeneratedRegex(@"^([a-z]{2,63}|xn--[\w%]{2,59})\z", RegexOptions.IgnoreCase)]
    private static partial Regex DomainPattern();

    [GeneratedRegex(@"^\[[\da-f]{0,4}:[\da-f]{0,4}:([\da-f]{0,4}:?){1,6}\]\z", RegexOptions.IgnoreCase)]
    private static partial Regex SixGroupsPattern();
}
