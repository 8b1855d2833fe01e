namespace Handbook.Text.Templates;

/// <summary>Walking, counting and indexing of values.</summary>
internal static class PySequence
{
    public static bool IsIterable(object? value) =>
        value is string or Markup or List<object?> or PyTuple or PyDict or PyDictView or PyRange or PyIterator or Undefined or Loop;

    /// <summary>Walks a value; each item costs a step.</summary>
    public static IEnumerable<object?> Iterate(object? value)
    {
        switch (value)
        {
            case List<object?> list:
                return Indexed(list);
            case PyTuple tuple:
                return Indexed(tuple.Items);
            case PyDict dict:
                return Counted(new PyDictView(dict, DictPart.Keys).Items());
            case PyDictView view:
                return Counted(view.Items());
            case PyRange range:
                return Counted(range.Items());
            case PyIterator iterator:
                return Counted(iterator.Rest());
            case string or Markup:
                return Counted(PyText.Letters(PyText.Of(value)!));
            case Undefined:
                return [];
            case Loop loop:
                return Counted(loop.Rest());
            default:
                throw JinjaException.Type($"'{PyType.Name(value)}' object is not iterable");
        }
    }

    /// <summary>A new list of the items.</summary>
    public static List<object?> ToList(object? value)
    {
        switch (value)
        {
            case List<object?> list:
                Budget.CheckItems(list.Count);
                return [.. list];
            case PyTuple tuple:
                Budget.CheckItems(tuple.Items.Length);
                return [.. tuple.Items];
            default:
                var items = new List<object?>();
                foreach (var item in Iterate(value))
                {
                    items.Add(item);
                    if (items.Count > Budget.Items)
                        Budget.CheckItems(items.Count);
                }
                return items;
        }
    }

    /// <summary>Python's <c>len</c>; null where a value has none.</summary>
    public static int? Length(object? value) => value switch
    {
        string or Markup => PyText.Length(PyText.Of(value)),
        List<object?> list => list.Count,
        PyTuple tuple => tuple.Items.Length,
        PyDict dict => dict.Count,
        PyDictView view => view.Dict.Count,
        PyRange range => range.Count,
        Undefined => 0,
        Loop loop => loop.Length,
        _ => null,
    };

    /// <summary>The items backwards; null where Python's <c>reversed</c> refuses.</summary>
    public static IEnumerable<object?>? Reversed(object? value) => value switch
    {
        string or Markup => PyText.Letters(PyText.Of(value)!).Reverse(),
        List<object?> list => Backwards(list.Count, i => list[i]),
        PyTuple tuple => Backwards(tuple.Items.Length, i => tuple.Items[i]),
        PyRange range => Backwards(range.Count, i => range[i]),
        PyDict dict => Backwards(dict.Count, dict.KeyAt),
        PyDictView view => Backwards(view.Dict.Count, view.At),
        Undefined => [],
        _ => null,
    };

    private static IEnumerable<object?> Backwards(int count, Func<int, object?> at)
    {
        for (var i = count - 1; i >= 0; i--)
            yield return at(i);
    }

    private static IEnumerable<object?> Indexed(IReadOnlyList<object?> items)
    {
        // By index: list.pop() inside the loop shortens the list, as in Python.
        for (var i = 0; i < items.Count; i++)
        {
            Budget.Spend(1);
            yield return items[i];
        }
    }

    private static IEnumerable<object?> Counted(IEnumerable<object?> items)
    {
        foreach (var item in items)
        {
            Budget.Spend(1);
            yield return item;
        }
    }
}
