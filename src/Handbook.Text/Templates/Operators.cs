using System.Numerics;

namespace Handbook.Text.Templates;

/// <summary>Python's operators on any two values.</summary>
internal static class Operators
{
    public static object? Add(object? left, object? right)
    {
        switch (left, right)
        {
            case (string a, string b):
                Budget.Text(a.Length + (long)b.Length);
                return a + b;
            case (string or Markup, string or Markup):
                var joined = Markup.EscapeValue(left) + Markup.EscapeValue(right);
                Budget.Text(joined.Length);
                return new Markup(joined);
            case (List<object?> a, List<object?> b):
                Budget.CheckItems(a.Count + (long)b.Count);
                return (List<object?>)[.. a, .. b];
            case (PyTuple a, PyTuple b):
                Budget.CheckItems(a.Items.Length + (long)b.Items.Length);
                return new PyTuple([.. a.Items, .. b.Items]);
            case var _ when PyNumber.IsNumber(left) && PyNumber.IsNumber(right):
                return PyNumber.Add(left!, right!);
            case (Undefined missing, _):
                throw missing.Error();
            case (_, Undefined missing):
                throw missing.Error();
            case (string or List<object?> or PyTuple, _):
                throw JinjaException.Type(
                    $"can only concatenate {PyType.Name(left)} (not \"{PyType.Name(right)}\") to {PyType.Name(left)}");
            default:
                throw Unsupported("+", left, right);
        }
    }

    public static object? Multiply(object? left, object? right)
    {
        if (PyNumber.IsNumber(left) && PyNumber.IsNumber(right))
            return PyNumber.Multiply(left!, right!);
        if (Repeat(left, right) is { } repeated)
            return repeated;
        return Repeat(right, left) ?? throw (left is Undefined || right is Undefined ? Unsupported("*", left, right)
            : left is string or List<object?> or PyTuple
                ? JinjaException.Type($"can't multiply sequence by non-int of type '{PyType.Name(right)}'")
            : Unsupported("*", left, right));
    }

    public static object? Modulo(object? left, object? right) => left switch
    {
        string text => PyFormat.Percent(text, right, markup: false),
        Markup markup => new Markup(PyFormat.Percent(markup.Text, right, markup: true)),
        _ => Numbers(left, right, "%", PyNumber.Modulo),
    };

    public static object? Subtract(object? left, object? right) => Numbers(left, right, "-", PyNumber.Subtract);

    public static object? Divide(object? left, object? right) => Numbers(left, right, "/", PyNumber.Divide);

    public static object? FloorDivide(object? left, object? right) => Numbers(left, right, "//", PyNumber.FloorDivide);

    public static object? Power(object? left, object? right) => Numbers(left, right, "** or pow()", PyNumber.Power);

    public static object? Negate(object? value) => PyNumber.Negate(Operand(value, "-"));

    public static object? Plus(object? value) => Operand(value, "+") is bool truth ? Boxes.Of(truth ? 1L : 0L) : value;

    private static object Operand(object? value, string sign) => value is Undefined missing ? throw missing.Error()
        : Filters.Number(value, $"bad operand type for unary {sign}");

    private static object Numbers(object? left, object? right, string sign, Func<object, object, object> operation) =>
        PyNumber.IsNumber(left) && PyNumber.IsNumber(right) ? operation(left!, right!) : throw Unsupported(sign, left, right);

    private static JinjaException Unsupported(string sign, object? left, object? right) =>
        left is Undefined missing ? missing.Error()
        : right is Undefined absent ? absent.Error()
        : JinjaException.Type($"unsupported operand type(s) for {sign}: '{PyType.Name(left)}' and '{PyType.Name(right)}'");

    private static object? Repeat(object? sequence, object? count)
    {
        if (PyNumber.AsInteger(count) is not { } integer)
            return null;
        var times = (long)BigInteger.Max(0, BigInteger.Min(integer, int.MaxValue));
        switch (sequence)
        {
            case string text:
                return PyText.Repeat(text, times);
            case Markup markup:
                return new Markup(PyText.Repeat(markup.Text, times));
            case List<object?> list:
                return new List<object?>(Repeated(list, times));
            case PyTuple tuple:
                return new PyTuple(Repeated(tuple.Items, times));
            default:
                return null;
        }
    }

    private static object?[] Repeated(IReadOnlyList<object?> items, long times)
    {
        Budget.CheckItems(items.Count * times);
        var result = new object?[items.Count * times];
        for (var i = 0; i < result.Length; i++)
            result[i] = items[i % items.Count];
        return result;
    }
}
