using System.Numerics;

namespace Handbook.Text.Templates;

// The values of the template language are plain objects with Python's meaning:
// null is None; bool, long, BigInteger (only outside the range of long), double, string; Markup; List<object?>, PyTuple, PyDict, PyRange,
// PyIterator, dictionary views; Undefined; Namespace, Loop, Macro, Function and the few other things a template can call.

/// <summary>A value that is not there; printing it gives nothing, using it is an error.</summary>
internal sealed class Undefined(string message, TemplateErrorKind kind = TemplateErrorKind.Template)
{
    /// <summary>The key that an object does not have; null where it is something else that is missing.</summary>
    private string? Key { get; init; }

    public static Undefined Name(string name) => new($"'{name}' is undefined");

    public static Undefined Attribute(object? owner, string name) =>
        new($"{PyRepr.Quote(PyType.Describe(owner))} has no attribute {PyRepr.Quote(name)}") { Key = owner is PyDict ? name : null };

    public static Undefined Element(object? owner, object? key) => key is string name
        ? Attribute(owner, name)
        : new($"{PyType.Describe(owner)} has no element {PyRepr.Of(key)}");

    public static Undefined Unsafe(object? owner, string name) =>
        new($"access to attribute {PyRepr.Quote(name)} of {PyRepr.Quote(PyType.Name(owner))} object is unsafe.");

    public JinjaException Error() => new(kind, message) { MissingKey = Key };
}

/// <summary>Text marked as safe HTML: joined with other text, the other text is escaped.</summary>
internal sealed class Markup(string text)
{
    public string Text => text;

    public static string Escape(string text) => text.AsSpan().IndexOfAny("&<>'\"") < 0
        ? text
        : text.Replace("&", "&amp;").Replace("<", "&lt;").Replace(">", "&gt;").Replace("'", "&#39;").Replace("\"", "&#34;");

    /// <summary>The value as safe text: markup as it is, anything else escaped.</summary>
    public static string EscapeValue(object? value) => value is Markup safe ? safe.Text : Escape(PyRepr.Str(value));
}

/// <summary>An immutable sequence; <see cref="FieldNames"/> gives the entries of <c>groupby</c> their names.</summary>
internal sealed class PyTuple(object?[] items, string[]? fieldNames = null)
{
    public static readonly PyTuple Empty = new([]);

    public object?[] Items => items;

    public string[]? FieldNames => fieldNames;
}

/// <summary>A slice as an index: <c>x[a:b:c]</c>.</summary>
internal sealed record PySlice(object? Start, object? Stop, object? Step)
{
    /// <summary>Python's index arithmetic: the first index, how many, and the step.</summary>
    public (int First, int Count, int Step) Resolve(int length) => Resolve(length, out _);

    /// <param name="last">The index the slice stops before.</param>
    public (int First, int Count, int Step) Resolve(int length, out int last)
    {
        var step = Step is null ? 1 : Clamp(Step);
        if (step == 0)
            throw JinjaException.Value("slice step cannot be zero");
        int lower = step < 0 ? -1 : 0, upper = step < 0 ? length - 1 : length;
        var start = Start is null ? (step < 0 ? upper : lower) : Bound(Clamp(Start));
        var stop = Stop is null ? (step < 0 ? lower : upper) : Bound(Clamp(Stop));
        last = (int)stop;
        var count = step > 0 ? (stop - start + (long)step - 1) / step : (start - stop - (long)step - 1) / -(long)step;
        return ((int)start, (int)Math.Max(0, count), (int)step);

        long Bound(long index) => index < 0 ? Math.Max(index + length, lower) : Math.Min(index, upper);
    }

    private static long Clamp(object index) => PyNumber.AsInteger(index) is { } integer
        ? (long)BigInteger.Min(BigInteger.Max(integer, -int.MaxValue), int.MaxValue)
        : throw JinjaException.Type("slice indices must be integers or None or have an __index__ method");
}

/// <summary>Python's <c>range</c>.</summary>
internal sealed record PyRange(long Start, long Stop, long Step)
{
    public int Count { get; } = checked((int)Math.Max(0, Step > 0 ? (Stop - Start + Step - 1) / Step : (Start - Stop - Step - 1) / -Step));

    public long this[int index] => Start + (index * Step);

    public IEnumerable<object?> Items()
    {
        for (var i = 0; i < Count; i++)
            yield return this[i];
    }
}

/// <summary>Something that can be walked once: a generator, a reversed list.</summary>
internal sealed class PyIterator(IEnumerable<object?> items, string typeName = "generator")
{
    private readonly IEnumerator<object?> _items = items.GetEnumerator();

    public string TypeName => typeName;

    public bool Next(out object? value)
    {
        var more = _items.MoveNext();
        value = more ? _items.Current : null;
        return more;
    }

    public IEnumerable<object?> Rest()
    {
        while (Next(out var value))
            yield return value;
    }
}

/// <summary>Which part of a dictionary a view shows.</summary>
internal enum DictPart
{
    Keys,
    Values,
    Items,
}

/// <summary>What <c>keys()</c>, <c>values()</c> and <c>items()</c> return.</summary>
internal sealed record PyDictView(PyDict Dict, DictPart Part)
{
    public string TypeName => Part switch { DictPart.Keys => "dict_keys", DictPart.Values => "dict_values", _ => "dict_items" };

    public IEnumerable<object?> Items()
    {
        for (var i = 0; i < Dict.Count; i++)
            yield return At(i);
    }

    public object? At(int index) => Part switch
    {
        DictPart.Keys => Dict.KeyAt(index),
        DictPart.Values => Dict.ValueAt(index),
        _ => new PyTuple([Dict.KeyAt(index), Dict.ValueAt(index)]),
    };
}

/// <summary>The one value a template may change: <c>{% set ns.x = … %}</c>.</summary>
internal sealed class Namespace(PyDict attributes)
{
    public PyDict Attributes => attributes;
}

/// <summary><c>cycler(a, b, …)</c></summary>
internal sealed class Cycler(object?[] items)
{
    private int _at;

    public object? Current => items[_at];

    public object? Next()
    {
        var current = Current;
        _at = (_at + 1) % items.Length;
        return current;
    }

    public object? Reset()
    {
        _at = 0;
        return null;
    }
}

/// <summary><c>joiner(", ")</c>: nothing at its first call, the separator afterwards.</summary>
internal sealed class Joiner(object? separator)
{
    private bool _used;

    public object? Next()
    {
        var first = !_used;
        _used = true;
        return first ? "" : separator;
    }
}

/// <summary>Booleans and small integers, boxed once.</summary>
internal static class Boxes
{
    public static readonly object True = true;
    public static readonly object False = false;
    private static readonly object[] _integers = [.. Enumerable.Range(-16, 272).Select(i => (object)(long)i)];

    public static object Of(bool value) => value ? True : False;

    public static object Of(long value) => value is >= -16 and < 256 ? _integers[value + 16] : value;
}
