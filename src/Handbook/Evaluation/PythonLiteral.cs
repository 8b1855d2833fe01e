using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;

namespace Handbook.Evaluation;

/// <summary>A Python literal as a template prints it: lists, texts, numbers, True, False and None.</summary>
internal sealed class PythonLiteral
{
    private readonly string _text;
    private int _at;

    private PythonLiteral(string text) => _text = text;

    /// <returns>Whether the text is one literal and nothing else.</returns>
    public static bool TryRead(string text, out JsonNode? value)
    {
        var reader = new PythonLiteral(text);
        value = null;
        try
        {
            value = reader.Value(0);
            reader.Blanks();
            return reader._at == text.Length;
        }
        catch (FormatException)
        {
            return false;
        }
    }

    private JsonNode? Value(int depth)
    {
        Blanks();
        if (_at >= _text.Length || depth > 32)
            throw new FormatException();
        switch (_text[_at])
        {
            case '[': return Items(']', depth);
            case '(': return Items(')', depth);
            case '\'' or '"': return JsonValue.Create(Text());
        }
        var start = _at;
        while (_at < _text.Length && (char.IsLetterOrDigit(_text[_at]) || _text[_at] is '.' or '-' or '+' or '_'))
            _at++;
        var word = _text[start.._at];
        return word switch
        {
            "None" => null,
            "True" => JsonValue.Create(true),
            "False" => JsonValue.Create(false),
            _ when long.TryParse(word, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var whole) => JsonValue.Create(whole),
            _ when double.TryParse(word, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) => JsonValue.Create(number),
            _ => throw new FormatException(),
        };
    }

    private JsonArray Items(char end, int depth)
    {
        var items = new JsonArray();
        for (_at++; ;)
        {
            Blanks();
            if (_at < _text.Length && _text[_at] == end)
            {
                _at++;
                return items;
            }
            items.Add(Value(depth + 1));
            Blanks();
            if (_at < _text.Length && _text[_at] == ',')
                _at++;
            else if (_at >= _text.Length || _text[_at] != end)
                throw new FormatException();
        }
    }

    private string Text()
    {
        var quote = _text[_at++];
        var text = new StringBuilder();
        while (_at < _text.Length && _text[_at] != quote)
        {
            var letter = _text[_at++];
            if (letter != '\\')
            {
                text.Append(letter);
                continue;
            }
            if (_at >= _text.Length)
                break;
            switch (_text[_at++])
            {
                case 'n': text.Append('\n'); break;
                case 't': text.Append('\t'); break;
                case 'r': text.Append('\r'); break;
                case 'x': text.Append((char)Code(2)); break;
                case 'u': text.Append((char)Code(4)); break;
                case 'U': text.Append(char.ConvertFromUtf32(Code(8))); break;
                case var other: text.Append(other is '\\' or '\'' or '"' ? "" : "\\").Append(other); break;
            }
        }
        if (_at >= _text.Length)
            throw new FormatException();
        _at++;
        return text.ToString();
    }

    private int Code(int digits)
    {
        if (_at + digits > _text.Length
            || !int.TryParse(_text.AsSpan(_at, digits), NumberStyles.HexNumber, CultureInfo.InvariantCulture, out var code)
            || digits == 8 && code is < 0 or > 0x10FFFF or (>= 0xD800 and < 0xE000))
            throw new FormatException();
        _at += digits;
        return code;
    }

    private void Blanks()
    {
        while (_at < _text.Length && char.IsWhiteSpace(_text[_at]))
            _at++;
    }
}
