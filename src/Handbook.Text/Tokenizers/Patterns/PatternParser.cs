using Handbook.Text.Tokenizers.Unicode;

namespace Handbook.Text.Tokenizers.Patterns;

/// <summary>Reads a regular expression in Oniguruma's Ruby syntax, which is what tokenizer files are written in.</summary>
/// <remarks>Differences from .NET that matter: \s, \d, \w and \p{…} know all of Unicode, code points are never halved, ^ and $ stand at
/// lines, \h is a hexadecimal digit, classes intersect with &amp;&amp;, ?+ *+ ++ are possessive.</remarks>
internal sealed class PatternParser
{
    private readonly int[] _text;
    private readonly List<string?> _names = [];
    private int _at;
    private bool _ignoreCase;
    private bool _dotAll;
    private bool _extended;

    private PatternParser(string pattern) => _text = CodePoints.Of(pattern);

    /// <summary>The tree, and the number of captures.</summary>
    /// <exception cref="PatternException">The pattern has a mistake, or uses what is not supported.</exception>
    public static (PatternNode Tree, int Captures) Parse(string pattern)
    {
        var parser = new PatternParser(pattern);
        var tree = parser.Choice();
        if (parser._at < parser._text.Length)
            throw parser.Error("')' without '('");
        return (tree, parser._names.Count);
    }

    private bool More => _at < _text.Length;

    private PatternNode Choice()
    {
        var saved = (_ignoreCase, _dotAll, _extended);
        var choices = new List<PatternNode> { Sequence() };
        while (Take('|'))
            choices.Add(Sequence());
        (_ignoreCase, _dotAll, _extended) = saved;          // (?i) lasts until its group ends
        return choices.Count == 1 ? choices[0] : new ChoiceNode([.. choices]);
    }

    private PatternNode Sequence()
    {
        var parts = new List<PatternNode>();
        while (More && _text[_at] is not ('|' or ')'))
        {
            if (_extended && SkipBlank())
                continue;
            if (Atom() is { } atom)
                parts.Add(Quantified(atom));
        }
        return parts.Count == 1 ? parts[0] : new SequenceNode([.. parts]);
    }

    private bool SkipBlank()
    {
        if (Properties.IsWhiteSpace(_text[_at]))
        {
            _at++;
            return true;
        }
        if (_text[_at] != '#')
            return false;
        while (More && _text[_at] != '\n')
            _at++;
        return true;
    }

    private PatternNode Quantified(PatternNode atom)
    {
        while (More)
        {
            var start = _at;
            var (min, max, interval) = (0, 0, false);
            switch (_text[_at])
            {
                case '?':
                    (min, max) = (0, 1);
                    _at++;
                    break;
                case '*':
                    (min, max) = (0, -1);
                    _at++;
                    break;
                case '+':
                    (min, max) = (1, -1);
                    _at++;
                    break;
                case '{' when Interval(out min, out max):
                    interval = true;
                    break;
                default:
                    return atom;
            }
            if (max >= 0 && min > max)
                throw new PatternException($"the repetition {{{min},{max}}} has its bounds in the wrong order", start);
            if (min > 1000 || max > 1000)
                throw new PatternException("a repetition of more than 1000 times is not supported", start);
            var kind = RepeatKind.Greedy;
            if (Take('?'))
            {
                // a{n}? is (?:a{n})? in Ruby's syntax
                if (interval && min == max)
                {
                    atom = new RepeatNode(new RepeatNode(atom, min, max, RepeatKind.Greedy), 0, 1, RepeatKind.Greedy);
                    continue;
                }
                kind = RepeatKind.Lazy;
            }
            else if (!interval && Take('+'))
                kind = RepeatKind.Possessive;
            atom = kind == RepeatKind.Greedy && atom is RepeatNode { Kind: RepeatKind.Greedy } inner ? Joined(inner, min, max)
                : new(atom, min, max, kind);
        }
        return atom;
    }

    /// <summary>A repetition of a repetition; of two out of ?, * and + it is one, or else a hundred stars would take for ever.</summary>
    private static RepeatNode Joined(RepeatNode inner, int min, int max) =>
        inner is { Min: 0 or 1, Max: 1 or -1 } and not { Min: 1, Max: 1 } && (min, max) is (0, 1) or (0, -1) or (1, -1)
            ? inner with { Min = inner.Min * min, Max = inner.Max < 0 || max < 0 ? -1 : 1 } : new(inner, min, max, RepeatKind.Greedy);

    /// <summary>{n}, {n,}, {,m}, {n,m}; anything else in braces is ordinary text.</summary>
    private bool Interval(out int min, out int max)
    {
        var start = _at++;
        var low = Number();
        int? high = low;
        if (Take(','))
            high = Number() ?? (low is null ? null : -1);
        (min, max) = (low ?? 0, high ?? 0);
        if (high is not null && Take('}'))
            return true;
        _at = start;
        return false;
    }

    private int? Number()
    {
        int? number = null;
        while (More && _text[_at] is >= '0' and <= '9' && number is null or < 100_000)
            number = (number ?? 0) * 10 + _text[_at++] - '0';
        return number;
    }

    /// <summary>One atom; null where the text only sets options or is a comment.</summary>
    private PatternNode? Atom()
    {
        var point = _text[_at++];
        switch (point)
        {
            case '(':
                return Group();
            case '[':
                // Other cases widen what the brackets list, also where they mean all the rest.
                var (listed, negative) = new ClassParser(this).Listed();
                return new CharacterSetNode(negative ? Not(Cased(listed)) : Cased(listed));
            case '.':
                return new CharacterSetNode(_dotAll ? ClassNames.Any : ClassNames.NotNewline);
            case '^':
                return new AnchorNode(AnchorKind.LineStart);
            case '$':
                return new AnchorNode(AnchorKind.LineEnd);
            case '\\':
                return Escape();
            case '?' or '*' or '+':
                _at--;
                throw Error("nothing to repeat before it");
            default:
                return Literal(point);
        }
    }

    private CharacterSetNode Literal(int point) => new(Cased(new(p => p == point)));

    /// <summary>The set, widened by the other cases of its letters under (?i).</summary>
    private CharacterClass Cased(CharacterClass set) => !_ignoreCase ? set : new(point =>
    {
        foreach (var variant in CaseFolding.Variants(point))
            if (set.Contains(variant))
                return true;
        return set.Contains(point);
    });

    private PatternNode? Group()
    {
        var start = _at - 1;
        PatternNode? node;
        if (!Take('?'))
            node = Capture(null);
        else if (Take('#'))
        {
            while (More && _text[_at] != ')')
                _at++;
            node = null;
        }
        else if (Take(':'))
            node = Choice();
        else if (Take('='))
            node = new LookNode(Choice(), Behind: false, Negative: false);
        else if (Take('!'))
            node = new LookNode(Choice(), Behind: false, Negative: true);
        else if (Take('>'))
            node = new AtomicNode(Choice());
        else if (TakeAll("<="))
            node = new LookNode(Choice(), Behind: true, Negative: false);
        else if (TakeAll("<!"))
            node = new LookNode(Choice(), Behind: true, Negative: true);
        else if (Take('<'))
            node = Capture(Name('>'));
        else if (Take('\''))
            node = Capture(Name('\''));
        else
            return Options(start);
        if (!Take(')'))
            throw new PatternException("this group is never closed", start);
        return node;
    }

    private CaptureNode Capture(string? name)
    {
        _names.Add(name);
        var number = _names.Count;
        return new(Choice(), number);
    }

    private PatternNode? Options(int start)
    {
        var saved = (_ignoreCase, _dotAll, _extended);
        var on = true;
        while (More && _text[_at] is not (')' or ':'))
            switch (_text[_at++])
            {
                case '-':
                    on = false;
                    break;
                case 'i':
                    _ignoreCase = on;
                    break;
                case 'm':
                    _dotAll = on;
                    break;
                case 'x':
                    _extended = on;
                    break;
                default:
                    throw new PatternException("this kind of group is not supported", start);
            }
        // a(?i)b|c is a(?i:b|c): the options hold for all that follows in the enclosing group
        var rest = Take(')');
        if (!rest && !Take(':'))
            throw new PatternException("this group is never closed", start);
        var node = Choice();
        (_ignoreCase, _dotAll, _extended) = saved;
        if (rest)
            return node;
        if (!Take(')'))
            throw new PatternException("this group is never closed", start);
        return node;
    }

    private string Name(int end)
    {
        var start = _at;
        while (More && _text[_at] != end)
            _at++;
        if (!More || _at == start)
            throw Error("a group name is empty or never ends");
        return CodePoints.ToText(_text.AsSpan(start, _at++ - start));
    }

    private PatternNode Escape()
    {
        if (!More)
            throw Error("the pattern ends after '\\'");
        var start = _at - 1;
        switch (_text[_at])
        {
            case 'A':
                return Anchor(AnchorKind.TextStart);
            case 'z':
                return Anchor(AnchorKind.TextEnd);
            case 'Z':
                return Anchor(AnchorKind.TextEndBeforeNewline);
            case 'G':
                return Anchor(AnchorKind.SearchStart);
            case 'b':
                return Anchor(AnchorKind.WordBoundary);
            case 'B':
                return Anchor(AnchorKind.NotWordBoundary);
            case 'K':
                return Anchor(AnchorKind.Keep);
            case 'R':
                _at++;
                var pair = new SequenceNode([new CharacterSetNode(new(p => p == '\r')), new CharacterSetNode(new(p => p == '\n'))]);
                return new AtomicNode(new ChoiceNode([pair,
                    new CharacterSetNode(new(p => p is (>= 10 and <= 13) or 0x85 or 0x2028 or 0x2029))]));
            case 'N':
                _at++;
                return new CharacterSetNode(ClassNames.NotNewline);
            case 'O':
                _at++;
                return new CharacterSetNode(ClassNames.Any);
            case 'k' when _at + 1 < _text.Length && _text[_at + 1] is '<' or '\'':
                _at += 2;
                return Reference(Name(_text[_at - 1] == '<' ? '>' : '\''), start);
            case >= '1' and <= '9':
                return Reference($"{Number()}", start);
            case 'X' or 'g' or 'y' or 'Y':
                throw new PatternException($"\\{(char)_text[_at]} is not supported", start);
            default:
                var (set, literal) = ClassEscape();
                return set is null ? Literal(literal) : new CharacterSetNode(set);     // a property has no other cases outside of brackets
        }

        AnchorNode Anchor(AnchorKind kind)
        {
            _at++;
            return new(kind);
        }
    }

    private BackReferenceNode Reference(string name, int start)
    {
        var number = int.TryParse(name, out var parsed) ? parsed : _names.IndexOf(name) + 1;
        return number >= 1 && number <= _names.Count ? new(number, _ignoreCase)
            : throw new PatternException($"there is no group {name} before it", start);
    }

    /// <summary>An escape that also stands in classes: a set, or one code point.</summary>
    internal (CharacterClass? Set, int Point) ClassEscape()
    {
        var start = _at - 1;
        var point = _text[_at++];
        switch (point)
        {
            case 'd':
                return (ClassNames.Digit, 0);
            case 'D':
                return (Not(ClassNames.Digit), 0);
            case 's':
                return (ClassNames.Space, 0);
            case 'S':
                return (Not(ClassNames.Space), 0);
            case 'w':
                return (ClassNames.Word, 0);
            case 'W':
                return (Not(ClassNames.Word), 0);
            case 'h':
                return (ClassNames.HexDigit, 0);
            case 'H':
                return (Not(ClassNames.HexDigit), 0);
            case 'p' or 'P' when More && _text[_at] == '{':
                _at++;
                var negative = point == 'P';
                if (Take('^'))
                    negative = !negative;
                var name = Name('}');
                var set = ClassNames.Find(name) ?? throw new PatternException($"no property of characters is called {name}", start);
                return (negative ? Not(set) : set, 0);
            case 't':
                return (null, '\t');
            case 'n':
                return (null, '\n');
            case 'r':
                return (null, '\r');
            case 'f':
                return (null, '\f');
            case 'v':
                return (null, '\v');
            case 'a':
                return (null, '\a');
            case 'e':
                return (null, 0x1B);
            case 'x' when Take('{'):
                var value = Hex(8);
                return Take('}') ? (null, value) : throw new PatternException("\\x{ is never closed", start);
            case 'x':
                return (null, Hex(2));
            case 'u':
                return (null, Hex(4));
            case '0':
                var octal = 0;
                for (var digits = 0; digits < 2 && More && _text[_at] is >= '0' and <= '7'; digits++)
                    octal = octal * 8 + _text[_at++] - '0';
                return (null, octal);
            default:
                return (null, point);
        }
    }

    private int Hex(int most)
    {
        long value = 0;
        var start = _at;
        while (_at - start < most && More && _text[_at] < 0x80 && char.IsAsciiHexDigit((char)_text[_at]))
            value = value * 16 + Convert.ToInt32(((char)_text[_at++]).ToString(), 16);
        return _at > start && value <= 0x10FFFF ? (int)value : throw Error("a hexadecimal code point should stand here");
    }

    internal static CharacterClass Not(CharacterClass set) => new(point => !set.Contains(point));

    private bool Take(int point)
    {
        if (!More || _text[_at] != point)
            return false;
        _at++;
        return true;
    }

    private bool TakeAll(string text)
    {
        if (_at + text.Length > _text.Length)
            return false;
        for (var i = 0; i < text.Length; i++)
            if (_text[_at + i] != text[i])
                return false;
        _at += text.Length;
        return true;
    }

    private PatternException Error(string reason) => new(reason, _at);

    /// <summary>Reads what stands in brackets, after the first '['.</summary>
    private sealed class ClassParser(PatternParser parser)
    {
        public CharacterClass Parse() => Listed() is var (set, negative) && negative ? Not(set) : set;

        /// <summary>What the brackets list, and whether they mean all the rest.</summary>
        public (CharacterClass Set, bool Negative) Listed()
        {
            var start = parser._at - 1;
            var negative = parser.Take('^');
            var all = new List<CharacterClass>();           // operands of &&
            var parts = new List<CharacterClass>();
            var first = true;
            while (true)
            {
                if (!parser.More)
                    throw new PatternException("this class is never closed", start);
                if (!first && parser.Take(']'))
                    break;
                first = false;
                if (parser.TakeAll("&&"))
                {
                    all.Add(Union(parts));
                    parts = [];
                    continue;
                }
                parts.Add(Item());
            }
            all.Add(Union(parts));
            return (all.Count == 1 ? all[0] : new(point => all.TrueForAll(operand => operand.Contains(point))), negative);
        }

        private CharacterClass Item()
        {
            if (parser.Take('['))
                return parser.Take(':') ? Posix() : Parse();
            var (set, low) = Single();
            // A range needs a code point on both sides; else the hyphen means itself.
            if (set is not null || parser._at + 1 >= parser._text.Length || parser._text[parser._at] != '-'
                || parser._text[parser._at + 1] is ']' or '[')
                return set ?? new(point => point == low);
            var dash = parser._at++;
            var (right, high) = Single();
            if (right is not null)
                return new(point => point == low || point == '-' || right.Contains(point));
            if (high < low)
                throw new PatternException("a range in a class ends before it begins", dash);
            return new(point => point >= low && point <= high);
        }

        private (CharacterClass? Set, int Point) Single()
        {
            var point = parser._text[parser._at++];
            if (point != '\\')
                return (null, point);
            if (!parser.More)
                throw parser.Error("the pattern ends after '\\'");
            switch (parser._text[parser._at])
            {
                case 'b':
                    parser._at++;
                    return (null, '\b');
                case 'w':
                    parser._at++;
                    return (ClassNames.WordInClass, 0);
                case 'W':
                    parser._at++;
                    return (Not(ClassNames.WordInClass), 0);
                default:
                    return parser.ClassEscape();
            }
        }

        private CharacterClass Posix()
        {
            var start = parser._at;
            var negative = parser.Take('^');
            var nameStart = parser._at;
            while (parser.More && parser._text[parser._at] is >= 'a' and <= 'z')
                parser._at++;
            var name = CodePoints.ToText(parser._text.AsSpan(nameStart, parser._at - nameStart));
            if (!parser.TakeAll(":]") || ClassNames.Find(name) is not { } set)
                throw new PatternException($"no POSIX class is called {name}", start);
            return negative ? Not(set) : set;
        }

        private static CharacterClass Union(List<CharacterClass> parts) => parts.Count == 1 ? parts[0]
            : new(point => parts.Exists(part => part.Contains(point)));
    }
}
