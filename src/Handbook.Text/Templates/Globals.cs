namespace Handbook.Text.Templates;

/// <summary>The functions a template can call by name.</summary>
internal static class Globals
{
    private const int MaximumRange = 100_000;

    private static readonly string[] _latin =
    [
        "lorem", "ipsum", "dolor", "sit", "amet", "consectetuer", "adipiscing", "elit", "sed", "nonummy", "nibh", "euismod", "tincidunt",
            "ut", "laoreet", "magna", "aliquam", "erat", "volutpat",
    ];

    public static readonly Dictionary<string, object?> All = new Function[]
    {
        new("range", "a b? c? /", (_, a) => Range(a), isType: true),
        new("dict", "*", (_, a) => Dict(a), isType: true),
        new("namespace", "*", (_, a) => new Namespace(Dict(a)), isType: true),
        new("cycler", "*", (_, a) =>
            new Cycler(a.Count > 0 ? a.Positional : throw JinjaException.Value("at least one item has to be provided")), isType: true),
        new("joiner", "sep?", (_, a) => new Joiner(a.Or(0, ", ")), isType: true),
        new("lipsum", "n? html? min? max?", Lipsum),
        new("raise_exception", "message", (_, a) => throw new JinjaException(TemplateErrorKind.RaiseException, PyRepr.Str(a[0]))),
        new("strftime_now", "format", (render, a) => Strftime.Format(render.Now, a.Text(0, "strftime() argument 1"))),
    }.ToDictionary(function => function.Name, function => (object?)function);

    private static PyRange Range(Arguments a)
    {
        var numbers = a.Positional.Where(value => !ReferenceEquals(value, Arguments.Absent))
            .Select(value => (long)PyNumber.ToInt32(value, "range()")).ToArray();
        var (start, stop, step) = numbers.Length == 1 ? (0, numbers[0], 1) : (numbers[0], numbers[1], numbers.Length > 2 ? numbers[2] : 1);
        if (step == 0)
            throw JinjaException.Value("range() arg 3 must not be zero");
        var count = step > 0 ? (stop - start + step - 1) / step : (start - stop - step - 1) / -step;
        return count > MaximumRange
            ? throw JinjaException.Value($"Range too big. The sandbox blocks ranges larger than MAX_RANGE ({MaximumRange}).")
            : new PyRange(start, stop, step);
    }

    private static PyDict Dict(Arguments a)
    {
        var result = new PyDict();
        if (a.Count > 1)
            throw JinjaException.Type($"dict expected at most 1 argument, got {a.Count}");
        if (a.Count == 1 && a[0] is PyDict dict)
            result.Update(dict);
        else if (a.Count == 1)
            foreach (var pair in PySequence.Iterate(a[0]))
            {
                if (PySequence.ToList(pair) is not [var key, var value])
                    throw JinjaException.Value("dictionary update sequence element has a length other than 2");
                PyDict.KeyComparer.Check(key);
                result.Set(key, value);
            }
        result.Update(a.NamedAsDict());
        return result;
    }

    private static object Lipsum(Render render, Arguments a)
    {
        var html = a.Truth(1, true);
        int least = a.Integer(2, 20, "lipsum"), most = Math.Max(least + 1, a.Integer(3, 100, "lipsum"));
        var paragraphs = new List<string>();
        for (var i = a.Integer(0, 5, "lipsum"); i > 0; i--)
        {
            var words = Enumerable.Range(0, render.Random.Next(least, most))
                .Select(_ => _latin[render.Random.Next(_latin.Length)]).ToArray();
            Budget.CheckItems(words.Length);
            paragraphs.Add(PyText.Capitalize(string.Join(' ', words)) + ".");
        }
        return html ? new Markup(string.Join('\n', paragraphs.Select(text => $"<p>{text}</p>"))) : string.Join("\n\n", paragraphs);
    }
}
