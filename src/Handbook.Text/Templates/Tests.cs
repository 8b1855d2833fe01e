namespace Handbook.Text.Templates;

/// <summary>The tests of Jinja 3.1: <c>x is defined</c> and its like.</summary>
internal static class Tests
{
    public static readonly Dictionary<string, Function> All = new Function[]
    {
        Make("odd", "value", a => PyCompare.Equal(Operators.Modulo(a[0], 2L), 1L)),
        Make("even", "value", a => PyCompare.Equal(Operators.Modulo(a[0], 2L), 0L)),
        Make("divisibleby", "value num", a => PyCompare.Equal(Operators.Modulo(a[0], a[1]), 0L)),
        Make("defined", "value", a => a[0] is not Undefined),
        Make("undefined", "value", a => a[0] is Undefined),
        Make("filter", "value", a => PyText.Of(a[0]) is { } name && Filters.All.ContainsKey(name)),
        Make("test", "value", a => PyText.Of(a[0]) is { } name && All!.ContainsKey(name)),
        Make("none", "value", a => a[0] is null),
        Make("boolean", "value", a => a[0] is bool),
        Make("false", "value", a => a[0] is false),
        Make("true", "value", a => a[0] is true),
        Make("integer", "value", a => a[0] is long or System.Numerics.BigInteger),
        Make("float", "value", a => a[0] is double),
        Make("lower", "value", a => TextMethods.IsLower(PyRepr.Str(a[0]))),
        Make("upper", "value", a => TextMethods.IsUpper(PyRepr.Str(a[0]))),
        Make("string", "value", a => a[0] is string or Markup),
        Make("mapping", "value", a => a[0] is PyDict),
        Make("number", "value", a => PyNumber.IsNumber(a[0])),
        Make("sequence", "value", a => a[0] is string or Markup or List<object?> or PyTuple or PyDict or PyRange or Undefined),
        Make("iterable", "value", a => PySequence.IsIterable(a[0])),
        Make("callable", "value /", a => Access.IsCallable(a[0])),
        Make("sameas", "value other", a => Same(a[0], a[1])),
        Make("escaped", "value", a => a[0] is Markup),
        Make("in", "value seq", a => PyCompare.Contains(a[1], a[0])),
        Order("==", a => PyCompare.Equal(a[0], a[1])),
        Order("eq", a => PyCompare.Equal(a[0], a[1])),
        Order("equalto", a => PyCompare.Equal(a[0], a[1])),
        Order("!=", a => !PyCompare.Equal(a[0], a[1])),
        Order("ne", a => !PyCompare.Equal(a[0], a[1])),
        Order(">", a => PyCompare.Order(a[0], a[1], ">") > 0),
        Order("gt", a => PyCompare.Order(a[0], a[1], ">") > 0),
        Order("greaterthan", a => PyCompare.Order(a[0], a[1], ">") > 0),
        Order(">=", a => PyCompare.Order(a[0], a[1], ">=") >= 0),
        Order("ge", a => PyCompare.Order(a[0], a[1], ">=") >= 0),
        Order("<", a => PyCompare.Order(a[0], a[1], "<") < 0),
        Order("lt", a => PyCompare.Order(a[0], a[1], "<") < 0),
        Order("lessthan", a => PyCompare.Order(a[0], a[1], "<") < 0),
        Order("<=", a => PyCompare.Order(a[0], a[1], "<=") <= 0),
        Order("le", a => PyCompare.Order(a[0], a[1], "<=") <= 0),
    }.ToDictionary(test => test.Name);

    private static Function Make(string name, string parameters, Func<Arguments, bool> holds) =>
        new(name, parameters, (_, a) => Boxes.Of(holds(a)));

    private static Function Order(string name, Func<Arguments, bool> holds) => Make(name, "a b /", holds);

    /// <summary>Python's <c>is</c>: small integers, booleans, None and equal literals are one object there.</summary>
    private static bool Same(object? left, object? right) => ReferenceEquals(left, right) || (left, right) switch
    {
        (bool a, bool b) => a == b,
        (long a, long b) => a == b,
        (string a, string b) => a == b,
        (PyTuple { Items: [] }, PyTuple { Items: [] }) => true,
        _ => false,
    };
}
