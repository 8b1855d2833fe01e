using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Handbook.Base;
using Handbook.Text.Tokenizers;

namespace Handbook.Text.Templates;

/// <summary>The filters of Jinja 3.1 on text. A value that is no text is printed first, as Jinja's <c>soft_str</c> does.</summary>
internal static class TextFilters
{
    public static readonly Function[] All =
    [
        Method("capitalize", "s"),
        Method("lower", "s"),
        Method("upper", "s"),
        new("center", "value width?", (render, a) => Call(render, "center", Soft(a[0]), a.Or(1, Boxes.Of(80L)))),
        new("trim", "value chars?", (render, a) => Call(render, "strip", Soft(a[0]), a.Or(1, null))),
        new("e", "s /", (_, a) => new Markup(Markup.EscapeValue(a[0]))),
        new("escape", "s /", (_, a) => new Markup(Markup.EscapeValue(a[0]))),
        new("forceescape", "value", (_, a) => new Markup(Markup.Escape(PyRepr.Str(a[0])))),
        new("format", "*", (_, a) => Format(a)),
        new("indent", "s width? first? blank?", (_, a) => Indent(a)),
        new("join", "value d? attribute?", Join),
        new("replace", "s old new count?", Replace),
        new("safe", "value", (_, a) => new Markup(PyRepr.Str(a[0]))),
        new("string", "object", (_, a) => Soft(a[0])),
        new("striptags", "value", (_, a) => HtmlText.StripTags(PyRepr.Str(a[0]))),
        new("title", "s", (_, a) => Like(a[0], Title(PyRepr.Str(a[0])))),
        new("truncate", "s length? killwords? end? leeway?", (_, a) => Truncate(a)),
        new("urlencode", "value", (_, a) => UrlEncode(a[0])),
        new("urlize", "value trim_url_limit? nofollow? target? rel? extra_schemes?", (render, a) => HtmlText.Urlize(render, a)),
        new("wordcount", "s", (_, a) => Boxes.Of((long)Words(PyRepr.Str(a[0])))),
        new("wordwrap", "s width? break_long_words? wrapstring? break_on_hyphens?", (_, a) => Wrap(a)),
        new("xmlattr", "d autospace?", XmlAttributes),
    ];

    /// <summary>Python's <c>re.sub</c>.</summary>
    public static readonly Function RegexReplace = new("regex_replace", "string pattern repl count?", (_, a) =>
        Substitute(a.Text(0, "string"), a.Text(1, "pattern"), a.Text(2, "repl"), a.Integer(3, 0, "count")));

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10);

    private static string Substitute(string text, string pattern, string replacement, int count)
    {
        var dialect = PythonPattern.Of(pattern);
        if (RegexMistake.Of(dialect) is { } mistake)
            throw JinjaException.Value($"regex_replace has {pattern}, which is no regular expression: {mistake}");
        try
        {
            return new Regex(dialect, RegexOptions.CultureInvariant, s_patience)
                .Replace(text, PythonPattern.Replacement(replacement), count > 0 ? count : -1);
        }
        catch (RegexMatchTimeoutException)
        {
            throw JinjaException.Limit($"regex_replace with {pattern} takes too long");
        }
    }

    /// <summary>The value as text; markup stays markup.</summary>
    private static object Soft(object? value) => value as Markup ?? (object)PyRepr.Str(value);

    private static object Like(object? model, string text) => model is Markup ? new Markup(text) : text;

    private static object? Call(Render render, string method, params object?[] arguments) =>
        TextMethods.All[method].Call(render, new(arguments, Arguments.NoNames));

    private static Function Method(string name, string parameters) => new(name, parameters, (render, a) => Call(render, name, Soft(a[0])));

    private static string Needed(object? value, string filter) => PyText.Of(value)
        ?? throw (value is Undefined missing ? missing.Error() : JinjaException.Type($"{filter} needs text, not '{PyType.Name(value)}'"));

    private static object Format(Arguments a)
    {
        if (a.Count > 1 && a.Named.Length > 0)
            throw JinjaException.Undefined("can't handle positional and keyword arguments at the same time");
        object values = a.Named.Length > 0 ? a.NamedAsDict() : new PyTuple(a.Positional[1..]);
        return Like(a[0], PyFormat.Percent(PyRepr.Str(a[0]), values, markup: a[0] is Markup));
    }

    private static object Indent(Arguments a)
    {
        var text = Needed(a[0], "indent");
        var indentation = a.Or(1, Boxes.Of(4L)) is var width && PyText.Of(width) is { } given
            ? (a[0] is Markup ? Markup.EscapeValue(width) : given) : PyText.Repeat(" ", PyNumber.ToInt32(width, "indent"));
        var lines = PyText.SplitLines(text + "\n");
        var blank = a.Truth(3, false);
        var result = new StringBuilder(a.Truth(2, false) ? indentation : "");
        for (var i = 0; i < lines.Count; i++)
        {
            if (i > 0)
                result.Append('\n').Append(blank || lines[i].Length > 0 ? indentation : "");
            result.Append(lines[i]);
            Budget.Text(result.Length);
        }
        return Like(a[0], result.ToString());
    }

    private static object Join(Render render, Arguments a)
    {
        var path = Filters.Path(a.Or(2, null));
        var items = PySequence.Iterate(a[0]).Select(path);
        var separator = a.Or(1, "");
        if (!render.AutoEscape)
            return TextMethods.Joined(PyRepr.Str(separator), items.Select(PyRepr.Str));
        var all = items.ToList();
        var escape = separator is Markup || all.Any(item => item is Markup);
        return escape
            ? new Markup(TextMethods.Joined(Markup.EscapeValue(separator), all.Select(Markup.EscapeValue)))
            : TextMethods.Joined(PyRepr.Str(separator), all.Select(PyRepr.Str));
    }

    private static object? Replace(Render render, Arguments a)
    {
        var count = a.Or(3, null) ?? Boxes.Of(-1L);
        if (!render.AutoEscape)
            return Call(render, "replace", PyRepr.Str(a[0]), PyRepr.Str(a[1]), PyRepr.Str(a[2]), count);
        var text = a[1] is Markup || (a[2] is Markup && a[0] is not Markup) ? new Markup(Markup.EscapeValue(a[0])) : Soft(a[0]);
        return Call(render, "replace", text, PyRepr.Str(a[1]), Soft(a[2]), count);
    }

    private static string Title(string text)
    {
        var result = new StringBuilder(text.Length);
        for (var i = 0; i < text.Length;)
        {
            var end = i;
            while (end < text.Length && !Breaks(text[end]))
                end++;
            if (end > i)
            {
                var first = char.IsSurrogatePair(text, i) ? 2 : 1;
                result.Append(PyText.Upper(text.Substring(i, first))).Append(PyText.Lower(text[(i + first)..end]));
            }
            while (end < text.Length && Breaks(text[end]))
                result.Append(text[end++]);
            i = end;
        }
        return result.ToString();

        static bool Breaks(char letter) => letter is '-' or '(' or '{' or '[' or '<' || PyText.IsSpace(letter);
    }

    private static object? Truncate(Arguments a)
    {
        var text = Needed(a[0], "truncate");
        var length = a.Integer(1, 255, "truncate");
        var end = a.OptionalText(3, "truncate end") ?? "...";
        var leeway = a.Integer(4, 5, "truncate");
        if (length < PyText.Length(end))
            throw JinjaException.Value($"expected length >= {PyText.Length(end)}, got {length}");
        if (leeway < 0)
            throw JinjaException.Value($"expected leeway >= 0, got {leeway}");
        if (PyText.Length(text) <= length + leeway)
            return a[0];
        var kept = PyText.Slice(text, new PySlice(null, (long)length - PyText.Length(end), null));
        if (!a.Truth(2, false))
            kept = PyText.Split(kept, " ", 1, fromRight: true)[0];
        return Like(a[0], kept + (a[0] is Markup ? Markup.EscapeValue(a.Or(3, "...")) : end));
    }

    private static string UrlEncode(object? value)
    {
        if (PyText.Of(value) is not null || !PySequence.IsIterable(value))
            return Quoted(value, "/");
        var pairs = value is PyDict dict ? new PyDictView(dict, DictPart.Items) : value;
        return string.Join('&', PySequence.Iterate(pairs).Select(pair => PySequence.ToList(pair) is [var name, var item]
            ? $"{Quoted(name, "").Replace("%20", "+")}={Quoted(item, "").Replace("%20", "+")}"
            : throw JinjaException.Value("not enough values to unpack (expected 2)")));
    }

    private static string Quoted(object? value, string safe)
    {
        var result = new StringBuilder();
        foreach (var part in System.Text.Encoding.UTF8.GetBytes(PyRepr.Str(value)))
            if (char.IsAsciiLetterOrDigit((char)part) || "_.-~".Contains((char)part) || safe.Contains((char)part))
                result.Append((char)part);
            else
                result.Append($"%{part:X2}");
        return result.ToString();
    }

    internal static bool IsWord(Rune rune) => rune.Value == '_' || Rune.IsLetterOrDigit(rune)
        || CharUnicodeInfo.GetNumericValue(rune.ToString(), 0) != -1;

    private static int Words(string text)
    {
        var count = 0;
        var inWord = false;
        foreach (var rune in text.EnumerateRunes())
        {
            var word = IsWord(rune);
            count += word && !inWord ? 1 : 0;
            inWord = word;
        }
        return count;
    }

    private static string Wrap(Arguments a)
    {
        var text = Needed(a[0], "wordwrap");
        var width = a.Integer(1, 79, "wordwrap");
        var newLine = a.OptionalText(3, "wrapstring") ?? "\n";
        if (width <= 0)
            throw JinjaException.Value($"invalid width {width} (must be > 0)");
        return TextMethods.Joined(newLine, PyText.SplitLines(text)
            .Select(line => TextMethods.Joined(newLine, WordWrap.Lines(line, width, a.Truth(2, true), a.Truth(4, true)))));
    }

    private static object XmlAttributes(Render render, Arguments a)
    {
        if (a[0] is not PyDict dict)
            throw a[0] is Undefined missing ? missing.Error()
                : JinjaException.Type($"'{PyType.Name(a[0])}' object has no attribute 'items'");
        var parts = new List<string>();
        for (var i = 0; i < dict.Count; i++)
            if (dict.ValueAt(i) is not (null or Undefined))
                parts.Add($"{Markup.EscapeValue(dict.KeyAt(i))}=\"{Markup.EscapeValue(dict.ValueAt(i))}\"");
        var text = string.Join(' ', parts);
        if (a.Truth(1, true) && text.Length > 0)
            text = " " + text;
        return render.AutoEscape ? new Markup(text) : text;
    }
}
