using System.Text;

namespace Handbook.Migration;

/// <summary>The commands of a shell script, as far as words, quotes and variables set in the same script tell them.</summary>
/// <remarks>Nothing is run: a word with <c>$(…)</c>, or with a variable that comes from elsewhere, keeps it and says so. Branches and loops
/// are not followed; their commands are read once.</remarks>
internal sealed class ShellScript
{
    private readonly string _text;
    private readonly Dictionary<string, IReadOnlyList<ShellWord>> _variables = [];
    private readonly List<IReadOnlyList<ShellWord>> _commands = [];
    private readonly List<ShellWord> _words = [];
    private readonly StringBuilder _word = new();
    private int _at;
    private int _line = 1;
    private int _begun;
    private int _begunAt;
    private int? _from;
    private bool _isWord;
    private bool _isRedirection;
    private string? _unknown;

    private ShellScript(string text, IReadOnlyDictionary<string, string> variables)
    {
        _text = text.ReplaceLineEndings("\n");
        foreach (var (name, value) in variables)
            _variables[name] = [new(value, 0, null)];
    }

    /// <param name="variables">Values of variables that the script does not set itself.</param>
    public static IReadOnlyList<IReadOnlyList<ShellWord>> Commands(string text, IReadOnlyDictionary<string, string> variables)
    {
        var script = new ShellScript(text, variables);
        script.Read();
        return script._commands;
    }

    private char Next => _at + 1 < _text.Length ? _text[_at + 1] : '\0';

    private void Read()
    {
        while (_at < _text.Length)
            switch (_text[_at])
            {
                case '\\' when Next == '\n':
                    Advance(2);
                    break;
                case '\\':
                    Add(Next);
                    Advance(2);
                    break;
                case '\'':
                    ReadSingleQuoted();
                    break;
                case '"':
                    ReadDoubleQuoted();
                    break;
                case '$':
                    ReadVariable(quoted: false);
                    break;
                case '#' when !_isWord:
                    while (_at < _text.Length && _text[_at] != '\n')
                        _at++;
                    break;
                case '(' when _isWord && _word.Length > 1 && _word[^1] == '=' && _words.Count == 0:
                    ReadArray();
                    break;
                case '>' or '<':
                    SkipRedirection();
                    break;
                case '\n' or ';' or '&' or '|' or '(' or ')':
                    EndCommand();
                    Advance(1);
                    break;
                case ' ' or '\t':
                    EndWord();
                    Advance(1);
                    break;
                default:
                    Add(_text[_at]);
                    Advance(1);
                    break;
            }
        EndCommand();
    }

    private void Advance(int count)
    {
        for (; count > 0 && _at < _text.Length; count--)
            if (_text[_at++] == '\n')
                _line++;
    }

    private void Begin()
    {
        if (!_isWord)
            (_isWord, _begun, _begunAt) = (true, _line, _from ?? _at);
    }

    private void Add(char c)
    {
        Begin();
        if (c != '\0')
            _word.Append(c);
    }

    private void ReadSingleQuoted()
    {
        Begin();
        Advance(1);
        while (_at < _text.Length && _text[_at] != '\'')
        {
            _word.Append(_text[_at]);
            Advance(1);
        }
        Advance(1);
    }

    private void ReadDoubleQuoted()
    {
        Begin();
        Advance(1);
        while (_at < _text.Length && _text[_at] != '"')
            if (_text[_at] == '\\' && Next is '"' or '\\' or '$' or '`')
            {
                _word.Append(Next);
                Advance(2);
            }
            else if (_text[_at] == '\\' && Next == '\n')
                Advance(2);
            else if (_text[_at] == '$')
                ReadVariable(quoted: true);
            else
            {
                _word.Append(_text[_at]);
                Advance(1);
            }
        Advance(1);
    }

    // $NAME, ${NAME}, ${NAME:-other}, ${NAME[@]}; $(…) is kept as it is
    private void ReadVariable(bool quoted)
    {
        var start = _at;
        string name, otherwise;
        if (Next == '(')
        {
            var depth = 0;
            do
            {
                depth += _text[_at] == '(' ? 1 : _text[_at] == ')' ? -1 : 0;
                Advance(1);
            }
            while (_at < _text.Length && (depth > 0 || _at == start + 1));
            Keep(_text[start.._at]);
            return;
        }
        if (Next == '{')
        {
            var end = _text.IndexOf('}', _at);
            end = end < 0 ? _text.Length : end;
            var inner = _text[(_at + 2)..end];
            Advance(end + 1 - _at);
            var length = inner.TakeWhile(c => char.IsAsciiLetterOrDigit(c) || c == '_').Count();
            (name, var rest) = (inner[..length], inner[length..]);
            otherwise = rest.StartsWith(":-", StringComparison.Ordinal) || rest.StartsWith(":=", StringComparison.Ordinal)
                ? rest[2..].Trim('"', '\'')
                : rest.StartsWith('-') ? rest[1..].Trim('"', '\'') : "";
            quoted &= rest is not ("[@]" or "[*]");
            if (rest is not ("" or "[@]" or "[*]") && !rest.StartsWith(":-", StringComparison.Ordinal)
                && !rest.StartsWith(":=", StringComparison.Ordinal) && !rest.StartsWith('-'))
            {
                Keep(_text[start..Math.Min(_at, _text.Length)]);
                return;
            }
        }
        else
        {
            var length = _text.Skip(_at + 1).TakeWhile(c => char.IsAsciiLetterOrDigit(c) || c == '_').Count();
            if (length == 0)
            {
                Add('$');
                Advance(1);
                return;
            }
            (name, otherwise) = (_text.Substring(_at + 1, length), "");
            Advance(length + 1);
        }
        if (_variables.TryGetValue(name, out var values))
            Insert(values, quoted, start);
        else if (otherwise.Length > 0)
            Insert([new(otherwise, _line, null)], quoted, start);
        else
            Keep(_text[start..Math.Min(_at, _text.Length)]);
    }

    private void Keep(string unknown)
    {
        Begin();
        _word.Append(unknown);
        _unknown ??= unknown;
    }

    // between quotes a value is a part of the word; outside, its spaces end words, as the shell has it
    private void Insert(IReadOnlyList<ShellWord> values, bool quoted, int from)
    {
        _from = from;
        if (quoted)
            Begin();
        var isFirst = true;
        foreach (var value in values)
            foreach (var part in quoted ? [value.Text] : value.Text.Split([' ', '\t', '\n'], StringSplitOptions.RemoveEmptyEntries))
            {
                if (!isFirst)
                    EndWord();
                isFirst = false;
                Begin();
                _word.Append(part);
                _unknown ??= value.Unknown;
            }
        _from = null;
    }

    private void ReadArray()
    {
        var name = _word.ToString()[..^1];
        (_isWord, _unknown) = (false, null);
        _word.Clear();
        Advance(1);
        var end = _at;
        for (var quote = '\0'; end < _text.Length && (quote != '\0' || _text[end] != ')'); end++)
            quote = quote == '\0' && _text[end] is '"' or '\'' ? _text[end] : quote == _text[end] ? '\0' : quote;
        var inner = new ShellScript(_text[_at..end].Replace('\n', ' '), new Dictionary<string, string>());
        foreach (var (other, value) in _variables)
            inner._variables[other] = value;
        inner.Read();
        var line = _line;
        _variables[name] = [.. inner._commands.SelectMany(words => words)
            .Select(word => word with { Line = line, Column = 0, Length = 0 })];
        Advance(end + 1 - _at);
    }

    // 2>&1, > file: where the output goes is none of the command's words
    private void SkipRedirection()
    {
        if (_isWord && _word.ToString().All(char.IsAsciiDigit))
            (_isWord, _) = (false, _word.Clear());
        EndWord();
        while (_at < _text.Length && _text[_at] is '>' or '<' or '&')
            Advance(1);
        while (_at < _text.Length && _text[_at] is ' ' or '\t')
            Advance(1);
        _isRedirection = true;
    }

    private void EndWord()
    {
        if (!_isWord)
            return;
        var text = _word.ToString();
        if (_isRedirection)
        {
            _word.Clear();
            (_isWord, _unknown, _isRedirection) = (false, null, false);
            return;
        }
        var equals = text.IndexOf('=');
        // NAME=value before any other word is a variable; in front of a command it is the command's environment
        if (equals > 0 && IsName(text.AsSpan(0, equals)) && _words.All(word => word.Text is "export" or "local" or "readonly" or "declare"))
            _variables[text[..equals]] = [new(text[(equals + 1)..], _begun, _unknown)];
        else
            _words.Add(new(text, _begun, _unknown, _begunAt - _text.AsSpan(0, _begunAt).LastIndexOf('\n'), _at - _begunAt));
        _word.Clear();
        (_isWord, _unknown) = (false, null);
    }

    private void EndCommand()
    {
        EndWord();
        if (_words.Count > 0)
            _commands.Add([.. _words]);
        _words.Clear();
    }

    private static bool IsName(ReadOnlySpan<char> text)
    {
        foreach (var c in text)
            if (!char.IsAsciiLetterOrDigit(c) && c != '_')
                return false;
        return !char.IsAsciiDigit(text[0]);
    }
}
