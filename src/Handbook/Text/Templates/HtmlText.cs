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
        while (text.IndexOf(open, from, StringComparison.Ordinal) is var start and >= 0 && text.IndexOf(close, start + open.Length, StringComparison.Ordinal) is var end and >= 0)
        {
            result.Append(text, from, start - from);
            from = end + close.Length;
        }
        return result.Append(text, from, text.Length - from).ToString();
    }

    public static object Urlize(Render render, Arguments a)
    {
        int? limit = a.Or(1, null) is { } most ? PyNumber.ToInt32(most, "trim_url_limit") : null;
        var relations = new SortedSet<string>((a.OptionalText(4, "rel") ?? "").Split(' ', StringSplitOptions.RemoveEmptyEntries), StringComparer.Ordinal) { "noopener" };
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
        var linked = BlankPattern().Replace(text, "$0");
        var result = string.Concat(BlankPattern().Split(linked).Select(word => Link(word, limit, rel + target, schemes)));
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
        var shown = limit is { } most && PyText.Length(middle) > most ? PyText.Slice(middle, new PySlice(null, (long)most, null)) + "..." : middle;
        if (HttpPattern().IsMatch(middle))
            middle = $"<a href=\"{(middle.StartsWith("https://", StringComparison.Ordinal) || middle.StartsWith("http://", StringComparison.Ordinal) ? "" : "https://")}{middle}\"{attributes}>{shown}</a>";
        else if (middle.StartsWith("mailto:", StringComparison.Ordinal) && MailPattern().IsMatch(middle[7..]))
            middle = $"<a href=\"{middle}\">{middle[7..]}</a>";
        else if (middle.Contains('@') && !middle.StartsWith("www.", StringComparison.Ordinal) && !middle.Contains(':') && MailPattern().IsMatch(middle))
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

    // A scheme or www, then a host: a name with a common top-level domain, an IPv4 or an IPv6 address, localhost; then port and path.
    [GeneratedRegex(@"^((https?://|www\.)(([\w%-]+\.)+)?([a-z]{2,63}|xn--[\w%]{2,59})|([\w%-]{2,63}\.)+(com|net|int|edu|gov|org|info|mil)|(https?://)((([\d]{1,3})(\.[\d]{1,3}){3})|(\[([\da-f]{0,4}:){2}([\da-f]{0,4}:?){1,6}\])))(?::[\d]{1,5})?(?:[/?#]\S*)?\z", RegexOptions.IgnoreCase)]
    private static partial Regex HttpPattern();
}
