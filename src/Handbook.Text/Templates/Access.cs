using System.Numerics;

namespace Handbook.Text.Templates;

/// <summary>Attributes and items with the rules of Jinja's immutable sandbox: <c>x.a</c> tries attributes first,
/// <c>x['a']</c> items first.</summary>
internal static class Access
{
    private static readonly Dictionary<string, Function> _list = new[]
    {
        Make("index", "self value start? stop? /", (_, a) => Index(PySequence.ToList(a[0]), a, "list")),
        Make("count", "self value /", (_, a) => Boxes.Of(PySequence.ToList(a[0]).LongCount(item => PyCompare.Equal(item, a[1])))),
        Make("copy", "self /", (_, a) => PySequence.ToList(a[0])),
        Make("pop", "self index? /", (_, a) => Pop((List<object?>)a[0]!, a.Integer(1, -1, "pop"))),
        Make("clear", "self /", (_, a) => Clear((List<object?>)a[0]!)),
    }.ToDictionary(function => function.Name);

    private static readonly Dictionary<string, Function> _tuple = new[]
    {
        Make("index", "self value start? stop? /", (_, a) => Index(PySequence.ToList(a[0]), a, "tuple")),
        Make("count", "self value /", (_, a) => Boxes.Of(PySequence.ToList(a[0]).LongCount(item => PyCompare.Equal(item, a[1])))),
    }.ToDictionary(function => function.Name);

    private static readonly Dictionary<string, Function> _dict = new[]
    {
        Make("get", "self key default? /", (_, a) => ((PyDict)a[0]!).TryGet(a[1], out var value) ? value : a.Or(2, null)),
        Make("keys", "self /", (_, a) => new PyDictView((PyDict)a[0]!, DictPart.Keys)),
        Make("values", "self /", (_, a) => new PyDictView((PyDict)a[0]!, DictPart.Values)),
        Make("items", "self /", (_, a) => new PyDictView((PyDict)a[0]!, DictPart.Items)),
        Make("copy", "self /", (_, a) => ((PyDict)a[0]!).Copy()),
        Make("fromkeys", "self keys value? /", (_, a) => FromKeys(a)),
    }.ToDictionary(function => function.Name);

    private static readonly Dictionary<string, Function> _integer = new[]
    {
        Make("bit_length", "self /", (_, a) => Boxes.Of((long)BigInteger.Abs(PyNumber.AsInteger(a[0])!.Value).GetBitLength())),
        Make("bit_count", "self /", (_, a) =>
            Boxes.Of(BigInteger.Abs(PyNumber.AsInteger(a[0])!.Value).ToByteArray().Sum(part => (long)BitOperations.PopCount(part)))),
        Make("conjugate", "self /", (_, a) => PyNumber.Box(PyNumber.AsInteger(a[0])!.Value)),
    }.ToDictionary(function => function.Name);

    private static readonly Dictionary<string, Function> _float = new[]
    {
        Make("is_integer", "self /", (_, a) => Boxes.Of(a[0] is double number && number == Math.Floor(number) && double.IsFinite(number))),
        Make("conjugate", "self /", (_, a) => a[0]),
    }.ToDictionary(function => function.Name);

    // What Jinja 3.1.2 counts as changing a value; it lets pop and clear of lists pass.
    private static readonly HashSet<string> _unsafeList = ["append", "reverse", "insert", "sort", "extend", "remove"];
    private static readonly HashSet<string> _unsafeDict = ["clear", "pop", "popitem", "setdefault", "update"];

    private static readonly HashSet<string> _internals =
    [
        "__class__", "__doc__", "__init__", "__new__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__", "__str__",
            "__repr__", "__format__", "__sizeof__",
        "__dir__", "__reduce__", "__reduce_ex__", "__getattribute__", "__setattr__", "__delattr__", "__init_subclass__", "__subclasshook__",
    ];

    private static readonly HashSet<string> _containerInternals = ["__len__", "__iter__", "__contains__", "__getitem__",
        "__add__", "__mul__", "__rmul__"];

    /// <summary>True for the names of filters and attributes Python would find but the sandbox hides.</summary>
    private static bool HasInternal(object? owner, string name) =>
        _internals.Contains(name)
        || (_containerInternals.Contains(name) && owner is string or Markup or List<object?> or PyTuple or PyDict)
        || (owner is Function or Macro or Method
            && name is "__name__" or "__call__" or "__globals__" or "__code__" or "__func__" or "__self__" or "__module__" or "__qualname__");

    public static object? Attribute(object? owner, string name)
    {
        if (owner is Undefined missing)
            throw missing.Error();
        if (TryAttribute(owner, name, out var value))
            return value;
        // The commonest of all: message.role
        if (owner is PyDict dict)
            return dict.TryGet(name, out value) ? value : Undefined.Attribute(owner, name);
        return Undefined.Attribute(owner, name);
    }

    public static object? Item(object? owner, object? key)
    {
        switch (owner)
        {
            case PyDict dict:
                if (IsHashable(key) && dict.TryGet(key, out var value))
                    return value;
                break;
            case List<object?> list:
                if (key is PySlice slice)
                    return Slice(list, slice);
                if (TryIndex(key, list.Count, out var at))
                    return list[at];
                break;
            case PyTuple tuple:
                if (key is PySlice part)
                    return new PyTuple([.. Slice(tuple.Items, part)]);
                if (TryIndex(key, tuple.Items.Length, out at))
                    return tuple.Items[at];
                break;
            case string text:
                if (TryText(text, key, out var letters))
                    return letters;
                break;
            case Markup markup:
                if (TryText(markup.Text, key, out letters))
                    return new Markup(letters);
                break;
            case PyRange range:
                if (key is PySlice cut)
                {
                    var (first, _, step) = cut.Resolve(range.Count, out var last);
                    return new PyRange(range.Start + (first * range.Step), range.Start + (last * range.Step), range.Step * step);
                }
                if (TryIndex(key, range.Count, out at))
                    return Boxes.Of(range[at]);
                break;
            case Undefined missing:
                throw missing.Error();
        }
        // Python slices by itself, without the environment's rule that a missing item is undefined.
        if (key is PySlice)
            throw JinjaException.Type(owner is PyDict ? "unhashable type: 'slice'" : $"'{PyType.Name(owner)}' object is not subscriptable");
        return PyText.Of(key) is { } name && TryAttribute(owner, name, out var attribute) ? attribute
            : Undefined.Element(owner, key is Markup ? PyText.Of(key) : key);
    }

    /// <summary>A true attribute of a value (a method, a field of loop), never an item; hidden ones come back as an
    /// undefined that says why.</summary>
    public static bool TryAttribute(object? owner, string name, out object? value)
    {
        if (name.Length > 0 && name[0] == '_' && HasInternal(owner, name))
        {
            value = Undefined.Unsafe(owner, name);
            return true;
        }
        value = null;
        switch (owner)
        {
            case PyDict:
                if (_unsafeDict.Contains(name))
                    value = Undefined.Unsafe(owner, name);
                else if (_dict.TryGetValue(name, out var function))
                    value = new Method(owner, function);
                return value is not null;
            case string or Markup:
                if (TextMethods.All.TryGetValue(name, out var method) && (owner is Markup || name is not ("unescape" or "striptags")))
                    value = new Method(owner, method);
                return value is not null;
            case List<object?>:
                if (_unsafeList.Contains(name))
                    value = Undefined.Unsafe(owner, name);
                else if (_list.TryGetValue(name, out var function))
                    value = new Method(owner, function);
                return value is not null;
            case PyTuple tuple:
                if (tuple.FieldNames is { } fields && Array.IndexOf(fields, name) is var field and >= 0)
                    value = tuple.Items[field];
                else if (_tuple.TryGetValue(name, out var function))
                    value = new Method(owner, function);
                else
                    return false;
                return true;
            case Loop loop:
                return loop.TryAttribute(name, out value);
            case Namespace space:
                return space.Attributes.TryGet(name, out value);
            case Macro macro:
                return macro.TryAttribute(name, out value);
            case Cycler cycler:
                value = name switch
                {
                    "current" => cycler.Current,
                    "next" => new Function("next", "", (_, _) => cycler.Next()),
                    "reset" => new Function("reset", "", (_, _) => cycler.Reset()),
                    _ => Arguments.Absent,
                };
                return !ReferenceEquals(value, Arguments.Absent);
            case PyRange range:
                value = name switch
                {
                    "start" => range.Start,
                    "stop" => range.Stop,
                    "step" => range.Step,
                    "index" => new Function("index", "value",
                        (_, a) => Index([.. range.Items()], new([null, a[0]], Arguments.NoNames), "range")),
                    "count" => new Function("count", "value", (_, a) => Boxes.Of(PyCompare.Contains(range, a[0]) ? 1L : 0L)),
                    _ => null,
                };
                return value is not null;
            case bool or long or BigInteger or double:
                if (name is "real" or "numerator" && !(name == "numerator" && owner is double))
                    value = owner is bool truth ? Boxes.Of(truth ? 1L : 0L) : owner;
                else if (name == "imag")
                    value = owner is double ? 0.0 : Boxes.Of(0L);
                else if (name == "denominator" && owner is not double)
                    value = Boxes.Of(1L);
                else if ((owner is double ? _float : _integer).TryGetValue(name, out var function))
                    value = new Method(owner, function);
                return value is not null;
            case BlockNames blocks:
                return blocks.TryAttribute(name, out value);
            default:
                return false;
        }
    }

    public static object? Call(Render render, object? callee, Arguments arguments) => callee switch
    {
        Method method => method.Call(render, arguments),
        Function function => function.Call(render, arguments),
        Macro macro => macro.Call(render, arguments),
        Loop loop => loop.Call(render, arguments),
        Joiner joiner => joiner.Next(),
        Undefined missing => throw missing.Error(),
        _ => throw JinjaException.Type($"'{PyType.Name(callee)}' object is not callable"),
    };

    public static bool IsCallable(object? value) => value is Method or Function or Macro or Loop or Joiner or Undefined;

    private static Function Make(string name, string parameters, Body body) => new(name, parameters, body);

    private static bool IsHashable(object? key) => key switch
    {
        List<object?> or PyDict or PySlice => false,
        PyTuple tuple => Array.TrueForAll(tuple.Items, IsHashable),
        _ => true,
    };

    private static bool TryIndex(object? key, int count, out int index)
    {
        index = 0;
        if (key is long at)
        {
            if (at < 0)
                at += count;
            index = (int)at;
            return at >= 0 && at < count;
        }
        if (key is bool truth)
        {
            index = truth ? 1 : 0;
            return index < count;
        }
        return false;
    }

    private static bool TryText(string text, object? key, out string result)
    {
        result = "";
        if (key is PySlice slice)
        {
            result = PyText.Slice(text, slice);
            return true;
        }
        var pairs = PyText.HasPairs(text);
        if (!TryIndex(key, pairs ? PyText.Length(text) : text.Length, out var at))
            return false;
        if (!pairs)
            result = PyText.Letter(text[at]);
        else
        {
            var offset = PyText.Offset(text, at);
            result = text.Substring(offset, char.IsSurrogatePair(text, offset) ? 2 : 1);
        }
        return true;
    }

    private static List<object?> Slice(IReadOnlyList<object?> items, PySlice slice)
    {
        var (first, count, step) = slice.Resolve(items.Count);
        Budget.CheckItems(count);
        var result = new List<object?>(count);
        for (var i = 0; i < count; i++)
            result.Add(items[first + (i * step)]);
        return result;
    }

    private static object Index(List<object?> items, Arguments a, string type)
    {
        var (first, count, _) = new PySlice(a.Or(2, null), a.Or(3, null), null).Resolve(items.Count);
        for (var i = first; i < first + count; i++)
            if (PyCompare.Equal(items[i], a[1]))
                return Boxes.Of((long)i);
        throw JinjaException.Value($"{PyRepr.Of(a[1])} is not in {type}");
    }

    private static object? Pop(List<object?> list, int index)
    {
        if (list.Count == 0)
            throw JinjaException.Value("pop from empty list");
        index = index < 0 ? index + list.Count : index;
        if (index < 0 || index >= list.Count)
            throw JinjaException.Value("pop index out of range");
        var value = list[index];
        list.RemoveAt(index);
        return value;
    }

    private static object? Clear(List<object?> list)
    {
        list.Clear();
        return null;
    }

    private static PyDict FromKeys(Arguments a)
    {
        var result = new PyDict();
        foreach (var key in PySequence.Iterate(a[1]))
            result.Set(key, a.Or(2, null));
        return result;
    }
}
