using System.Text;

namespace Handbook.Text.Templates;

/// <summary>Python's <c>pprint.pformat</c> for lists, tuples and dictionaries: sorted keys, lines of at most 80 characters.</summary>
internal static class PyPretty
{
    private const int Width = 80;

    public static string Print(object? value)
    {
        var result = new StringBuilder();
        Write(result, value, 0, 0);
        return result.ToString();
    }

    private static void Write(StringBuilder to, object? value, int indent, int after)
    {
        Budget.Nest();
        var flat = Flat(value);
        if (flat.Length <= Width - indent - after
            || value is not (PyDict { Count: > 0 } or List<object?> { Count: > 0 } or PyTuple { Items.Length: > 0 }))
        {
            to.Append(flat);
            Budget.Text(to.Length);
            return;
        }
        var (open, close) = value switch
        {
            PyDict => ("{", "}"),
            PyTuple { Items.Length: 1 } => ("(", ",)"),
            PyTuple => ("(", ")"),
            _ => ("[", "]")
        };
        var rows = value is PyDict dict
            ? SortedKeys(dict).ConvertAll(key => (Flat(key) + ": ", dict.TryGet(key, out var item) ? item : null))
            : PySequence.ToList(value).ConvertAll(item => ("", item));
        to.Append(open);
        for (var i = 0; i < rows.Count; i++)
        {
            var (name, item) = rows[i];
            to.Append(i == 0 ? "" : ",\n" + new string(' ', indent + 1)).Append(name);
            Write(to, item, indent + 1 + name.Length, i == rows.Count - 1 ? after + close.Length : 1);
        }
        to.Append(close);
    }

    private static string Flat(object? value)
    {
        Budget.Nest();
        var text = value switch
        {
            PyDict dict => "{" + string.Join(", ",
                SortedKeys(dict).Select(key => $"{Flat(key)}: {Flat(dict.TryGet(key, out var item) ? item : null)}")) + "}",
            List<object?> list => "[" + string.Join(", ", list.Select(Flat)) + "]",
            PyTuple { Items: [var single] } => $"({Flat(single)},)",
            PyTuple tuple => "(" + string.Join(", ", tuple.Items.Select(Flat)) + ")",
            _ => PyRepr.Of(value),
        };
        Budget.Text(text.Length);
        return text;
    }

    private static List<object?> SortedKeys(PyDict dict)
    {
        var keys = new PyDictView(dict, DictPart.Keys).Items();
        try
        {
            return PyCompare.Sorted(keys, key => key, reverse: false);
        }
        catch (JinjaException)
        {
            // Keys without an order among them: by type name, then as they stand.
            return PyCompare.Sorted(keys, PyType.Name, reverse: false);
        }
    }
}
