namespace Handbook.Text.Templates;

/// <summary>The filters of Jinja 3.1 on sequences, numbers and any value; those on text are in <see cref="TextFilters"/>.</summary>
internal static class Filters
{
    public static readonly Dictionary<string, Function> All = new Function[]
    {
        new("abs", "value /", (_, a) => Number(a[0], "bad operand type for abs()") is var number ? PyNumber.Absolute(number) : null),
        new("attr", "obj name", (_, a) => Attr(a[0], a.Text(1, "attribute name"))),
        new("batch", "value linecount fill_with?",
            (_, a) => new PyIterator(Batch(PySequence.Iterate(a[0]), a.Integer(1, 0, "batch"), a.Or(2, null)))),
        new("count", "value /", (_, a) => Length(a[0])),
        new("d", "value default_value? boolean?", Default),
        new("default", "value default_value? boolean?", Default),
        new("dictsort", "value case_sensitive? by? reverse?", (_, a) => DictSort(a)),
        new("filesizeformat", "value binary?", (_, a) => FileSize(a)),
        new("first", "seq", (_, a) =>
            PySequence.Iterate(a[0]).Take(1).ToArray() is [var first] ? first : new Undefined("No first item, sequence was empty.")),
        new("float", "value default?", (_, a) => Float(a[0]) ?? a.Or(1, 0.0)),
        new("groupby", "value attribute default? case_sensitive?", (_, a) => GroupBy(a)),
        new("int", "value default? base?", (_, a) => Int(a)),
        new("items", "value", (_, a) => new PyIterator(Items(a[0]))),
        new("last", "seq", (_, a) => (PySequence.Reversed(a[0]) ?? throw NotReversible(a[0])).Take(1)
            .ToArray() is [var last] ? last : new Undefined("No last item, sequence was empty.")),
        new("length", "value /", (_, a) => Length(a[0])),
        new("list", "value", (_, a) => PySequence.ToList(a[0])),
        new("map", "*", (render, a) => new PyIterator(Map(render, a))),
        new("max", "value case_sensitive? attribute?", (_, a) => Extreme(a, sign: 1)),
        new("min", "value case_sensitive? attribute?", (_, a) => Extreme(a, sign: -1)),
        new("pprint", "value", (_, a) => PyPretty.Print(a[0])),
        new("random", "seq", (render, a) => Random(render, a[0])),
        new("reject", "*", (render, a) => new PyIterator(Select(render, a, keep: false, byAttribute: false))),
        new("rejectattr", "*", (render, a) => new PyIterator(Select(render, a, keep: false, byAttribute: true))),
        new("reverse", "value", (_, a) => Reverse(a[0])),
        new("round", "value precision? method?", (_, a) => Round(a)),
        new("select", "*", (render, a) => new PyIterator(Select(render, a, keep: true, byAttribute: false))),
        new("selectattr", "*", (render, a) => new PyIterator(Select(render, a, keep: true, byAttribute: true))),
        new("slice", "value slices fill_with?",
            (_, a) => new PyIterator(Slice(PySequence.ToList(a[0]), a.Integer(1, 0, "slice"), a.Or(2, null)))),
        new("sort", "value reverse? case_sensitive? attribute?",
            (_, a) => PyCompare.Sorted(PySequence.Iterate(a[0]), Keys(a.Or(3, null), fold: !a.Truth(2, false)), a.Truth(1, false))),
        new("sum", "iterable attribute? start?", (_, a) => Sum(a)),
        new("tojson", "value ensure_ascii? indent? separators? sort_keys?", (_, a) => ToJson(a)),
        new("unique", "value case_sensitive? attribute?", (_, a) => new PyIterator(Unique(a))),
    }.Concat(TextFilters.All).ToDictionary(filter => filter.Name);

    /// <summary>Those and what the Python evaluation harness has besides in the templates of its tasks.</summary>
    public static readonly Dictionary<string, Function> OfTexts = All.Values.Append(TextFilters.RegexReplace)
        .ToDictionary(filter => filter.Name);

    /// <summary>Looks up a path such as <c>"function.name"</c> or <c>0</c>, step by step.</summary>
    internal static Func<object?, object?> Path(object? attribute, bool fold = false, object? otherwise = null)
    {
        object?[] parts = attribute switch
        {
            null => [],
            string or Markup => [.. PyText.Of(attribute)!.Split('.')
                .Select(part => part.Length > 0 && part.All(char.IsAsciiDigit)
                ? PyNumber.Box(PyNumber.ParseInteger(part, 10) ?? 0) : (object)part)],
            _ => [attribute],
        };
        return item =>
        {
            foreach (var part in parts)
            {
                item = Access.Item(item, part);
                if (otherwise is not null && item is Undefined)
                    item = otherwise;
            }
            return fold ? Fold(item) : item;
        };
    }

    internal static object Length(object? value) => PySequence.Length(value) is { } length ? Boxes.Of((long)length)
        : throw JinjaException.Type($"object of type '{PyType.Name(value)}' has no len()");

    internal static object Number(object? value, string refusal) => PyNumber.IsNumber(value) ? value!
        : throw JinjaException.Type($"{refusal}: '{PyType.Name(value)}'");

    private static object? Fold(object? value) => value is string or Markup ? PyText.Lower(PyText.Of(value)!) : value;

    /// <summary>A sort key of several paths: <c>"age,name"</c>.</summary>
    private static Func<object?, object?> Keys(object? attribute, bool fold)
    {
        var paths = (PyText.Of(attribute) is { } names ? names.Split(',').Cast<object?>() : [attribute])
            .Select(path => Path(path, fold)).ToArray();
        return item => new PyTuple([.. paths.Select(path => path(item))]);
    }

    private static object? Attr(object? owner, string name)
    {
        if (owner is Undefined missing)
            throw missing.Error();
        return Access.TryAttribute(owner, name, out var value) ? value : Undefined.Attribute(owner, name);
    }

    private static IEnumerable<object?> Batch(IEnumerable<object?> items, int size, object? fill)
    {
        var row = new List<object?>();
        foreach (var item in items)
        {
            if (row.Count == size)
            {
                yield return row;
                row = [];
            }
            row.Add(item);
        }
        if (row.Count == 0)
            yield break;
        if (fill is not null && row.Count < size)
        {
            Budget.CheckItems(size);
            row.AddRange(Enumerable.Repeat(fill, size - row.Count));
        }
        yield return row;
    }

    private static object? Default(Render render, Arguments a) =>
        a[0] is Undefined || (a.Truth(2, false) && !PyCompare.Truth(a[0])) ? a.Or(1, "") : a[0];

    private static List<object?> DictSort(Arguments a)
    {
        var by = a.Or(2, "key");
        var at = by is "key" ? 0 : by is "value" ? 1 : throw JinjaException.Undefined("You can only sort by either \"key\" or \"value\"");
        var fold = !a.Truth(1, false);
        var rows = Mapping(a[0]);
        return PyCompare.Sorted(new PyDictView(rows, DictPart.Items).Items(),
            row => ((PyTuple)row!).Items[at] is var key && fold ? Fold(key) : key, a.Truth(3, false));
    }

    private static PyDict Mapping(object? value) => value switch
    {
        PyDict dict => dict,
        Undefined missing => throw missing.Error(),
        _ => throw JinjaException.Type($"'{PyType.Name(value)}' object has no attribute 'items'"),
    };

    private static string FileSize(Arguments a)
    {
        var bytes = Float(a[0]) ?? throw JinjaException.Type($"could not convert '{PyRepr.Str(a[0])}' to float");
        var binary = a.Truth(1, false);
        var unit = binary ? 1024.0 : 1000.0;
        if (bytes == 1)
            return "1 Byte";
        if (bytes < unit)
            return $"{PyNumber.Repr(new System.Numerics.BigInteger(Math.Truncate(bytes)))} Bytes";
        var size = unit;
        var prefixes = "KMGTPEZY";
        for (var i = 0; ; i++, size *= unit)
            if (bytes < size * unit || i == prefixes.Length - 1)
                return $"{PyFormat.Fixed(unit * bytes / (size * unit), 1)} {(binary ? prefixes[i] + "i" : i == 0 ? "k" : prefixes[i].ToString())}B";
    }

    private static double? Float(object? value) => value switch
    {
        Undefined missing => throw missing.Error(),
        string or Markup => PyNumber.ParseFloat(PyText.Of(value)!),
        _ => PyNumber.AsDouble(value),
    };

    private static object? Int(Arguments a)
    {
        var otherwise = a.Or(1, Boxes.Of(0L));
        switch (a[0])
        {
            case Undefined missing:
                throw missing.Error();
            case string or Markup:
                var text = PyText.Of(a[0])!;
                if (PyNumber.ParseInteger(text, a.Integer(2, 10, "base")) is { } integer)
                    return PyNumber.Box(integer);
                return PyNumber.ParseFloat(text) is { } parsed && double.IsFinite(parsed)
                    ? PyNumber.Box(new(Math.Truncate(parsed))) : otherwise;
            case double number:
                return double.IsFinite(number) ? PyNumber.Box(new(Math.Truncate(number))) : otherwise;
            default:
                return PyNumber.AsInteger(a[0]) is { } whole ? PyNumber.Box(whole) : otherwise;
        }
    }

    private static IEnumerable<object?> Items(object? value)
    {
        if (value is Undefined)
            yield break;
        if (value is not PyDict dict)
            throw JinjaException.Type("Can only get item pairs from a mapping.");
        foreach (var item in PySequence.Iterate(new PyDictView(dict, DictPart.Items)))
            yield return item;
    }

    private static List<object?> GroupBy(Arguments a)
    {
        var fold = !a.Truth(3, false);
        var otherwise = a.Or(2, null);
        var key = Path(a[1], fold, otherwise);
        var shown = Path(a[1], fold: false, otherwise);
        var groups = new List<object?>();
        object? current = null;
        List<object?>? members = null;
        foreach (var item in PyCompare.Sorted(PySequence.Iterate(a[0]), key, reverse: false))
        {
            var itemKey = key(item);
            if (members is null || !PyCompare.Equal(itemKey, current))
            {
                members = [];
                current = itemKey;
                groups.Add(new PyTuple([fold ? shown(item) : itemKey, members], ["grouper", "list"]));
            }
            members.Add(item);
        }
        return groups;
    }

    private static object? Extreme(Arguments a, int sign)
    {
        var key = Path(a.Or(2, null), fold: !a.Truth(1, false));
        object? best = new Undefined("No aggregated item, sequence was empty."), bestKey = null;
        var any = false;
        foreach (var item in PySequence.Iterate(a[0]))
        {
            var itemKey = key(item);
            if (any && !(PyCompare.Order(itemKey, bestKey, sign > 0 ? ">" : "<") * sign > 0))
                continue;
            any = true;
            (best, bestKey) = (item, itemKey);
        }
        return best;
    }

    private static IEnumerable<object?> Map(Render render, Arguments a)
    {
        // Jinja asks for truth first: None is "nothing to map", not an error.
        if (!PyCompare.Truth(a[0]))
            yield break;
        var function = Mapper(render, a);
        foreach (var item in PySequence.Iterate(a[0]))
            yield return function(item);
    }

    private static Func<object?, object?> Mapper(Render render, Arguments a)
    {
        var named = a.NamedAsDict();
        if (a.Count == 1 && named.TryGet("attribute", out var attribute))
        {
            foreach (var (name, _) in a.Named)
                if (name is not ("attribute" or "default"))
                    throw JinjaException.Undefined($"Unexpected keyword argument '{name}'");
            return Path(attribute, fold: false, named.TryGet("default", out var otherwise) ? otherwise : null);
        }
        if (a.Count < 2)
            throw JinjaException.Undefined("map requires a filter argument");
        var filter = Named(All, a[1], "filter");
        var rest = a.Positional[2..];
        return item => filter.Call(render, new([item, .. rest], a.Named));
    }

    private static IEnumerable<object?> Select(Render render, Arguments a, bool keep, bool byAttribute)
    {
        if (!PyCompare.Truth(a[0]))
            yield break;
        if (byAttribute && a.Count < 2)
            throw JinjaException.Undefined("Missing parameter for attribute name");
        Func<object?, object?> part = byAttribute ? Path(a[1]) : item => item;
        var at = byAttribute ? 2 : 1;
        var test = a.Count > at ? Named(Tests.All, a[at], "test") : null;
        var rest = a.Count > at ? a.Positional[(at + 1)..] : [];
        foreach (var item in PySequence.Iterate(a[0]))
            if (PyCompare.Truth(test is null ? part(item) : test.Call(render, new([part(item), .. rest], a.Named))) == keep)
                yield return item;
    }

    private static Function Named(Dictionary<string, Function> functions, object? name, string kind) =>
        PyText.Of(name) is { } text && functions.TryGetValue(text, out var function) ? function
            : throw JinjaException.Undefined($"No {kind} named {PyRepr.Of(name)}.");

    private static object? Random(Render render, object? sequence)
    {
        var length = PySequence.Length(sequence) ?? throw JinjaException.Type($"object of type '{PyType.Name(sequence)}' has no len()");
        return length == 0 ? new Undefined("No random item, sequence was empty.") : Access.Item(sequence, (long)render.Random.Next(length));
    }

    private static object? Reverse(object? value)
    {
        if (PyText.Of(value) is { } text)
            return value is Markup ? new Markup(PyText.Reverse(text)) : PyText.Reverse(text);
        if (PySequence.Reversed(value) is { } backwards)
            return new PyIterator(backwards, value is List<object?> ? "list_reverseiterator" : "reversed");
        if (!PySequence.IsIterable(value))
            throw JinjaException.Undefined("argument must be iterable");
        var items = PySequence.ToList(value);
        items.Reverse();
        return items;
    }

    private static object Round(Arguments a)
    {
        var value = Number(a[0], "type has no __round__ method");
        var precision = a.Integer(1, 0, "round");
        var method = a.Or(2, "common");
        if (method is "common")
            return PyNumber.Round(value, precision);
        if (method is not ("ceil" or "floor"))
            throw JinjaException.Undefined("method must be common, ceil or floor");
        var scale = PyNumber.Power(10L, (long)precision);
        var scaled = PyNumber.AsDouble(PyNumber.Multiply(value, scale))!.Value;
        return PyNumber.Divide(PyNumber.Box(new(method is "ceil" ? Math.Ceiling(scaled) : Math.Floor(scaled))), scale);
    }

    private static IEnumerable<object?> Slice(List<object?> items, int slices, object? fill)
    {
        if (slices == 0)
            throw JinjaException.Value("integer division or modulo by zero");
        Budget.CheckItems(slices);
        var (each, extra) = Math.DivRem(items.Count, slices);
        for (int i = 0, start = 0; i < slices; i++)
        {
            var count = each + (i < extra ? 1 : 0);
            var row = items.GetRange(start, count);
            start += count;
            if (fill is not null && i >= extra)
                row.Add(fill);
            yield return row;
        }
    }

    private static object? Sum(Arguments a)
    {
        var path = Path(a.Or(1, null));
        var total = a.Or(2, Boxes.Of(0L));
        if (total is string or Markup)
            throw JinjaException.Type("sum() can't sum strings [use ''.join(seq) instead]");
        foreach (var item in PySequence.Iterate(a[0]))
            total = Operators.Add(total, path(item));
        return total;
    }

    private static string ToJson(Arguments a)
    {
        var indent = a.Or(2, null) switch
        {
            null => null,
            string or Markup => PyText.Of(a[2]),
            var count => PyText.Repeat(" ", PyNumber.ToInt32(count, "indent")),
        };
        var (item, key) = (indent is null ? ", " : ",", ": ");
        if (a.Or(3, null) is { } separators)
        {
            if (PySequence.ToList(separators) is not [{ } first, { } second] || PyText.Of(first) is not { } itemText
                || PyText.Of(second) is not { } keyText)
                throw JinjaException.Type("separators must be a pair of strings");
            (item, key) = (itemText, keyText);
        }
        return PyJson.Write(a[0], new(a.Truth(1, false), indent, item, key, a.Truth(4, false)));
    }

    private static IEnumerable<object?> Unique(Arguments a)
    {
        var key = Path(a.Or(2, null), fold: !a.Truth(1, false));
        var seen = new PyDict();
        foreach (var item in PySequence.Iterate(a[0]))
        {
            var itemKey = key(item);
            if (seen.Contains(itemKey))
                continue;
            seen.Set(itemKey, null);
            yield return item;
        }
    }

    private static JinjaException NotReversible(object? value) => JinjaException.Type($"'{PyType.Name(value)}' object is not reversible");
}
