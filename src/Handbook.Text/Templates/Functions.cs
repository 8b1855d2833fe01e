namespace Handbook.Text.Templates;

/// <summary>The arguments of one call, in the order of the callee's parameters.</summary>
internal readonly struct Arguments(object?[] positional, (string Name, object? Value)[] named)
{
    /// <summary>Stands in a bound argument list where an optional argument was not given.</summary>
    public static readonly object Absent = new();
    public static readonly (string Name, object? Value)[] NoNames = [];

    public object?[] Positional => positional;

    public (string Name, object? Value)[] Named => named;

    public int Count => positional.Length;

    public object? this[int index] => positional[index];

    public bool Has(int index) => index < positional.Length && !ReferenceEquals(positional[index], Absent);

    public object? Or(int index, object? otherwise) => Has(index) ? positional[index] : otherwise;

    public bool Truth(int index, bool otherwise) => Has(index) ? PyCompare.Truth(positional[index]) : otherwise;

    public int Integer(int index, int otherwise, string what) => Has(index) && positional[index] is not null
        ? PyNumber.ToInt32(positional[index], what) : otherwise;

    /// <summary>Text that must be text.</summary>
    public string Text(int index, string what) => PyText.Of(positional[index])
        ?? throw JinjaException.Type($"{what} must be str, not {PyType.Name(positional[index])}");

    public string? OptionalText(int index, string what) => Has(index) && positional[index] is not null ? Text(index, what) : null;

    public PyDict NamedAsDict()
    {
        var dict = new PyDict(Math.Max(4, named.Length));
        foreach (var (name, value) in named)
            dict.Set(name, value);
        return dict;
    }
}

/// <summary>What a built-in does with its bound arguments.</summary>
internal delegate object? Body(Render render, Arguments arguments);

/// <summary>A built-in function, filter, test or method with its parameter list.</summary>
/// <remarks>Parameters are written <c>"value chars?"</c>: a question mark for optional, <c>/</c> after those that take no name,
/// <c>*</c> for "as given".</remarks>
internal sealed class Function
{
    private readonly Body _body;
    private readonly string[] _parameters;
    private readonly int _required;
    private readonly int _positionalOnly;
    private readonly bool _variadic;

    public Function(string name, string parameters, Body body, bool isType = false)
    {
        Name = name;
        IsType = isType;
        _body = body;
        _variadic = parameters == "*";
        var words = parameters.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        _positionalOnly = Math.Max(0, Array.IndexOf(words, "/"));
        words = [.. words.Where(word => word is not ("/" or "*"))];
        _required = words.Count(word => !word.EndsWith('?'));
        _parameters = [.. words.Select(word => word.TrimEnd('?'))];
    }

    public string Name { get; }

    public bool IsType { get; }

    public object? Call(Render render, Arguments arguments) => _body(render, _variadic ? arguments : Bind(arguments));

    private Arguments Bind(Arguments given)
    {
        if (given.Named.Length == 0 && given.Count == _parameters.Length)
            return given;
        if (given.Count > _parameters.Length)
            throw JinjaException.Type($"{Name}() takes at most {_parameters.Length} argument{(_parameters.Length == 1 ? "" : "s")} "
                + $"({given.Count} given)");
        var bound = new object?[_parameters.Length];
        given.Positional.CopyTo(bound, 0);
        Array.Fill(bound, Arguments.Absent, given.Count, bound.Length - given.Count);
        foreach (var (name, value) in given.Named)
        {
            var at = Array.IndexOf(_parameters, name);
            if (at < _positionalOnly)
                throw JinjaException.Type(at < 0 ? $"{Name}() got an unexpected keyword argument '{name}'"
                    : $"{Name}() takes no keyword arguments");
            if (!ReferenceEquals(bound[at], Arguments.Absent))
                throw JinjaException.Type($"{Name}() got multiple values for argument '{name}'");
            bound[at] = value;
        }
        for (var i = 0; i < _required; i++)
            if (ReferenceEquals(bound[i], Arguments.Absent))
                throw JinjaException.Type($"{Name}() missing required argument: '{_parameters[i]}'");
        return new(bound, Arguments.NoNames);
    }
}

/// <summary>A method with the value it belongs to; its function gets that value as first argument.</summary>
internal sealed record Method(object? Owner, Function Function)
{
    public object? Call(Render render, Arguments arguments) =>
        Function.Call(render, new([Owner, .. arguments.Positional], arguments.Named));
}
