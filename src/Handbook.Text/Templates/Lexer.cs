using System.Globalization;
using System.Numerics;
using System.Text;

namespace Handbook.Text.Templates;

internal enum TokenKind
{
    Data,
    VariableBegin,
    VariableEnd,
    BlockBegin,
    BlockEnd,
    Name,
    String,
    Integer,
    Float,
    Operator,
    End,
}

/// <param name="Text">The name, operator or text meant; for a string its unescaped content.</param>
/// <param name="Number">The value of a number.</param>
/// <param name="At">Offset in the normalised source.</param>
internal readonly record struct Token(TokenKind Kind, string Text, object? Number, int At)
{
    public string Describe() => Kind switch
    {
        TokenKind.Name => Text,
        TokenKind.Data => "template data / text",
        TokenKind.VariableBegin => "begin of print statement",
        TokenKind.VariableEnd => "end of print statement",
        TokenKind.BlockBegin => "begin of statement block",
        TokenKind.BlockEnd => "end of statement block",
        TokenKind.End => "end of template",
        TokenKind.Operator => Text,
        _ => Kind.ToString().ToLowerInvariant(),
    };
}

/// <summary>Cuts a template's source into tokens; with <c>trim_blocks</c> and <c>lstrip_blocks</c>, as chat templates expect, or without
/// them, as prompts of tasks do.</summary>
internal sealed class Lexer
{
    private static readonly string[] _operators = ["//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")",
        "{", "}", ">", "<", "=", ".", ":", "|", ",", ";"];
    private readonly string _source;
    private readonly List<Token> _tokens = [];
    private readonly Stack<char> _open = new();
    private int _at;
    private readonly bool _trims;
    private bool _lineStarts = true;

    private Lexer(string source, bool trims) => (_source, _trims) = (source, trims);

    /// <summary>Line ends become line feeds, and one at the very end is dropped.</summary>
    public static string Normalise(string source)
    {
        var text = source.Replace("\r\n", "\n").Replace('\r', '\n');
        return text.EndsWith('\n') ? text[..^1] : text;
    }

    /// <param name="source">The template.</param>
    /// <param name="trims">Whether blanks before a block and the line feed behind it go.</param>
    public static List<Token> Read(string source, bool trims = true)
    {
        var lexer = new Lexer(source, trims);
        lexer.ReadAll();
        return lexer._tokens;
    }

    public static bool IsIdentifier(string text)
    {
        var first = true;
        foreach (var rune in text.EnumerateRunes())
        {
            var category = Rune.GetUnicodeCategory(rune);
            var starts = rune.Value == '_'
                || category is UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter or UnicodeCategory.TitlecaseLetter
                or UnicodeCategory.ModifierLetter or UnicodeCategory.OtherLetter or UnicodeCategory.LetterNumber;
            if (!starts && (first
                || category is not (UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.DecimalDigitNumber or UnicodeCategory.ConnectorPunctuation)))
                return false;
            first = false;
        }
        return !first;
    }

    private void ReadAll()
    {
        while (_at < _source.Length)
        {
            var tag = NextTag();
            if (tag < 0)
            {
                Add(TokenKind.Data, _source[_at..], _at);
                break;
            }
            var kind = _source[tag + 1];
            var sign = tag + 2 < _source.Length && _source[tag + 2] is '-' or '+' ? _source[tag + 2] : '\0';
            AddData(tag, sign, isVariable: kind == '{');
            var start = tag;
            _at = tag + (sign == '\0' ? 2 : 3);
            if (kind == '#')
                SkipComment(start);
            else if (kind == '%' && RawBegins() is var raw and >= 0)
                ReadRaw(raw, start);
            else
                ReadTag(start, isVariable: kind == '{');
        }
        Add(TokenKind.End, "", _source.Length);
    }

    private int NextTag()
    {
        for (var i = _at; ; i++)
        {
            i = _source.IndexOf('{', i);
            if (i < 0 || i + 1 >= _source.Length)
                return -1;
            if (_source[i + 1] is '{' or '%' or '#')
                return i;
        }
    }

    /// <summary>The text before a tag, with the blanks removed that the tag's sign or <c>lstrip_blocks</c> takes.</summary>
    private void AddData(int tag, char sign, bool isVariable)
    {
        var text = _source.AsSpan(_at, tag - _at);
        if (sign == '-')
        {
            while (text.Length > 0 && PyText.IsSpace(text[^1]))
                text = text[..^1];
        }
        else if (_trims && sign != '+' && !isVariable)
        {
            var line = text.LastIndexOf('\n') + 1;
            if ((line > 0 || _lineStarts) && IsBlank(text[line..]))
                text = text[..line];
        }
        if (text.Length > 0)
            Add(TokenKind.Data, text.ToString(), _at);
    }

    private static bool IsBlank(ReadOnlySpan<char> text)
    {
        foreach (var letter in text)
            if (!PyText.IsSpace(letter))
                return false;
        return true;
    }

    private void SkipComment(int start)
    {
        // The sign of {#- belongs to the opening, the first #} ends it.
        var end = _source.IndexOf("#}", _at, StringComparison.Ordinal);
        if (end < 0 && _at == _source.Length)
            return;
        if (end < 0)
            throw Error("Missing end of comment tag", start);
        var sign = end > _at ? _source[end - 1] : '\0';
        _at = end + 2;
        EndTag(sign, trims: true);
    }

    /// <summary>After a tag: <c>-</c> takes all blanks, a block takes one line feed unless it ends with <c>+</c>.</summary>
    private void EndTag(char sign, bool trims)
    {
        if (sign == '-')
            SkipBlanks();
        else if (_trims && trims && sign != '+' && _at < _source.Length && _source[_at] == '\n')
            _at++;
        _lineStarts = _source[_at - 1] == '\n';
    }

    private void SkipBlanks()
    {
        while (_at < _source.Length && PyText.IsSpace(_source[_at]))
            _at++;
    }

    /// <summary>Where the content of a raw block starts, if the tag just opened is one; else -1.</summary>
    private int RawBegins()
    {
        var at = _at;
        SkipBlanks();
        if (string.CompareOrdinal(_source, _at, "raw", 0, 3) == 0)
        {
            _at += 3;
            SkipBlanks();
            var sign = _at < _source.Length ? _source[_at] : '\0';
            if (string.CompareOrdinal(_source, sign == '-' ? _at + 1 : _at, "%}", 0, 2) == 0)
            {
                _at += sign == '-' ? 3 : 2;
                EndTag(sign == '-' ? '-' : '\0', trims: false);
                (at, _at) = (_at, at);
                return at;
            }
        }
        _at = at;
        return -1;
    }

    private void ReadRaw(int content, int start)
    {
        _at = content;
        for (var i = content; ; i++)
        {
            i = _source.IndexOf("{%", i, StringComparison.Ordinal);
            if (i < 0 && _at == _source.Length)
                return;
            if (i < 0)
                throw Error("Missing end of raw directive", start);
            var sign = i + 2 < _source.Length && _source[i + 2] is '-' or '+' ? _source[i + 2] : '\0';
            var body = _at;
            _at = i + (sign == '\0' ? 2 : 3);
            SkipBlanks();
            if (string.CompareOrdinal(_source, _at, "endraw", 0, 6) == 0)
            {
                _at += 6;
                SkipBlanks();
                var endSign = _at < _source.Length && _source[_at] is '-' or '+' ? _source[_at] : '\0';
                var close = endSign == '\0' ? _at : _at + 1;
                if (string.CompareOrdinal(_source, close, "%}", 0, 2) == 0)
                {
                    _at = body;
                    AddData(i, sign, isVariable: false);
                    _at = close + 2;
                    EndTag(endSign, trims: true);
                    return;
                }
            }
            _at = body;
        }
    }

    private void ReadTag(int start, bool isVariable)
    {
        Add(isVariable ? TokenKind.VariableBegin : TokenKind.BlockBegin, "", start);
        var close = isVariable ? "}}" : "%}";
        _open.Clear();
        while (true)
        {
            if (_at >= _source.Length)
                return;
            if (_open.Count == 0)
            {
                var sign = _source[_at] is '-' || (_source[_at] is '+' && !isVariable) ? _source[_at] : '\0';
                if (string.CompareOrdinal(_source, sign == '\0' ? _at : _at + 1, close, 0, 2) == 0)
                {
                    Add(isVariable ? TokenKind.VariableEnd : TokenKind.BlockEnd, "", _at);
                    _at += sign == '\0' ? 2 : 3;
                    EndTag(sign, trims: !isVariable);
                    return;
                }
            }
            if (PyText.IsSpace(_source[_at]))
                _at++;
            else
                ReadToken();
        }
    }

    private void ReadToken()
    {
        var letter = _source[_at];
        if (char.IsAsciiDigit(letter))
            ReadNumber();
        else if (letter is '\'' or '"')
            ReadString(letter);
        else if (IsNamePart(_at, out _))
            ReadName();
        else
            ReadOperator();
    }

    private bool IsNamePart(int at, out int units)
    {
        units = 1;
        return Rune.TryGetRuneAt(_source, at, out var rune) && (units = rune.Utf16SequenceLength) > 0
            && (TextFilters.IsWord(rune)
                || Rune.GetUnicodeCategory(rune)
                    is UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.ConnectorPunctuation);
    }

    private void ReadName()
    {
        var start = _at;
        while (_at < _source.Length && IsNamePart(_at, out var units))
            _at += units;
        var name = _source[start.._at];
        if (!IsIdentifier(name))
            throw Error("Invalid character in identifier", start);
        Add(TokenKind.Name, name, start);
    }

    private void ReadNumber()
    {
        var start = _at;
        if (_source[_at] == '0' && _at + 1 < _source.Length && (_source[_at + 1] | 0x20) is 'x' or 'o' or 'b')
        {
            Func<char, bool> digit = (_source[_at + 1] | 0x20) switch
            {
                'x' => char.IsAsciiHexDigit,
                'o' => c => c is >= '0' and <= '7',
                _ => c => c is '0' or '1'
            };
            _at += 2;
            if (Digits(digit, leadingUnderscore: true))
            {
                AddInteger(start);
                return;
            }
            _at = start;
        }
        Digits(char.IsAsciiDigit);
        var whole = _at;
        var isFloat = false;
        // "messages.0.role": what follows a dot is never a float
        if (start == 0 || _source[start - 1] != '.')
        {
            if (_at + 1 < _source.Length && _source[_at] == '.' && char.IsAsciiDigit(_source[_at + 1]))
            {
                _at++;
                isFloat = Digits(char.IsAsciiDigit);
            }
            var mark = _at;
            if (_at < _source.Length && _source[_at] is 'e' or 'E')
            {
                _at++;
                if (_at < _source.Length && _source[_at] is '+' or '-')
                    _at++;
                if (Digits(char.IsAsciiDigit))
                    isFloat = true;
                else
                    _at = mark;
            }
        }
        if (isFloat)
        {
            Add(TokenKind.Float, "", start, double.Parse(_source[start.._at].Replace("_", ""), CultureInfo.InvariantCulture));
            return;
        }
        _at = whole;
        // 007 is three integers to Jinja: a leading zero stands alone
        if (_source[start] == '0' && _source.AsSpan(start, whole - start).IndexOfAnyExcept("0_") is var end and > 0)
            _at = start + end;
        AddInteger(start);
    }

    private void AddInteger(int start) => Add(TokenKind.Integer, _source[start.._at], start,
        PyNumber.Box(PyNumber.ParseInteger(_source[start.._at].TrimEnd('_'), 0) ?? throw Error("invalid integer", start)));

    private bool Digits(Func<char, bool> digit, bool leadingUnderscore = false)
    {
        var start = _at;
        while (_at < _source.Length
            && (digit(_source[_at])
            || (_source[_at] == '_' && (_at > start || leadingUnderscore) && _at + 1 < _source.Length && digit(_source[_at + 1]))))
            _at++;
        return _at > start;
    }

    private void ReadString(char quote)
    {
        var start = _at;
        var end = _at + 1;
        while (end < _source.Length && _source[end] != quote)
            end += _source[end] == '\\' ? 2 : 1;
        if (end >= _source.Length)
            throw Error($"unexpected char {PyRepr.Quote(quote.ToString())} at {PyText.Length(_source.AsSpan(0, start))}", start);
        _at = end + 1;
        Add(TokenKind.String, Unescape(_source[(start + 1)..end], start), start);
    }

    /// <summary>Python's escapes; an unknown one keeps its backslash.</summary>
    private static string Unescape(string text, int start)
    {
        if (!text.Contains('\\'))
            return text;
        var result = new StringBuilder(text.Length);
        for (var i = 0; i < text.Length; i++)
        {
            if (text[i] != '\\' || i + 1 == text.Length)
            {
                result.Append(text[i]);
                continue;
            }
            var letter = text[++i];
            switch (letter)
            {
                case '\n':
                    break;
                case '\\' or '\'' or '"':
                    result.Append(letter);
                    break;
                case 'a' or 'b' or 'f' or 'n' or 'r' or 't' or 'v':
                    result.Append("\a\b\f\n\r\t\v"["abfnrtv".IndexOf(letter)]);
                    break;
                case >= '0' and <= '7':
                    var octal = letter - '0';
                    for (var digits = 1; digits < 3 && i + 1 < text.Length && text[i + 1] is >= '0' and <= '7'; digits++)
                        octal = (octal * 8) + (text[++i] - '0');
                    result.Append((char)octal);
                    break;
                case 'x' or 'u' or 'U':
                    var size = letter switch { 'x' => 2, 'u' => 4, _ => 8 };
                    if (i + size >= text.Length || !uint.TryParse(text.AsSpan(i + 1, size), NumberStyles.AllowHexSpecifier,
                        CultureInfo.InvariantCulture, out var code) || code > 0x10FFFF)
                        throw Error($"truncated or illegal \\{letter} escape", start);
                    if (code is >= 0xD800 and < 0xE000 || code < 0x10000)
                        result.Append((char)code);
                    else
                        result.Append(char.ConvertFromUtf32((int)code));
                    i += size;
                    break;
                case 'N':
                    throw Error("\\N{name} escapes are not supported: write \\uXXXX", start);
                default:
                    result.Append('\\').Append(letter);
                    break;
            }
        }
        return result.ToString();
    }

    private void ReadOperator()
    {
        foreach (var sign in _operators)
        {
            if (string.CompareOrdinal(_source, _at, sign, 0, sign.Length) != 0)
                continue;
            if (sign is "(" or "[" or "{")
                _open.Push(sign[0] switch { '(' => ')', '[' => ']', _ => '}' });
            else if (sign is ")" or "]" or "}")
            {
                if (!_open.TryPop(out var expected))
                    throw Error($"unexpected '{sign}'", _at);
                if (expected != sign[0])
                    throw Error($"unexpected '{sign}', expected '{expected}'", _at);
            }
            Add(TokenKind.Operator, sign, _at);
            _at += sign.Length;
            return;
        }
        var letter = Rune.TryGetRuneAt(_source, _at, out var rune) ? rune.ToString() : _source[_at].ToString();
        throw Error($"unexpected char {PyRepr.Quote(letter)} at {PyText.Length(_source.AsSpan(0, _at))}", _at);
    }

    private void Add(TokenKind kind, string text, int at, object? number = null) => _tokens.Add(new(kind, text, number, at));

    private static TemplateSyntaxException Error(string message, int at) => new(message, at);
}

/// <summary>A template that does not parse; <see cref="ChatTemplate"/> adds its name and line.</summary>
internal sealed class TemplateSyntaxException(string message, int at) : Exception(message)
{
    public int At => at;
}
