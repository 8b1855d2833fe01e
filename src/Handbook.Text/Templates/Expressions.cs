namespace Handbook.Text.Templates;

/// <summary>An expression of a template.</summary>
/// <param name="at">Offset in the source, for messages.</param>
internal abstract class Expression(int at)
{
    public int At => at;

    public abstract object? Evaluate(Render render, Frame frame);
}

internal sealed class ConstantNode(object? value, int at) : Expression(at)
{
    public object? Value => value;

    public override object? Evaluate(Render render, Frame frame) => value;
}

internal sealed class NameNode(string name, int id, int at) : Expression(at)
{
    private readonly Undefined _missing = Undefined.Name(name);

    public string Name => name;

    public int Id => id;

    public override object? Evaluate(Render render, Frame frame) => frame.TryGet(id, out var value) ? value : _missing;
}

internal sealed class ListLiteralNode(Expression[] items, int at) : Expression(at)
{
    public override object? Evaluate(Render render, Frame frame)
    {
        var list = new List<object?>(items.Length);
        foreach (var item in items)
            list.Add(item.Evaluate(render, frame));
        return list;
    }
}

internal sealed class TupleLiteralNode(Expression[] items, int at) : Expression(at)
{
    public Expression[] Items => items;

    public override object? Evaluate(Render render, Frame frame)
    {
        var values = new object?[items.Length];
        for (var i = 0; i < items.Length; i++)
            values[i] = items[i].Evaluate(render, frame);
        return new PyTuple(values);
    }
}

internal sealed class DictLiteralNode((Expression Key, Expression Value)[] items, int at) : Expression(at)
{
    public override object? Evaluate(Render render, Frame frame)
    {
        var dict = new PyDict(Math.Max(4, items.Length));
        foreach (var (key, value) in items)
        {
            var name = key.Evaluate(render, frame);
            render.At = At;
            PyDict.KeyComparer.Check(name);
            dict.Set(name, value.Evaluate(render, frame));
        }
        return dict;
    }
}

internal sealed class SliceNode(Expression? start, Expression? stop, Expression? step, int at) : Expression(at)
{
    public override object? Evaluate(Render render, Frame frame) =>
        new PySlice(start?.Evaluate(render, frame), stop?.Evaluate(render, frame), step?.Evaluate(render, frame));
}

internal sealed class AttributeNode(Expression owner, string name, int at) : Expression(at)
{
    // Most attributes are keys of a message; only these few names are something else on a dictionary.
    private readonly bool _plain = !Access.TryAttribute(new PyDict(), name, out _);

    public override object? Evaluate(Render render, Frame frame)
    {
        var value = owner.Evaluate(render, frame);
        if (_plain && value is PyDict dict && dict.TryGet(name, out var item))
            return item;
        render.At = At;
        return Access.Attribute(value, name);
    }
}

internal sealed class ItemNode(Expression owner, Expression key, int at) : Expression(at)
{
    public override object? Evaluate(Render render, Frame frame)
    {
        var value = owner.Evaluate(render, frame);
        var index = key.Evaluate(render, frame);
        render.At = At;
        return Access.Item(value, index);
    }
}

/// <summary>The arguments of a call as written.</summary>
internal sealed record CallArguments(Expression[] Positional, (string Name, Expression Value)[] Named, Expression? Starred,
    Expression? DoubleStarred)
{
    public static readonly CallArguments None = new([], [], null, null);

    /// <param name="leading">Values that come first: what a filter or test is applied to.</param>
    public Arguments Evaluate(Render render, Frame frame, params ReadOnlySpan<object?> leading)
    {
        if (Starred is not null || DoubleStarred is not null)
            return EvaluateStarred(render, frame, leading.ToArray());
        var positional = new object?[leading.Length + Positional.Length];
        leading.CopyTo(positional);
        for (var i = 0; i < Positional.Length; i++)
            positional[leading.Length + i] = Positional[i].Evaluate(render, frame);
        if (Named.Length == 0)
            return new(positional, Arguments.NoNames);
        var named = new (string, object?)[Named.Length];
        for (var i = 0; i < named.Length; i++)
            named[i] = (Named[i].Name, Named[i].Value.Evaluate(render, frame));
        return new(positional, named);
    }

    private Arguments EvaluateStarred(Render render, Frame frame, object?[] leading)
    {
        List<object?> positional = [.. leading, .. Positional.Select(argument => argument.Evaluate(render, frame))];
        var named = Named.Select(argument => (argument.Name, argument.Value.Evaluate(render, frame))).ToList();
        if (Starred is not null)
            positional.AddRange(PySequence.Iterate(Starred.Evaluate(render, frame)));
        if (DoubleStarred is not null)
        {
            if (DoubleStarred.Evaluate(render, frame) is not PyDict rest)
                throw JinjaException.Type("argument after ** must be a mapping");
            for (var i = 0; i < rest.Count; i++)
            {
                var name = PyText.Of(rest.KeyAt(i)) ?? throw JinjaException.Type("keywords must be strings");
                if (named.Exists(pair => pair.Name == name))
                    throw JinjaException.Type($"got multiple values for keyword argument '{name}'");
                named.Add((name, rest.ValueAt(i)));
            }
        }
        return new([.. positional], [.. named]);
    }
}

internal sealed class CallNode(Expression callee, CallArguments arguments, int at) : Expression(at)
{
    public override object? Evaluate(Render render, Frame frame) => Call(render, frame, caller: null);

    /// <param name="caller">The body of a call block, passed on as <c>caller</c>.</param>
    public object? Call(Render render, Frame frame, Macro? caller)
    {
        var function = callee.Evaluate(render, frame);
        render.At = At;
        var given = arguments.Evaluate(render, frame);
        if (caller is not null)
            given = new(given.Positional, [.. given.Named, ("caller", caller)]);
        render.At = At;
        return Access.Call(render, function, given);
    }
}

/// <summary><c>value | name(arguments)</c>; the value is null in a filter block, which supplies its text.</summary>
/// <param name="filter">Null where there is none of that name.</param>
internal sealed class FilterNode(Expression? value, string name, Function? filter, CallArguments arguments, int at) : Expression(at)
{
    public string Name => name;

    public bool IsKnown => filter is not null;

    public override object? Evaluate(Render render, Frame frame) => Apply(render, frame, null);

    /// <param name="blockText">What stands for the innermost missing value.</param>
    public object? Apply(Render render, Frame frame, object? blockText)
    {
        var given = value switch
        {
            null => blockText,
            FilterNode inner => inner.Apply(render, frame, blockText),
            _ => value.Evaluate(render, frame)
        };
        var all = arguments.Evaluate(render, frame, given);
        render.At = At;
        return (filter ?? throw JinjaException.Undefined($"No filter named '{name}' found.")).Call(render, all);
    }
}

internal sealed class TestNode(Expression value, string name, CallArguments arguments, int at) : Expression(at)
{
    private readonly Function? _test = Tests.All.GetValueOrDefault(name);

    public string Name => name;

    public bool IsKnown => _test is not null;

    public override object? Evaluate(Render render, Frame frame)
    {
        var tested = value.Evaluate(render, frame);
        if (name == "defined")
            return Boxes.Of(tested is not Undefined);
        var all = arguments.Evaluate(render, frame, tested);
        render.At = At;
        return (_test ?? throw JinjaException.Undefined($"No test named '{name}' found.")).Call(render, all);
    }
}

internal sealed class NotNode(Expression value, int at) : Expression(at)
{
    public override object? Evaluate(Render render, Frame frame) => Boxes.Of(!PyCompare.Truth(value.Evaluate(render, frame)));
}

internal sealed class AndNode(Expression left, Expression right, int at) : Expression(at)
{
    public override object? Evaluate(Render render, Frame frame) => left.Evaluate(render, frame) is var value && PyCompare.Truth(value)
        ? right.Evaluate(render, frame) : value;
}

internal sealed class OrNode(Expression left, Expression right, int at) : Expression(at)
{
    public override object? Evaluate(Render render, Frame frame) => left.Evaluate(render, frame) is var value && PyCompare.Truth(value)
        ? value : right.Evaluate(render, frame);
}

internal sealed class ConditionalNode(Expression condition, Expression then, Expression? otherwise, int line, int at) : Expression(at)
{
    private readonly Undefined _nothing =
        new($"the inline if-expression on line {line} evaluated to false and no else section was defined.");

    public override object? Evaluate(Render render, Frame frame) =>
        PyCompare.Truth(condition.Evaluate(render, frame)) ? then.Evaluate(render, frame) : otherwise is null ? _nothing
            : otherwise.Evaluate(render, frame);
}

internal sealed class UnaryNode(Expression value, Func<object?, object?> operation, int at) : Expression(at)
{
    public override object? Evaluate(Render render, Frame frame)
    {
        var operand = value.Evaluate(render, frame);
        render.At = At;
        return operation(operand);
    }
}

internal sealed class BinaryNode(Expression left, Expression right, Func<object?, object?, object?> operation, int at) : Expression(at)
{
    public override object? Evaluate(Render render, Frame frame)
    {
        var first = left.Evaluate(render, frame);
        var second = right.Evaluate(render, frame);
        render.At = At;
        return operation(first, second);
    }
}

/// <summary><c>a ~ b ~ c</c></summary>
internal sealed class ConcatNode(Expression[] parts, int at) : Expression(at)
{
    public override object? Evaluate(Render render, Frame frame)
    {
        var texts = new string[parts.Length];
        var length = 0L;
        var values = new object?[parts.Length];
        var markup = false;
        for (var i = 0; i < parts.Length; i++)
        {
            values[i] = parts[i].Evaluate(render, frame);
            markup |= render.AutoEscape && values[i] is Markup;
        }
        render.At = At;
        for (var i = 0; i < parts.Length; i++)
        {
            texts[i] = markup ? Markup.EscapeValue(values[i]) : PyRepr.Str(values[i]);
            length += texts[i].Length;
        }
        Budget.Text(length);
        var text = string.Concat(texts);
        return markup ? new Markup(text) : text;
    }
}

/// <summary>A chain of comparisons: <c>a &lt; b &lt;= c</c>, <c>x in y</c>.</summary>
internal sealed class CompareNode(Expression first, (string Sign, Expression Value)[] rest, int at) : Expression(at)
{
    public override object? Evaluate(Render render, Frame frame)
    {
        var left = first.Evaluate(render, frame);
        foreach (var (sign, value) in rest)
        {
            var right = value.Evaluate(render, frame);
            render.At = At;
            if (!Holds(left, sign, right))
                return Boxes.False;
            left = right;
        }
        return Boxes.True;
    }

    private static bool Holds(object? left, string sign, object? right) => sign switch
    {
        "==" => PyCompare.Equal(left, right),
        "!=" => !PyCompare.Equal(left, right),
        "in" => PyCompare.Contains(right, left),
        "not in" => !PyCompare.Contains(right, left),
        "<" => PyCompare.Order(left, right, sign) < 0,
        "<=" => PyCompare.Order(left, right, sign) <= 0,
        ">" => PyCompare.Order(left, right, sign) > 0,
        _ => PyCompare.Order(left, right, sign) >= 0,
    };
}
