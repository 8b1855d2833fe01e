using System.Globalization;
using System.Numerics;
using System.Text;

namespace Handbook.Text.Templates;

/// <summary>Python's integers (of any size) and floats: arithmetic, reading and writing.</summary>
internal static class PyNumber
{
    // 4300 digits is Python's own border for turning integers into text and back.
    private const int MaximumDigits = 4300;
    private const int MaximumBits = 1 << 20;

    /// <summary>The value as an integer if it is one (True is 1), else null.</summary>
    public static BigInteger? AsInteger(object? value) => value switch
    {
        long integer => integer,
        bool truth => truth ? BigInteger.One : BigInteger.Zero,
        BigInteger big => big,
        _ => null,
    };

    /// <summary>The value as a float if it is a number, else null.</summary>
    public static double? AsDouble(object? value) => value switch
    {
        double number => number,
        long integer => integer,
        bool truth => truth ? 1 : 0,
        BigInteger big => ToDouble(big),
        _ => null,
    };

    public static bool IsNumber(object? value) => value is long or double or bool or BigInteger;

    public static object Box(BigInteger value) =>
        value >= long.MinValue && value <= long.MaxValue ? Boxes.Of((long)value) : value.GetBitLength() > MaximumBits
            ? throw JinjaException.Limit($"an integer of {value.GetBitLength()} bits is too large")
            : value;

    /// <summary>An index or count for something in memory.</summary>
    public static int ToInt32(object? value, string what) => AsInteger(value) is { } integer
        ? (int)BigInteger.Min(BigInteger.Max(integer, -int.MaxValue), int.MaxValue)
        : throw JinjaException.Type($"{what}: '{PyType.Name(value)}' object cannot be interpreted as an integer");

    public static object Add(object left, object right) =>
        left is long a && right is long b && a + b is var sum && ((a ^ sum) & (b ^ sum)) >= 0 ? Boxes.Of(sum)
        : Integers(left, right, out var x, out var y) ? Box(x + y) : Double(left) + Double(right);

    public static object Subtract(object left, object right) =>
        left is long a && right is long b && a - b is var difference && ((a ^ b) & (a ^ difference)) >= 0 ? Boxes.Of(difference)
        : Integers(left, right, out var x, out var y) ? Box(x - y) : Double(left) - Double(right);

    public static object Multiply(object left, object right) =>
        Integers(left, right, out var x, out var y) ? Box(x * y) : Double(left) * Double(right);

    public static object Divide(object left, object right)
    {
        var divisor = Double(right);
        return divisor == 0 ? throw JinjaException.Value(left is double || right is double ? "float division by zero" : "division by zero")
            : Double(left) / divisor;
    }

    public static object FloorDivide(object left, object right)
    {
        if (Integers(left, right, out var x, out var y))
        {
            if (y.IsZero)
                throw JinjaException.Value("integer division or modulo by zero");
            var quotient = BigInteger.DivRem(x, y, out var rest);
            return Box(!rest.IsZero && (rest.Sign < 0) != (y.Sign < 0) ? quotient - 1 : quotient);
        }
        var divisor = Double(right);
        return divisor == 0 ? throw JinjaException.Value("float divmod()") : Math.Floor(Double(left) / divisor);
    }

    public static object Modulo(object left, object right)
    {
        if (Integers(left, right, out var x, out var y))
        {
            if (y.IsZero)
                throw JinjaException.Value("integer modulo by zero");
            var rest = BigInteger.Remainder(x, y);
            return Box(!rest.IsZero && (rest.Sign < 0) != (y.Sign < 0) ? rest + y : rest);
        }
        var divisor = Double(right);
        if (divisor == 0)
            throw JinjaException.Value("float modulo");
        var result = Double(left) % divisor;
        return result != 0 && (result < 0) != (divisor < 0) ? result + divisor : result;
    }

    public static object Power(object left, object right)
    {
        if (Integers(left, right, out var x, out var y) && y.Sign >= 0)
        {
            if (x.IsZero || x.IsOne)
                return Box(y.IsZero ? BigInteger.One : x);
            return y * x.GetBitLength() > MaximumBits ? throw JinjaException.Limit($"{x} ** {y} is too large")
                : Box(BigInteger.Pow(x, (int)y));
        }
        double value = Double(left), exponent = Double(right);
        if (value == 0 && exponent < 0)
            throw JinjaException.Value("0.0 cannot be raised to a negative power");
        if (value < 0 && exponent != Math.Floor(exponent))
            throw JinjaException.Value("a negative number to a fractional power is a complex number, which templates cannot use");
        var result = Math.Pow(value, exponent);
        return double.IsInfinity(result) && double.IsFinite(value) && double.IsFinite(exponent)
            ? throw JinjaException.Value("Result too large") : result;
    }

    public static object Negate(object value) => value is double number ? -number : Box(-AsInteger(value)!.Value);

    public static object Absolute(object value) => value is double number ? Math.Abs(number) : Box(BigInteger.Abs(AsInteger(value)!.Value));

    /// <summary>Python's <c>round</c>: half to even, exact in decimal; negative digits round to tens.</summary>
    public static object Round(object value, int digits)
    {
        if (value is not double number)
        {
            var integer = AsInteger(value)!.Value;
            if (digits >= 0)
                return Box(integer);
            var unit = BigInteger.Pow(10, Math.Min(-digits, MaximumDigits));
            var rest = ((integer % unit) + unit) % unit;
            var down = integer - rest;
            var twice = rest * 2;
            return Box(twice > unit || (twice == unit && !(down / unit).IsEven) ? down + unit : down);
        }
        if (!double.IsFinite(number) || digits > 323)
            return number;
        return digits >= 0
            ? double.Parse(PyFormat.Fixed(number, digits), CultureInfo.InvariantCulture)
            : digits < -308 ? 0.0 * number : AsDouble(Round(Box(new BigInteger(number)), digits))!.Value;
    }

    /// <summary>Python's <c>repr</c> of a float: the shortest digits that read back the same.</summary>
    public static string Repr(double value)
    {
        if (double.IsNaN(value))
            return "nan";
        if (double.IsInfinity(value))
            return value > 0 ? "inf" : "-inf";
        if (value == 0)
            return double.IsNegative(value) ? "-0.0" : "0.0";
        var (digits, exponent) = Shortest(Math.Abs(value));
        var text = new StringBuilder(double.IsNegative(value) ? "-" : "");
        if (exponent is >= -4 and < 16)
        {
            if (exponent < 0)
                return text.Append("0.").Append('0', -exponent - 1).Append(digits).ToString();
            return exponent + 1 >= digits.Length
                ? text.Append(digits).Append('0', exponent + 1 - digits.Length).Append(".0").ToString()
                : text.Append(digits, 0, exponent + 1).Append('.').Append(digits, exponent + 1, digits.Length - exponent - 1).ToString();
        }
        text.Append(digits[0]);
        if (digits.Length > 1)
            text.Append('.').Append(digits, 1, digits.Length - 1);
        return text.Append('e').Append(exponent < 0 ? '-' : '+').Append(Math.Abs(exponent).ToString("00")).ToString();
    }

    /// <summary>Shortest digits d₁d₂… and exponent e with value = d₁.d₂… × 10^e; value &gt; 0.</summary>
    internal static (string Digits, int Exponent) Shortest(double value)
    {
        var text = value.ToString("E16", CultureInfo.InvariantCulture);
        var round = value.ToString("R", CultureInfo.InvariantCulture);
        var exponent = int.Parse(text.AsSpan(text.IndexOf('E') + 1), NumberStyles.AllowLeadingSign);
        var mark = round.IndexOf('E');
        var mantissa = mark < 0 ? round : round[..mark];
        var digits = mantissa.Replace(".", "").TrimStart('0').TrimEnd('0');
        if (mark >= 0)
            exponent = int.Parse(round.AsSpan(mark + 1), NumberStyles.AllowLeadingSign)
                + mantissa.IndexOf('.') switch { < 0 => mantissa.Length - 1, var dot => dot - 1 };
        else
        {
            var dot = mantissa.IndexOf('.');
            var whole = dot < 0 ? mantissa : mantissa[..dot];
            exponent = whole.TrimStart('0') is { Length: > 0 } significant
                ? significant.Length - 1
                : -(mantissa.AsSpan(dot + 1).IndexOfAnyExcept('0') + 1);
        }
        return (digits, exponent);
    }

    /// <summary>Text of an integer, refused where Python refuses it.</summary>
    public static string Repr(BigInteger value) => value.GetBitLength() > MaximumDigits * 3.33
        ? throw JinjaException.Value($"Exceeds the limit ({MaximumDigits} digits) for integer string conversion")
        : value.ToString(CultureInfo.InvariantCulture);

    /// <summary><c>int(text, radix)</c>; null where Python raises ValueError.</summary>
    public static BigInteger? ParseInteger(string text, int radix)
    {
        var span = PyText.Strip(text).AsSpan();
        var negative = span.Length > 0 && span[0] == '-';
        if (span.Length > 0 && span[0] is '+' or '-')
            span = span[1..];
        if (span.Length > 1 && span[0] == '0' && PrefixRadix(span[1]) is var prefix && prefix != 0 && (radix == prefix || radix == 0))
        {
            radix = prefix;
            span = span[2..];
            if (span.Length > 0 && span[0] == '_')
                span = span[1..];
        }
        else if (radix == 0)
        {
            if (span.Length > 1 && span[0] == '0' && span.IndexOfAnyExcept("0_") >= 0)
                return null;
            radix = 10;
        }
        if (span.Length is 0 or > MaximumDigits)
            return null;
        var result = BigInteger.Zero;
        var previousDigit = false;
        foreach (var rune in span.EnumerateRunes())
        {
            if (rune.Value == '_' && previousDigit)
            {
                previousDigit = false;
                continue;
            }
            var digit = DigitOf(rune);
            if (digit < 0 || digit >= radix)
                return null;
            result = (result * radix) + digit;
            previousDigit = true;
        }
        return !previousDigit ? null : negative ? -result : result;
    }

    /// <summary><c>float(text)</c>; null where Python raises ValueError.</summary>
    public static double? ParseFloat(string text)
    {
        var clean = PyText.Strip(text);
        switch (clean.ToLowerInvariant().TrimStart('+'))
        {
            case "inf" or "infinity":
                return double.PositiveInfinity;
            case "-inf" or "-infinity":
                return double.NegativeInfinity;
            case "nan" or "-nan":
                return double.NaN;
        }
        for (var i = 0; i < clean.Length; i++)
        {
            var allowed = clean[i] switch
            {
                '_' => i > 0 && i + 1 < clean.Length && char.IsAsciiDigit(clean[i - 1]) && char.IsAsciiDigit(clean[i + 1]),
                '+' or '-' or '.' or 'e' or 'E' => true,
                var letter => char.IsAsciiDigit(letter),
            };
            if (!allowed)
                return null;
        }
        return double.TryParse(clean.Replace("_", ""),
            NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent, CultureInfo.InvariantCulture,
            out var value) ? value : null;
    }

    private static int PrefixRadix(char letter) => letter switch { 'x' or 'X' => 16, 'o' or 'O' => 8, 'b' or 'B' => 2, _ => 0 };

    private static int DigitOf(Rune rune) => rune.IsAscii
        ? rune.Value switch
        {
            >= '0' and <= '9' => rune.Value - '0',
            >= 'a' and <= 'z' => rune.Value - 'a' + 10,
            >= 'A' and <= 'Z' => rune.Value - 'A' + 10,
            _ => -1,
        }
        : CharUnicodeInfo.GetDecimalDigitValue(rune.ToString(), 0);

    private static bool Integers(object left, object right, out BigInteger x, out BigInteger y)
    {
        x = AsInteger(left) ?? default;
        y = AsInteger(right) ?? default;
        return left is not double && right is not double;
    }

    private static double Double(object value) => AsDouble(value)!.Value;

    private static double ToDouble(BigInteger value)
    {
        var number = (double)value;
        return double.IsInfinity(number) ? throw JinjaException.Value("int too large to convert to float") : number;
    }
}
