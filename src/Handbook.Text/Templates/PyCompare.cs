using System.Numerics;

namespace Handbook.Text.Templates;

/// <summary>Python's truth, equality and order.</summary>
internal static class PyCompare
{
    public static bool Truth(object? value) => value switch
    {
        null or Undefined => false,
        bool truth => truth,
        string text => text.Length > 0,
        long integer => integer != 0,
        double number => number != 0,
        BigInteger big => !big.IsZero,
        Markup safe => safe.Text.Length > 0,
        List<object?> list => list.Count > 0,
        PyTuple tuple => tuple.Items.Length > 0,
        PyDict dict => dict.Count > 0,
        PyDictView view => view.Dict.Count > 0,
        PyRange range => range.Count > 0,
        Loop loop => loop.Length > 0,
        _ => true,
    };

    public static bool Equal(object? left, object? right)
    {
        if (left is string a && right is string b)
            return a == b;
        if (left is null || right is null)
            return left is null && right is null;
        if (PyNumber.IsNumber(left) && PyNumber.IsNumber(right))
            return left is not double && right is not double ? PyNumber.AsInteger(left) == PyNumber.AsInteger(right)
                : Order(left, right) == 0;
        switch (left, right)
        {
            case (string or Markup, string or Markup):
                return PyText.Of(left) == PyText.Of(right);
            case (Undefined, Undefined):
                return true;
            case (List<object?> x, List<object?> y):
                return AllEqual(x, y);
            case (PyTuple x, PyTuple y):
                return AllEqual(x.Items, y.Items);
            case (PyDict x, PyDict y):
                return DictsEqual(x, y);
            case (PyRange x, PyRange y):
                return x.Count == y.Count && (x.Count == 0 || (x.Start == y.Start && (x.Count == 1 || x.Step == y.Step)));
            case (PyDictView x, PyDictView y) when x.Part != DictPart.Values && y.Part != DictPart.Values:
                return x.Dict.Count == y.Dict.Count && x.Items().All(item => y.Items().Any(other => Equal(item, other)));
            default:
                return ReferenceEquals(left, right) || (left is PySlice or Method && left.Equals(right));
        }
    }

    /// <summary>The order of two values: negative, zero or positive; null for NaN. The operator's sign stands in the
    /// message where there is no order.</summary>
    public static int? Order(object? left, object? right, string sign = "<")
    {
        if (left is long a && right is long b)
            return a.CompareTo(b);
        if (PyNumber.IsNumber(left) && PyNumber.IsNumber(right))
            return CompareNumbers(left!, right!);
        switch (left, right)
        {
            case (string or Markup, string or Markup):
                return PyText.Compare(PyText.Of(left)!, PyText.Of(right)!);
            case (Undefined missing, _):
                throw missing.Error();
            case (_, Undefined missing):
                throw missing.Error();
            case (List<object?> x, List<object?> y):
                return Lexicographic(x, y, sign);
            case (PyTuple x, PyTuple y):
                return Lexicographic(x.Items, y.Items, sign);
            default:
                throw JinjaException.Type($"'{sign}' not supported between instances of '{PyType.Name(left)}' and '{PyType.Name(right)}'");
        }
    }

    public static bool Less(object? left, object? right) => Order(left, right) < 0;

    public static bool Contains(object? container, object? item)
    {
        switch (container)
        {
            case string or Markup:
                var text = PyText.Of(item)
                    ?? throw JinjaException.Type($"'in <string>' requires string as left operand, not {PyType.Name(item)}");
                Budget.Text(PyText.Of(container)!.Length);
                return PyText.Of(container)!.Contains(text, StringComparison.Ordinal);
            case PyDict dict:
                return dict.Contains(item);
            case PyDictView { Part: DictPart.Keys } keys:
                return keys.Dict.Contains(item);
            case PyRange range when PyNumber.AsInteger(item) is { } number:
                return range.Count > 0 && number >= Math.Min(range.Start, range[range.Count - 1])
                    && number <= Math.Max(range.Start, range[range.Count - 1]) && ((number - range.Start) % range.Step).IsZero;
            default:
                if (!PySequence.IsIterable(container))
                    throw JinjaException.Type($"argument of type '{PyType.Name(container)}' is not iterable");
                foreach (var element in PySequence.Iterate(container))
                    if (ReferenceEquals(element, item) || Equal(element, item))
                        return true;
                return false;
        }
    }

    /// <summary>A stable sort by key, as Python's <c>sorted</c>.</summary>
    public static List<object?> Sorted(IEnumerable<object?> items, Func<object?, object?> key, bool reverse)
    {
        var rows = new List<(object? Key, int At, object? Item)>();
        foreach (var item in items)
            rows.Add((key(item), rows.Count, item));
        Budget.Spend(rows.Count);
        // List.Sort is not stable, so the place decides between equals; a reversed sort keeps them in order too.
        try
        {
            rows.Sort((x, y) =>
            {
                var order = Order(x.Key, y.Key) ?? 0;
                return order != 0 ? (reverse ? -order : order) : x.At.CompareTo(y.At);
            });
        }
        catch (InvalidOperationException wrapped) when (wrapped.InnerException is JinjaException refused)
        {
            throw new JinjaException(refused.Kind, refused.Message);
        }
        return rows.ConvertAll(row => row.Item);
    }

    private static int? CompareNumbers(object left, object right)
    {
        if (left is not double && right is not double)
            return PyNumber.AsInteger(left)!.Value.CompareTo(PyNumber.AsInteger(right)!.Value);
        if ((left is double x && double.IsNaN(x)) || (right is double y && double.IsNaN(y)))
            return null;
        if (left is BigInteger big && right is double number)
            return double.IsInfinity(number) ? -Math.Sign(number) : big.CompareTo(new BigInteger(number));
        if (left is double other && right is BigInteger large)
            return double.IsInfinity(other) ? Math.Sign(other) : new BigInteger(other).CompareTo(large);
        return PyNumber.AsDouble(left)!.Value.CompareTo(PyNumber.AsDouble(right)!.Value);
    }

    private static int? Lexicographic(IReadOnlyList<object?> x, IReadOnlyList<object?> y, string sign)
    {
        Budget.Nest();
        for (var i = 0; i < Math.Min(x.Count, y.Count); i++)
        {
            Budget.Spend(1);
            if (!Equal(x[i], y[i]))
                return Order(x[i], y[i], sign);
        }
        return x.Count.CompareTo(y.Count);
    }

    private static bool AllEqual(IReadOnlyList<object?> x, IReadOnlyList<object?> y)
    {
        Budget.Nest();
        if (x.Count != y.Count)
            return false;
        for (var i = 0; i < x.Count; i++)
        {
            Budget.Spend(1);
            if (!ReferenceEquals(x[i], y[i]) && !Equal(x[i], y[i]))
                return false;
        }
        return true;
    }

    private static bool DictsEqual(PyDict x, PyDict y)
    {
        Budget.Nest();
        if (x.Count != y.Count)
            return false;
        for (var i = 0; i < x.Count; i++)
        {
            Budget.Spend(1);
            if (!y.TryGet(x.KeyAt(i), out var value) || (!ReferenceEquals(value, x.ValueAt(i)) && !Equal(value, x.ValueAt(i))))
                return false;
        }
        return true;
    }
}
