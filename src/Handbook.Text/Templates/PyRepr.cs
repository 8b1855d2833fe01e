using System.Globalization;
using System.Numerics;
using System.Text;

namespace Handbook.Text.Templates;

/// <summary>Names of Python's types, as its messages use them.</summary>
internal static class PyType
{
    public static string Name(object? value) => value switch
    {
        null => "NoneType",
        bool => "bool",
        long or BigInteger => "int",
        double => "float",
        string => "str",
        Markup => "Markup",
        List<object?> => "list",
        PyTuple tuple => tuple.FieldNames is null ? "tuple" : "_GroupTuple",
        PyDict => "dict",
        PyRange => "range",
        PySlice => "slice",
        PyIterator iterator => iterator.TypeName,
        PyDictView view => view.TypeName,
        Undefined => "Undefined",
        Namespace => "Namespace",
        Cycler => "Cycler",
        Joiner => "Joiner",
        Loop => "LoopContext",
        Macro => "Macro",
        Function function => function.IsType ? "type" : "builtin_function_or_method",
        _ => value.GetType().Name,
    };

    /// <summary>How messages about missing attributes call a value.</summary>
    public static string Describe(object? value) => value switch
    {
        null => "None",
        Undefined => "Undefined",
        Markup => "markupsafe.Markup object",
        Namespace or Cycler or Joiner => $"jinja2.utils.{Name(value)} object",
        Loop or Macro => $"jinja2.runtime.{Name(value)} object",
        PyTuple { FieldNames: not null } => "jinja2.filters._GroupTuple object",
        _ => $"{Name(value)} object",
    };
}

/// <summary>Python's <c>str()</c> and <c>repr()</c>: real prompts contain their output.</summary>
internal static class PyRepr
{
    public static string Str(object? value) => value switch
    {
        string text => text,
        null => "None",
        bool truth => truth ? "True" : "False",
        long integer => integer.ToString(CultureInfo.InvariantCulture),
        double number => PyNumber.Repr(number),
        Markup safe => safe.Text,
        Undefined => "",
        _ => Of(value),
    };

    public static string Of(object? value)
    {
        var text = new StringBuilder();
        Write(text, value);
        return text.ToString();
    }

    public static string Quote(string text)
    {
        var result = new StringBuilder(text.Length + 2);
        WriteQuoted(result, text);
        return result.ToString();
    }

    private static void Write(StringBuilder to, object? value)
    {
        Budget.Nest();
        switch (value)
        {
            case string text:
                WriteQuoted(to, text);
                break;
            case null or bool or long or double:
                to.Append(Str(value));
                break;
            case BigInteger big:
                to.Append(PyNumber.Repr(big));
                break;
            case Markup safe:
                to.Append("Markup(");
                WriteQuoted(to, safe.Text);
                to.Append(')');
                break;
            case Undefined:
                to.Append("Undefined");
                break;
            case List<object?> list:
                WriteAll(to, '[', list, ']');
                break;
            case PyTuple { Items: [var single] }:
                to.Append('(');
                Write(to, single);
                to.Append(",)");
                break;
            case PyTuple tuple:
                WriteAll(to, '(', tuple.Items, ')');
                break;
            case PyDict dict:
                WriteDict(to, dict);
                break;
            case PyDictView view:
                to.Append(view.TypeName).Append('(');
                WriteAll(to, '[', view.Items(), ']');
                to.Append(')');
                break;
            case PyRange range:
                to.Append("range(").Append(range.Start).Append(", ").Append(range.Stop);
                to.Append(range.Step == 1 ? ")" : $", {range.Step})");
                break;
            case PySlice slice:
                to.Append("slice");
                Write(to, new PyTuple([slice.Start, slice.Stop, slice.Step]));
                break;
            case Namespace space:
                to.Append("<Namespace ");
                WriteDict(to, space.Attributes);
                to.Append('>');
                break;
            case Macro macro:
                to.Append("<Macro ").Append(macro.Name is null ? "anonymous" : Quote(macro.Name)).Append('>');
                break;
            case Loop loop:
                to.Append($"<LoopContext {loop.Index}/{loop.Length}>");
                break;
            case Function function:
                to.Append(function.IsType ? $"<class '{function.Name}'>" : $"<built-in method {function.Name}>");
                break;
            default:
                to.Append($"<{PyType.Name(value)} object>");
                break;
        }
        Budget.CheckLength(to.Length);
    }

    private static void WriteAll(StringBuilder to, char open, IEnumerable<object?> items, char close)
    {
        to.Append(open);
        var first = true;
        foreach (var item in items)
        {
            if (!first)
                to.Append(", ");
            first = false;
            Budget.Spend(1);
            Write(to, item);
        }
        to.Append(close);
    }

    private static void WriteDict(StringBuilder to, PyDict dict)
    {
        to.Append('{');
        for (var i = 0; i < dict.Count; i++)
        {
            if (i > 0)
                to.Append(", ");
            Budget.Spend(1);
            Write(to, dict.KeyAt(i));
            to.Append(": ");
            Write(to, dict.ValueAt(i));
        }
        to.Append('}');
    }

    private static void WriteQuoted(StringBuilder to, string text)
    {
        var quote = text.Contains('\'') && !text.Contains('"') ? '"' : '\'';
        to.Append(quote);
        for (var i = 0; i < text.Length; i++)
        {
            var letter = text[i];
            if (letter == quote || letter == '\\')
                to.Append('\\').Append(letter);
            else if (letter is >= ' ' and < (char)127)
                to.Append(letter);
            else if (char.IsSurrogatePair(text, i))
            {
                var rune = new Rune(letter, text[++i]);
                if (PyText.IsPrintable(rune))
                    to.Append(rune.ToString());
                else
                    to.Append($"\\U{rune.Value:x8}");
            }
            else
                to.Append(letter switch
                {
                    '\n' => "\\n",
                    '\r' => "\\r",
                    '\t' => "\\t",
                    _ when !char.IsSurrogate(letter) && PyText.IsPrintable(new Rune(letter)) => letter.ToString(),
                    < (char)256 => $"\\x{(int)letter:x2}",
                    _ => $"\\u{(int)letter:x4}",
                });
        }
        to.Append(quote);
    }
}
