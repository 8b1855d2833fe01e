using System.Globalization;
using System.Numerics;
using System.Text;

namespace Handbook.Text.Templates;

/// <summary>Python's two ways to format: <c>'%s' % x</c> and <c>'{}'.format(x)</c>.</summary>
internal static class PyFormat
{
    /// <summary>A format specification: <c>[[fill]align][sign][#][0][width][,][.precision][type]</c>.</summary>
    private sealed record Spec
    {
        public string Fill { get; set; } = " ";
        public char Align { get; set; }
        public char Sign { get; set; } = '-';
        public bool Alternate { get; set; }
        public int Width { get; set; }
        public char Group { get; set; }
        public int? Precision { get; set; }
        public char Type { get; set; }
    }

    /// <summary><c>'…{}…'.format(…)</c></summary>
    /// <param name="markup">Whether what is put in is escaped.</param>
    public static string Format(string format, ReadOnlySpan<object?> positional, PyDict named, bool markup)
    {
        var automatic = 0;
        return Format(format, positional.ToArray(), named, markup, ref automatic, depth: 2);
    }

    private static string Format(string format, object?[] positional, PyDict named, bool markup, ref int automatic, int depth)
    {
        if (depth < 0)
            throw JinjaException.Value("Max string recursion exceeded");
        var result = new StringBuilder();
        for (var i = 0; i < format.Length; i++)
        {
            var letter = format[i];
            if (letter is '{' or '}' && i + 1 < format.Length && format[i + 1] == letter)
            {
                result.Append(letter);
                i++;
                continue;
            }
            if (letter == '}')
                throw JinjaException.Value("Single '}' encountered in format string");
            if (letter != '{')
            {
                result.Append(letter);
                continue;
            }
            var end = FieldEnd(format, i + 1);
            var field = format[(i + 1)..end];
            i = end;
            var (name, conversion, spec) = Split(field);
            var value = Lookup(name, positional, named, ref automatic);
            value = conversion switch
            {
                'r' => PyRepr.Of(value),
                's' => markup && value is Markup ? value : PyRepr.Str(value),
                'a' => Escaped(PyRepr.Of(value)),
                '\0' => value,
                _ => throw JinjaException.Value($"Unknown conversion specifier '{conversion}'"),
            };
            if (spec.Contains('{'))
                spec = Format(spec, positional, named, markup: false, ref automatic, depth - 1);
            result.Append(markup
                ? value is Markup safe ? safe.Text : Markup.Escape(One(value, spec))
                : One(value, spec));
            Budget.Text(result.Length);
        }
        return result.ToString();
    }

    private static int FieldEnd(string format, int from)
    {
        var open = 1;
        for (var i = from; i < format.Length; i++)
        {
            open += format[i] switch { '{' => 1, '}' => -1, _ => 0 };
            if (open == 0)
                return i;
        }
        throw JinjaException.Value(from == format.Length ? "Single '{' encountered in format string" : "expected '}' before end of string");
    }

    private static (string Name, char Conversion, string Spec) Split(string field)
    {
        var depth = 0;
        for (var i = 0; i < field.Length; i++)
        {
            depth += field[i] switch { '[' => 1, ']' => -1, _ => 0 };
            if (depth > 0)
                continue;
            if (field[i] == ':')
                return (field[..i], '\0', field[(i + 1)..]);
            if (field[i] == '!')
                return i + 1 < field.Length && (i + 2 == field.Length || field[i + 2] == ':')
                    ? (field[..i], field[i + 1], i + 2 < field.Length ? field[(i + 3)..] : "")
                    : throw JinjaException.Value("expected ':' after conversion specifier");
        }
        return (field, '\0', "");
    }

    private static object? Lookup(string name, object?[] positional, PyDict named, ref int automatic)
    {
        var end = name.AsSpan().IndexOfAny('.', '[') is var at and >= 0 ? at : name.Length;
        var first = name[..end];
        if (first.Length == 0)
        {
            if (automatic < 0)
                throw JinjaException.Value("cannot switch from manual field specification to automatic field numbering");
            first = automatic++.ToString();
        }
        else if (char.IsAsciiDigit(first[0]))
        {
            if (automatic > 0)
                throw JinjaException.Value("cannot switch from automatic field numbering to manual field specification");
            automatic = -1;
        }
        object? value;
        if (int.TryParse(first, NumberStyles.None, CultureInfo.InvariantCulture, out var index))
            value = index < positional.Length ? positional[index]
                : throw JinjaException.Value($"Replacement index {index} out of range for positional args tuple");
        else if (!named.TryGet(first, out value))
            throw JinjaException.Value(PyRepr.Quote(first));
        while (end < name.Length)
        {
            if (name[end] == '[')
            {
                var close = name.IndexOf(']', end);
                if (close < 0)
                    throw JinjaException.Value("Missing ']' in format string");
                var key = name[(end + 1)..close];
                value = Access.Item(value,
                    long.TryParse(key, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : key);
                end = close + 1;
            }
            else
            {
                var next = name.AsSpan(end + 1).IndexOfAny('.', '[') is var stop and >= 0 ? end + 1 + stop : name.Length;
                value = Access.Attribute(value, name[(end + 1)..next]);
                end = next;
            }
        }
        return value;
    }

    /// <summary>Python's <c>format(value, spec)</c>.</summary>
    public static string One(object? value, string text)
    {
        if (text.Length == 0)
            return PyRepr.Str(value);
        if (value is Undefined missing)
            throw missing.Error();
        var numeric = value is long or bool or BigInteger or double;
        if (!numeric && PyText.Of(value) is null)
            throw JinjaException.Type($"unsupported format string passed to {PyType.Name(value)}.__format__");
        var spec = Parse(text, numeric);
        Budget.Text(spec.Width);
        if (!numeric)
        {
            if (spec.Type is not ('\0' or 's'))
                throw JinjaException.Value($"Unknown format code '{spec.Type}' for object of type 'str'");
            if (spec.Align == '=')
                throw JinjaException.Value("'=' alignment not allowed in string format specifier");
            var plain = PyText.Of(value)!;
            if (spec.Precision is { } most && most < PyText.Length(plain))
                plain = PyText.Slice(plain, new PySlice(null, (long)most, null));
            return Aligned("", plain, spec, '<');
        }
        return Number(value!, spec);
    }

    private static Spec Parse(string text, bool numeric)
    {
        var spec = new Spec();
        var letters = PyText.Letters(text).ToList();
        var at = 0;
        if (letters.Count > 1 && letters[1] is "<" or ">" or "^" or "=")
        {
            spec.Fill = letters[0];
            spec.Align = letters[1][0];
            at = 2;
        }
        else if (letters[0] is "<" or ">" or "^" or "=")
            spec.Align = letters[at++][0];
        if (at < letters.Count && letters[at] is "+" or "-" or " ")
            spec.Sign = letters[at++][0];
        if (at < letters.Count && letters[at] == "#")
        {
            spec.Alternate = true;
            at++;
        }
        if (at < letters.Count && letters[at] == "0" && spec.Align == '\0')
        {
            spec.Fill = "0";
            spec.Align = numeric ? '=' : '<';
            at++;
        }
        spec.Width = Digits() ?? 0;
        if (at < letters.Count && letters[at] is "," or "_")
            spec.Group = letters[at++][0];
        if (at < letters.Count && letters[at] == ".")
        {
            at++;
            spec.Precision = Digits() ?? throw JinjaException.Value("Format specifier missing precision");
        }
        if (at < letters.Count)
            spec.Type = letters[at++][0];
        return at == letters.Count ? spec : throw JinjaException.Value($"Invalid format specifier '{text}'");

        int? Digits()
        {
            int? number = null;
            while (at < letters.Count && letters[at] is [>= '0' and <= '9'])
            {
                number = ((number ?? 0) * 10) + (letters[at++][0] - '0');
                Budget.CheckLength(number.Value);
            }
            return number;
        }
    }

    private static string Number(object value, Spec spec)
    {
        if (spec.Type is '\0' && value is bool && spec is { Width: 0, Group: '\0', Precision: null })
            return Aligned("", PyRepr.Str(value), spec, '<');
        var integer = PyNumber.AsInteger(value);
        string digits, prefix = "";
        bool negative;
        if (integer is { } whole && spec.Type is '\0' or 'd' or 'n' or 'b' or 'o' or 'x' or 'X' or 'c')
        {
            if (spec.Precision is not null)
                throw JinjaException.Value("Precision not allowed in integer format specifier");
            negative = whole.Sign < 0;
            var size = BigInteger.Abs(integer.Value);
            if (spec.Type == 'c')
                return Aligned("", Character(integer.Value), spec, '<');
            (digits, prefix) = spec.Type switch
            {
                'x' => (Radix(size, 16), "0x"),
                'X' => (Radix(size, 16).ToUpperInvariant(), "0X"),
                'o' => (Radix(size, 8), "0o"),
                'b' => (Radix(size, 2), "0b"),
                _ => (PyNumber.Repr(size), ""),
            };
            if (!spec.Alternate)
                prefix = "";
        }
        else
        {
            if (spec.Type is not ('\0' or 'e' or 'E' or 'f' or 'F' or 'g' or 'G' or '%' or 'n'))
                throw JinjaException.Value($"Unknown format code '{spec.Type}' for object of type '{PyType.Name(value)}'");
            var number = PyNumber.AsDouble(value)!.Value;
            negative = double.IsNegative(number);
            digits = Float(Math.Abs(number), spec.Type, spec.Precision, spec.Alternate);
        }
        if (spec.Group != '\0')
            digits = Grouped(digits, spec.Group, spec.Type is 'x' or 'X' or 'o' or 'b' ? 4 : 3,
                spec is { Align: '=', Fill: "0" } ? spec.Width - (negative || spec.Sign != '-' ? 1 : 0) - prefix.Length : 0);
        var sign = negative ? "-" : spec.Sign == '-' ? "" : spec.Sign.ToString();
        return Aligned(sign + prefix, digits, spec, '>');
    }

    private static string Aligned(string sign, string body, Spec spec, char usual)
    {
        var align = spec.Align == '\0' ? usual : spec.Align;
        var padding = spec.Width - PyText.Length(sign) - PyText.Length(body);
        if (padding <= 0)
            return sign + body;
        if (align == '=')
            return sign + PyText.Repeat(spec.Fill, padding) + body;
        var left = align switch { '<' => 0, '>' => padding, _ => padding / 2 };
        return PyText.Repeat(spec.Fill, left) + sign + body + PyText.Repeat(spec.Fill, padding - left);
    }

    private static string Grouped(string digits, char separator, int size, int width)
    {
        var end = 0;
        while (end < digits.Length && char.IsAsciiHexDigit(digits[end]))
            end++;
        var whole = digits[..end];
        var rest = digits[end..];
        // Zero padding is part of the number here: the zeros get separators too.
        while (width > 0 && whole.Length + ((whole.Length - 1) / size) + rest.Length < width)
            whole = "0" + whole;
        var result = new StringBuilder();
        for (var i = 0; i < whole.Length; i++)
        {
            if (i > 0 && (whole.Length - i) % size == 0)
                result.Append(separator);
            result.Append(whole[i]);
        }
        return result.Append(rest).ToString();
    }

    private static string Radix(BigInteger value, int radix)
    {
        if (value.IsZero)
            return "0";
        var result = new StringBuilder();
        for (; !value.IsZero; value /= radix)
            result.Insert(0, "0123456789abcdef"[(int)(value % radix)]);
        return result.ToString();
    }

    private static string Character(BigInteger code) => code >= 0 && code <= 0x10FFFF && !(code >= 0xD800 && code <= 0xDFFF)
        ? char.ConvertFromUtf32((int)code)
        : throw JinjaException.Value("%c arg not in range(0x110000)");

    /// <summary>Digits of a float that is not negative.</summary>
    private static string Float(double value, char type, int? precision, bool alternate)
    {
        if (!double.IsFinite(value))
            return (double.IsNaN(value) ? "nan" : "inf") is var name && char.IsUpper(type) ? name.ToUpperInvariant() : name;
        Budget.CheckLength(precision ?? 0);
        switch (type)
        {
            case 'f' or 'F':
                return Fixed(value, precision ?? 6) + (alternate && precision == 0 ? "." : "");
            case '%':
                return Fixed(value * 100, precision ?? 6) + "%";
            case 'e' or 'E':
                return Exponent(value, precision ?? 6) is var text && type == 'E' ? text.ToUpperInvariant() : text;
            case '\0' when precision is null:
                return PyNumber.Repr(value);
            default:
                var most = Math.Max(1, precision ?? 6);
                var scientific = Exponent(value, most - 1);
                var exponent = int.Parse(scientific.AsSpan(scientific.IndexOf('e') + 1), NumberStyles.AllowLeadingSign);
                string general;
                if (exponent < -4 || exponent >= most + (type == '\0' ? -1 : 0))
                {
                    var mantissa = scientific[..scientific.IndexOf('e')];
                    general = (alternate ? mantissa : Trimmed(mantissa)) + scientific[scientific.IndexOf('e')..];
                }
                else
                {
                    general = Fixed(value, most - 1 - exponent);
                    general = alternate ? general : Trimmed(general);
                    if (type == '\0' && !general.Contains('.'))
                        general += ".0";
                }
                return type == 'G' ? general.ToUpperInvariant() : general;
        }

        static string Trimmed(string digits) => digits.Contains('.') ? digits.TrimEnd('0').TrimEnd('.') : digits;
    }

    /// <summary>Exactly so many decimals, rounded half to even on the float's exact value.</summary>
    public static string Fixed(double value, int decimals) => value.ToString("F" + decimals, CultureInfo.InvariantCulture) is var text
        && double.IsNegative(value) && text[0] != '-' ? "-" + text : text;

    private static string Exponent(double value, int decimals)
    {
        var text = value.ToString("E" + decimals, CultureInfo.InvariantCulture);
        var mark = text.IndexOf('E');
        var exponent = int.Parse(text.AsSpan(mark + 1), NumberStyles.AllowLeadingSign);
        return $"{text[..mark]}e{(exponent < 0 ? '-' : '+')}{Math.Abs(exponent):00}";
    }

    /// <summary><c>format % values</c></summary>
    public static string Percent(string format, object? values, bool markup)
    {
        var result = new StringBuilder();
        var tuple = values as PyTuple;
        var single = tuple is null;
        var next = 0;
        for (var i = 0; i < format.Length; i++)
        {
            if (format[i] != '%')
            {
                result.Append(format[i]);
                continue;
            }
            var at = i + 1;
            object? named = null;
            var hasName = false;
            if (at < format.Length && format[at] == '(')
            {
                var close = format.IndexOf(')', at);
                if (close < 0)
                    throw JinjaException.Value("incomplete format key");
                var map = values as PyDict ?? throw JinjaException.Type("format requires a mapping");
                var key = format[(at + 1)..close];
                if (!map.TryGet(key, out named))
                    throw JinjaException.Value(PyRepr.Quote(key));
                hasName = true;
                at = close + 1;
            }
            var spec = new Spec { Align = '>' };
            bool left = false, zero = false;
            for (; at < format.Length && format[at] is '-' or '+' or ' ' or '#' or '0'; at++)
            {
                switch (format[at])
                {
                    case '-': left = true; break;
                    case '0': zero = true; break;
                    case '#': spec.Alternate = true; break;
                    case '+': spec.Sign = '+'; break;
                    default: spec.Sign = spec.Sign == '+' ? '+' : ' '; break;
                }
            }
            var width = Size(ref at);
            if (width < 0)
                left = true;
            spec.Width = Math.Abs(width ?? 0);
            if (at < format.Length && format[at] == '.')
            {
                at++;
                spec.Precision = Math.Max(0, Size(ref at) ?? 0);
            }
            while (at < format.Length && format[at] is 'h' or 'l' or 'L')
                at++;
            if (at == format.Length)
                throw JinjaException.Value("incomplete format");
            spec.Type = format[at];
            i = at;
            if (spec.Type == '%')
            {
                result.Append('%');
                continue;
            }
            Budget.Text(spec.Width + (long)(spec.Precision ?? 0));
            var value = hasName ? named : Take();
            if (left)
                spec.Align = '<';
            else if (zero && spec.Type is not ('s' or 'r' or 'a' or 'c'))
                (spec.Align, spec.Fill) = ('=', "0");
            result.Append(Converted(value, spec, markup));
            Budget.CheckLength(result.Length);
        }
        if (single ? next == 0 && values is not (PyDict or List<object?> or null) || (values is null && next == 0)
            : next < tuple!.Items.Length)
            throw JinjaException.Type("not all arguments converted during string formatting");
        return result.ToString();

        object? Take()
        {
            if (single)
                return next++ == 0 ? values : throw JinjaException.Type("not enough arguments for format string");
            return next < tuple!.Items.Length ? tuple.Items[next++] : throw JinjaException.Type("not enough arguments for format string");
        }

        int? Size(ref int at)
        {
            if (at < format.Length && format[at] == '*')
            {
                at++;
                return PyNumber.ToInt32(Take(), "* wants int");
            }
            int? number = null;
            for (; at < format.Length && char.IsAsciiDigit(format[at]); at++)
            {
                number = ((number ?? 0) * 10) + (format[at] - '0');
                Budget.CheckLength(number.Value);
            }
            return number;
        }
    }

    private static string Converted(object? value, Spec spec, bool markup)
    {
        switch (spec.Type)
        {
            case 's' or 'r' or 'a':
                var text = spec.Type == 's' ? PyRepr.Str(value) : spec.Type == 'r' ? PyRepr.Of(value) : Escaped(PyRepr.Of(value));
                if (markup && !(spec.Type == 's' && value is Markup))
                    text = Markup.Escape(text);
                if (spec.Precision is { } most && most < PyText.Length(text))
                    text = PyText.Slice(text, new PySlice(null, (long)most, null));
                return Aligned("", text, spec, '>');
            case 'c':
                var letter = PyText.Of(value) is { } given ? PyText.Length(given) == 1 ? given
                    : throw JinjaException.Type("%c requires int or char")
                    : Character(PyNumber.AsInteger(value) ?? throw JinjaException.Type("%c requires int or char"));
                return Aligned("", letter, spec, '>');
            case 'd' or 'i' or 'u' or 'x' or 'X' or 'o':
                if (value is Undefined missing)
                    throw missing.Error();
                var integer = PyNumber.AsInteger(value)
                    ?? (value is double number && spec.Type is 'd' or 'i' or 'u' ? Truncated((double)value)
                        : throw JinjaException.Type($"%{spec.Type} format: a real number is required, not {PyType.Name(value)}"));
                var digits = spec.Precision;
                var body = spec.Type switch
                {
                    'x' => Radix(BigInteger.Abs(integer), 16),
                    'X' => Radix(BigInteger.Abs(integer), 16)
                    .ToUpperInvariant(),
                    'o' => Radix(BigInteger.Abs(integer), 8),
                    _ => PyNumber.Repr(BigInteger.Abs(integer))
                };
                if (digits is { } least)
                    body = PyText.Pad(body, least, "0", 2);
                var sign = integer.Sign < 0 ? "-" : spec.Sign == '-' ? "" : spec.Sign.ToString();
                var prefix = spec.Alternate ? spec.Type switch { 'x' => "0x", 'X' => "0X", 'o' => "0o", _ => "" } : "";
                return Aligned(sign + prefix, body, spec, '>');
            case 'e' or 'E' or 'f' or 'F' or 'g' or 'G':
                if (value is Undefined absent)
                    throw absent.Error();
                return Number(PyNumber.AsDouble(value) ?? throw JinjaException.Type($"must be real number, not {PyType.Name(value)}"),
                    spec with { Precision = spec.Precision ?? 6 });
            default:
                throw JinjaException.Value($"unsupported format character '{spec.Type}' (0x{(int)spec.Type:x})");
        }
    }

    private static BigInteger Truncated(double value) => double.IsFinite(value) ? new BigInteger(Math.Truncate(value))
        : throw JinjaException.Value($"cannot convert float {PyNumber.Repr(value)} to integer");

    private static string Escaped(string text)
    {
        var result = new StringBuilder();
        foreach (var rune in text.EnumerateRunes())
            result.Append(rune.IsAscii ? rune.ToString() : rune.Value < 256 ? $"\\x{rune.Value:x2}" : rune.IsBmp ? $"\\u{rune.Value:x4}"
                : $"\\U{rune.Value:x8}");
        return result.ToString();
    }
}
