namespace Handbook.Text.Templates;

/// <summary>A macro, or the body of a call block: a function from values to text that sees the variables where it was written.</summary>
internal sealed class Macro(MacroNode node, Frame outer, bool autoEscape)
{
    public string? Name => node.Name;

    public bool TryAttribute(string name, out object? value)
    {
        value = name switch
        {
            "name" => node.Name,
            "arguments" => new PyTuple([.. node.Parameters.Select(parameter => parameter.Name)]),
            "catch_kwargs" => Boxes.Of(node.UsesKwargs),
            "catch_varargs" => Boxes.Of(node.UsesVarargs),
            "caller" => Boxes.Of(node.UsesCaller),
            _ => Arguments.Absent,
        };
        return !ReferenceEquals(value, Arguments.Absent);
    }

    public object? Call(Render render, Arguments arguments)
    {
        Budget.Spend(1);
        Budget.Nest();
        var frame = new Frame(outer);
        Bind(render, frame, arguments);
        var callersEscape = render.AutoEscape;
        render.AutoEscape = autoEscape;
        var buffer = render.BeginBuffer();
        string text;
        try
        {
            foreach (var statement in node.Body)
                statement.Run(render, frame);
        }
        finally
        {
            text = render.EndBuffer(buffer);
            render.AutoEscape = callersEscape;
        }
        return callersEscape ? new Markup(text) : text;
    }

    private void Bind(Render render, Frame frame, Arguments arguments)
    {
        var named = arguments.Named.ToList();
        var parameters = node.Parameters;
        var explicitCaller = false;
        for (var i = 0; i < parameters.Length; i++)
        {
            var parameter = parameters[i];
            explicitCaller |= parameter.Name == "caller";
            if (i < arguments.Count)
                frame.Set(parameter.Id, arguments[i]);
            else if (named.FindIndex(pair => pair.Name == parameter.Name) is var at and >= 0)
            {
                frame.Set(parameter.Id, named[at].Value);
                named.RemoveAt(at);
            }
            else
                frame.Set(parameter.Id, parameter.Default is { } otherwise ? otherwise.Evaluate(render, frame)
                    : new Undefined($"parameter '{parameter.Name}' was not provided"));
        }
        if (node.UsesCaller && !explicitCaller)
        {
            var at = named.FindIndex(pair => pair.Name == "caller");
            frame.Set(node.CallerId, at >= 0 && named[at].Value is { } caller ? caller : new Undefined("No caller defined"));
            if (at >= 0)
                named.RemoveAt(at);
        }
        if (node.UsesKwargs)
        {
            var rest = new PyDict();
            foreach (var (name, value) in named)
                rest.Set(name, value);
            frame.Set(node.KwargsId, rest);
        }
        else if (named.Count > 0)
            throw JinjaException.Type(named.Exists(pair => pair.Name == "caller")
                ? $"macro {PyRepr.Of(Name)} was invoked with two values for the special caller argument. This is most likely a bug."
                : $"macro {PyRepr.Of(Name)} takes no keyword argument {PyRepr.Quote(named[0].Name)}");
        if (node.UsesVarargs)
            frame.Set(node.VarargsId, new PyTuple(arguments.Count > parameters.Length ? arguments.Positional[parameters.Length..] : []));
        else if (arguments.Count > parameters.Length)
            throw JinjaException.Type($"macro {PyRepr.Of(Name)} takes not more than {parameters.Length} argument(s)");
    }
}

/// <summary>The variable <c>self</c>: the template's blocks by name.</summary>
internal sealed class BlockNames(Dictionary<string, BlockNode> blocks, Frame root)
{
    public bool TryAttribute(string name, out object? value)
    {
        value = blocks.TryGetValue(name, out var block)
            ? new Function(name, "", (render, _) => block.RunToText(render, root))
            : null;
        return value is not null;
    }
}
