using System.Globalization;
using System.Text;

namespace Handbook.Text.Templates;

/// <summary>The methods of Python's text. On markup they give markup, and what is put into it is escaped.</summary>
internal static class TextMethods
{
    public static readonly Dictionary<string, Function> All = new[]
    {
        Make("upper", "s /", (s, _) => PyText.Upper(s)),
        Make("lower", "s /", (s, _) => PyText.Lower(s)),
        Make("casefold", "s /", (s, _) => PyText.Fold(s)),
        Make("title", "s /", (s, _) => PyText.Title(s)),
        Make("capitalize", "s /", (s, _) => PyText.Capitalize(s)),
        Make("swapcase", "s /", (s, _) => PyText.SwapCase(s)),
        Make("strip", "s chars? /", (s, a) => PyText.Strip(s, a.OptionalText(1, "strip arg"))),
        Make("lstrip", "s chars? /", (s, a) => PyText.Strip(s, a.OptionalText(1, "lstrip arg"), right: false)),
        Make("rstrip", "s chars? /", (s, a) => PyText.Strip(s, a.OptionalText(1, "rstrip arg"), left: false)),
        Make("split", "s sep? maxsplit?",
            (s, a) => List(PyText.Split(s, a.OptionalText(1, "sep"), a.Integer(2, -1, "split"), fromRight: false))),
        Make("rsplit", "s sep? maxsplit?",
            (s, a) => List(PyText.Split(s, a.OptionalText(1, "sep"), a.Integer(2, -1, "rsplit"), fromRight: true))),
        Make("splitlines", "s keepends?", (s, a) => List(PyText.SplitLines(s, a.Truth(1, false)))),
        Make("partition", "s sep /",
            (s, a) => Partition(s, a.Text(1, "separator"), s.IndexOf(a.Text(1, "separator"), StringComparison.Ordinal), fromRight: false)),
        Make("rpartition", "s sep /", (s, a) =>
            Partition(s, a.Text(1, "separator"), s.LastIndexOf(a.Text(1, "separator"), StringComparison.Ordinal), fromRight: true)),
        Make("replace", "s old new count? /",
            (s, a) => PyText.Replace(s, a.Text(1, "replace() argument 1"), a.Text(2, "replace() argument 2"), a.Integer(3, -1, "replace")),
            escape: [2]),
        Make("join", "s items /", Join),
        Make("center", "s width fill? /", (s, a) => PyText.Pad(s, a.Integer(1, 0, "center"), Fill(a), 1), escape: [2]),
        Make("ljust", "s width fill? /", (s, a) => PyText.Pad(s, a.Integer(1, 0, "ljust"), Fill(a), 0), escape: [2]),
        Make("rjust", "s width fill? /", (s, a) => PyText.Pad(s, a.Integer(1, 0, "rjust"), Fill(a), 2), escape: [2]),
        Make("zfill", "s width /", (s, a) => s.Length > 0 && s[0] is '+' or '-'
            ? s[0] + PyText.Pad(s[1..], a.Integer(1, 0, "zfill") - 1, "0", 2) : PyText.Pad(s, a.Integer(1, 0, "zfill"), "0", 2)),
        Make("expandtabs", "s tabsize?", (s, a) => ExpandTabs(s, a.Integer(1, 8, "expandtabs"))),
        Make("removeprefix", "s prefix /",
            (s, a) => s.StartsWith(a.Text(1, "removeprefix() argument"), StringComparison.Ordinal) ? s[a.Text(1, "").Length..] : s),
        Make("removesuffix", "s suffix /", (s, a) => a.Text(1, "removesuffix() argument") is { Length: > 0 } end
            && s.EndsWith(end, StringComparison.Ordinal) ? s[..^end.Length] : s),
        Make("startswith", "s prefix start? end? /",
            (s, a) => Boxes.Of(Affix(s, a, "startswith", (text, affix) => text.StartsWith(affix, StringComparison.Ordinal)))),
        Make("endswith", "s suffix start? end? /",
            (s, a) => Boxes.Of(Affix(s, a, "endswith", (text, affix) => text.EndsWith(affix, StringComparison.Ordinal)))),
        Make("find", "s sub start? end? /", (s, a) => Boxes.Of((long)Find(s, a, last: false))),
        Make("rfind", "s sub start? end? /", (s, a) => Boxes.Of((long)Find(s, a, last: true))),
        Make("index", "s sub start? end? /", (s, a) => Found(Find(s, a, last: false))),
        Make("rindex", "s sub start? end? /", (s, a) => Found(Find(s, a, last: true))),
        Make("count", "s sub start? end? /", (s, a) => Boxes.Of((long)Count(s, a))),
        Make("format", "*", (s, a) => PyFormat.Format(s, a.Positional.AsSpan(1), a.NamedAsDict(), markup: a[0] is Markup)),
        Make("format_map", "s map /",
            (s, a) => PyFormat.Format(s, [], a[1] as PyDict ?? throw JinjaException.Type("format_map() argument must be a mapping"),
            markup: a[0] is Markup)),
        Make("translate", "s table /", Translate),
        Make("encode", "s encoding? errors?", (_, _) => throw JinjaException.Type("templates have no bytes: encode() cannot be used")),
        Make("unescape", "s /", (s, _) => System.Net.WebUtility.HtmlDecode(s), wrap: false),
        Make("striptags", "s /", (s, _) => HtmlText.StripTags(s), wrap: false),
        Check("isspace", s => s.Length > 0 && s.All(PyText.IsSpace)),
        Check("isalpha", s => EveryRune(s, Rune.IsLetter)),
        Check("isalnum", s => EveryRune(s, rune => Rune.IsLetter(rune) || Number(rune) is not null)),
        Check("isdecimal", s => EveryRune(s, rune => Rune.GetUnicodeCategory(rune) == UnicodeCategory.DecimalDigitNumber)),
        Check("isdigit", s => EveryRune(s, rune => CharUnicodeInfo.GetDigitValue(rune.ToString(), 0) >= 0)),
        Check("isnumeric", s => EveryRune(s, rune => Number(rune) is not null)),
        Check("isascii", s => Ascii.IsValid(s)),
        Check("isprintable", s => s.EnumerateRunes().All(PyText.IsPrintable)),
        Check("isidentifier", s => Lexer.IsIdentifier(s)),
        Check("islower", IsLower),
        Check("isupper", IsUpper),
        Check("istitle", IsTitle),
    }.ToDictionary(function => function.Name);

    public static bool IsLower(string text) => text.EnumerateRunes().Any(PyText.IsLower)
        && !text.EnumerateRunes().Any(rune => PyText.IsCased(rune) && !PyText.IsLower(rune));

    public static bool IsUpper(string text) => text.EnumerateRunes().Any(PyText.IsUpper)
        && !text.EnumerateRunes().Any(rune => PyText.IsCased(rune) && !PyText.IsUpper(rune));

    public static string Joined(string separator, IEnumerable<string> items)
    {
        var result = new StringBuilder();
        var first = true;
        foreach (var item in items)
        {
            if (!first)
                result.Append(separator);
            first = false;
            result.Append(item);
            Budget.CheckLength(result.Length);
        }
        Budget.Text(result.Length);
        return result.ToString();
    }

    private static Function Make(string name, string parameters, Func<string, Arguments, object?> body, int[]? escape = null,
        bool wrap = true) => new(name, parameters, (_, a) =>
    {
        if (a[0] is not Markup markup)
        {
            var text = PyText.Of(a[0])
                ?? throw JinjaException.Type($"descriptor '{name}' requires a 'str' object but received a '{PyType.Name(a[0])}'");
            Budget.Text(text.Length);
            return body(text, a);
        }
        Budget.Text(markup.Text.Length);
        foreach (var index in escape ?? [])
            if (a.Has(index))
                a.Positional[index] = Markup.EscapeValue(a[index]);
        var result = body(markup.Text, a);
        return wrap ? Mark(result) : result;
    });

    private static Function Check(string name, Func<string, bool> holds) => Make(name, "s /", (s, _) => Boxes.Of(holds(s)));

    private static object? Mark(object? value) => value switch
    {
        string text => new Markup(text),
        List<object?> list => list.ConvertAll(Mark),
        PyTuple tuple => new PyTuple([.. tuple.Items.Select(Mark)]),
        _ => value,
    };

    private static List<object?> List(List<string> parts)
    {
        Budget.CheckItems(parts.Count);
        return parts.ConvertAll(part => (object?)part);
    }

    private static string Fill(Arguments a)
    {
        var fill = a.OptionalText(2, "fill character") ?? " ";
        return PyText.Length(fill) == 1 ? fill : throw JinjaException.Type("The fill character must be exactly one character long");
    }

    private static PyTuple Partition(string text, string separator, int at, bool fromRight) =>
        separator.Length == 0 ? throw JinjaException.Value("empty separator")
        : at >= 0 ? new([text[..at], separator, text[(at + separator.Length)..]])
        : fromRight ? new(["", "", text]) : new([text, "", ""]);

    private static object? Join(string separator, Arguments a)
    {
        if (!PySequence.IsIterable(a[1]))
            throw JinjaException.Type("can only join an iterable");
        var markup = a[0] is Markup;
        return Joined(separator, PySequence.Iterate(a[1]).Select((item, i) => markup ? Markup.EscapeValue(item)
            : PyText.Of(item) ?? throw JinjaException.Type($"sequence item {i}: expected str instance, {PyType.Name(item)} found")));
    }

    private static string ExpandTabs(string text, int size)
    {
        var result = new StringBuilder();
        var column = 0;
        foreach (var letter in text)
        {
            if (letter == '\t')
            {
                var gap = size > 0 ? size - (column % size) : 0;
                Budget.Text(result.Length + (long)gap);
                result.Append(' ', gap);
                column += gap;
                continue;
            }
            result.Append(letter);
            column = letter is '\n' or '\r' ? 0 : column + (char.IsLowSurrogate(letter) ? 0 : 1);
        }
        return result.ToString();
    }

    private static object Found(int at) => at < 0 ? throw JinjaException.Value("substring not found") : Boxes.Of((long)at);

    /// <summary>The part of the text that optional start and end arguments (at 2 and 3) name, and its first index; null
    /// where start is beyond the end.</summary>
    private static (string Part, int Start)? Part(string text, Arguments a)
    {
        if (!a.Has(2) && !a.Has(3))
            return (text, 0);
        var length = PyText.Length(text);
        if (a.Or(2, null) is { } start && PyNumber.ToInt32(start, "slice indices") > length)
            return null;
        var (first, count, _) = new PySlice(a.Or(2, null), a.Or(3, null), null).Resolve(length);
        return (PyText.Slice(text, new PySlice((long)first, (long)first + count, null)), first);
    }

    private static bool Affix(string text, Arguments a, string name, Func<string, string, bool> matches)
    {
        if (Part(text, a) is not { } part)
            return false;
        return a[1] is PyTuple choices
            ? choices.Items.Any(choice =>
                matches(part.Part, PyText.Of(choice)
                ?? throw JinjaException.Type($"tuple for {name} must only contain str, not {PyType.Name(choice)}")))
            : matches(part.Part,
                PyText.Of(a[1]) ?? throw JinjaException.Type($"{name} first arg must be str or a tuple of str, not {PyType.Name(a[1])}"));
    }

    private static int Find(string text, Arguments a, bool last)
    {
        var wanted = a.Text(1, "find() argument");
        if (Part(text, a) is not { } part)
            return -1;
        var at = last ? part.Part.LastIndexOf(wanted, StringComparison.Ordinal) : part.Part.IndexOf(wanted, StringComparison.Ordinal);
        return at < 0 ? -1 : part.Start + PyText.Length(part.Part.AsSpan(0, at));
    }

    private static int Count(string text, Arguments a)
    {
        var wanted = a.Text(1, "count() argument");
        if (Part(text, a) is not { } part)
            return 0;
        return wanted.Length == 0 ? PyText.Length(part.Part) + 1 : part.Part.AsSpan().Count(wanted);
    }

    private static string Translate(string text, Arguments a)
    {
        var table = a[1] as PyDict ?? throw JinjaException.Type("translate() needs a dict from code points");
        return string.Concat(PyText.Letters(text).Select(letter =>
            table.TryGet((long)char.ConvertToUtf32(letter, 0), out var to) ? to is null ? ""
                : PyText.Of(to) ?? char.ConvertFromUtf32(PyNumber.ToInt32(to, "translate")) : letter));
    }

    private static bool EveryRune(string text, Func<Rune, bool> holds) => text.Length > 0 && text.EnumerateRunes().All(rune => holds(rune));

    private static double? Number(Rune rune) => CharUnicodeInfo.GetNumericValue(rune.ToString(), 0) is var value and not -1 ? value : null;

    private static bool IsTitle(string text)
    {
        bool inWord = false, any = false;
        foreach (var rune in text.EnumerateRunes())
        {
            var upper = PyText.IsCased(rune) && !PyText.IsLower(rune);
            if (upper ? inWord : PyText.IsLower(rune) && !inWord)
                return false;
            inWord = PyText.IsCased(rune);
            any |= inWord;
        }
        return any;
    }
}
