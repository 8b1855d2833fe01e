namespace Handbook.Text.Templates;

/// <summary>How a statement ended.</summary>
internal enum Flow
{
    Normal,
    Break,
    Continue,
}

/// <summary>A statement of a template.</summary>
internal abstract class Statement
{
    public abstract Flow Run(Render render, Frame frame);

    protected static Flow RunAll(Statement[] body, Render render, Frame frame)
    {
        foreach (var statement in body)
            if (statement.Run(render, frame) is var flow && flow != Flow.Normal)
                return flow;
        return Flow.Normal;
    }

    /// <summary>The text a body prints; the flow it ended with.</summary>
    protected static string RunToText(Statement[] body, Render render, Frame frame, out Flow flow)
    {
        Budget.Nest();
        var outer = render.BeginBuffer();
        flow = Flow.Normal;
        string text;
        try
        {
            flow = RunAll(body, render, frame);
        }
        finally
        {
            text = render.EndBuffer(outer);
        }
        return text;
    }
}

internal sealed class TextNode(string text) : Statement
{
    public override Flow Run(Render render, Frame frame)
    {
        render.Write(text);
        return Flow.Normal;
    }
}

internal sealed class PrintNode(Expression value) : Statement
{
    public override Flow Run(Render render, Frame frame)
    {
        var result = value.Evaluate(render, frame);
        render.At = value.At;
        render.Print(result);
        return Flow.Normal;
    }
}

internal sealed class IfNode((Expression Condition, Statement[] Body)[] branches, Statement[] otherwise) : Statement
{
    public override Flow Run(Render render, Frame frame)
    {
        foreach (var (condition, body) in branches)
            if (PyCompare.Truth(condition.Evaluate(render, frame)))
                return RunAll(body, render, frame);
        return RunAll(otherwise, render, frame);
    }
}

/// <summary><c>{% for target in items if test recursive %} … {% else %} … {% endfor %}</c></summary>
internal sealed class ForNode(Target target, Expression items, Expression? test, int loopId, int at) : Statement
{
    public bool Recursive { get; set; }

    /// <summary>Whether the body defines macros or call blocks, which may keep the variables of one turn.</summary>
    public bool KeepsFrames { get; set; }

    public Statement[] Body { get; set; } = [];

    public Statement[] Otherwise { get; set; } = [];

    public override Flow Run(Render render, Frame frame)
    {
        var source = items.Evaluate(render, frame);
        render.At = at;
        if (!Recursive)
            return Run(render, frame, source, depth: 0);
        render.Write(RunToText(render, frame, source, depth: 0));
        return Flow.Normal;
    }

    public string RunToText(Render render, Frame frame, object? source, int depth)
    {
        Budget.Nest();
        var outer = render.BeginBuffer();
        string text;
        try
        {
            Run(render, frame, source, depth);
        }
        finally
        {
            text = render.EndBuffer(outer);
        }
        return text;
    }

    private Flow Run(Render render, Frame frame, object? source, int depth)
    {
        var sequence = PySequence.Iterate(source);
        int? length = PySequence.Length(source);
        if (test is not null)
        {
            sequence = Filtered(render, frame, sequence);
            length = null;
        }
        var loop = new Loop(this, frame, sequence, length, depth);
        var turn = new Frame(frame);
        var completed = false;
        while (loop.Next(out var item))
        {
            if (KeepsFrames)
                turn = new Frame(frame);
            else
                turn.Clear();
            target.Assign(render, turn, item);
            turn.Set(loopId, loop);
            var flow = RunAll(Body, render, turn);
            if (flow == Flow.Break)
                break;
            completed |= flow == Flow.Normal;
        }
        // Jinja notes a turn at its end, so the else part also runs when no turn came to its end.
        return completed ? Flow.Normal : RunAll(Otherwise, render, new Frame(frame));
    }

    private IEnumerable<object?> Filtered(Render render, Frame frame, IEnumerable<object?> sequence)
    {
        foreach (var item in sequence)
        {
            var turn = new Frame(frame);
            target.Assign(render, turn, item);
            if (PyCompare.Truth(test!.Evaluate(render, turn)))
                yield return item;
        }
    }
}

/// <summary><c>{% break %}</c> and <c>{% continue %}</c></summary>
internal sealed class JumpNode(Flow flow) : Statement
{
    public override Flow Run(Render render, Frame frame) => flow;
}

internal sealed class SetNode(Target target, Expression value) : Statement
{
    public override Flow Run(Render render, Frame frame)
    {
        target.Assign(render, frame, value.Evaluate(render, frame));
        return Flow.Normal;
    }
}

/// <summary><c>{% set target | filter %} … {% endset %}</c></summary>
internal sealed class SetBlockNode(Target target, FilterNode? filter, Statement[] body) : Statement
{
    public override Flow Run(Render render, Frame frame)
    {
        var inner = new Frame(frame);
        object? value = RunToText(body, render, inner, out var flow);
        if (flow != Flow.Normal)
            return flow;
        if (render.AutoEscape)
            value = new Markup((string)value);
        if (filter is not null)
            value = filter.Apply(render, inner, value);
        target.Assign(render, frame, value);
        return Flow.Normal;
    }
}

/// <summary><c>{% filter name %} … {% endfilter %}</c></summary>
internal sealed class FilterBlockNode(FilterNode filter, Statement[] body) : Statement
{
    public override Flow Run(Render render, Frame frame)
    {
        var inner = new Frame(frame);
        var text = RunToText(body, render, inner, out var flow);
        if (flow != Flow.Normal)
            return flow;
        var result = filter.Apply(render, inner, render.AutoEscape ? new Markup(text) : text);
        render.Write(PyText.Of(result)
            ?? throw JinjaException.Type($"sequence item 0: expected str instance, {PyType.Name(result)} found"));
        return Flow.Normal;
    }
}

internal sealed class WithNode((Target Target, Expression Value)[] variables, Statement[] body) : Statement
{
    public override Flow Run(Render render, Frame frame)
    {
        var inner = new Frame(frame);
        foreach (var (target, value) in variables)
            target.Assign(render, inner, value.Evaluate(render, frame));
        return RunAll(body, render, inner);
    }
}

internal sealed class AutoEscapeNode(Expression value, Statement[] body) : Statement
{
    public override Flow Run(Render render, Frame frame)
    {
        var outer = render.AutoEscape;
        render.AutoEscape = PyCompare.Truth(value.Evaluate(render, frame));
        try
        {
            return RunAll(body, render, new Frame(frame));
        }
        finally
        {
            render.AutoEscape = outer;
        }
    }
}

/// <summary>A parameter of a macro; without default it is undefined when not given.</summary>
internal sealed record MacroParameter(string Name, int Id, Expression? Default);

internal sealed class MacroNode(string? name, int id, MacroParameter[] parameters) : Statement
{
    public string? Name => name;

    public MacroParameter[] Parameters => parameters;

    public Statement[] Body { get; set; } = [];

    public bool UsesCaller { get; set; }

    public bool UsesKwargs { get; set; }

    public bool UsesVarargs { get; set; }

    public int CallerId { get; init; }

    public int KwargsId { get; init; }

    public int VarargsId { get; init; }

    public Macro Bind(Render render, Frame frame) => new(this, frame, render.AutoEscape);

    public override Flow Run(Render render, Frame frame)
    {
        frame.Set(id, Bind(render, frame));
        return Flow.Normal;
    }
}

/// <summary><c>{% call(args) macro(…) %} … {% endcall %}</c></summary>
internal sealed class CallBlockNode(CallNode call, MacroNode body) : Statement
{
    public override Flow Run(Render render, Frame frame)
    {
        var result = call.Call(render, frame, body.Bind(render, frame));
        render.Write(PyRepr.Str(result));
        return Flow.Normal;
    }
}

/// <summary><c>{% generation %} … {% endgeneration %}</c>: what the assistant says; its span becomes the loss mask.</summary>
internal sealed class GenerationNode(Statement[] body) : Statement
{
    public override Flow Run(Render render, Frame frame)
    {
        var text = RunToText(body, render, new Frame(frame), out _);
        render.WriteBlock(text);
        return Flow.Normal;
    }
}

/// <summary><c>{% block name %}</c>: without a parent template it prints its body, which sees only the outermost variables.</summary>
internal sealed class BlockNode(string name, int superId, bool scoped, bool required, Statement[] body) : Statement
{
    public string Name => name;

    public override Flow Run(Render render, Frame frame)
    {
        if (required)
            throw JinjaException.Undefined($"Required block '{name}' not found");
        return RunAll(body, render, Inside(scoped ? frame : frame.Root()));
    }

    public string RunToText(Render render, Frame root) => RunToText(body, render, Inside(root), out _);

    private Frame Inside(Frame outer)
    {
        var inner = new Frame(outer);
        inner.Set(superId, new Undefined($"there is no parent block called {PyRepr.Quote(name)}."));
        return inner;
    }
}

/// <summary>include, import and extends: a chat template stands alone, so they parse and are refused when they run.</summary>
internal sealed class LoaderNode(int at) : Statement
{
    public override Flow Run(Render render, Frame frame)
    {
        render.At = at;
        throw JinjaException.Type("no loader for this environment specified");
    }
}

/// <summary>Where an assignment goes.</summary>
internal abstract class Target(int at)
{
    public int At => at;

    public abstract void Assign(Render render, Frame frame, object? value);
}

internal sealed class NameTarget(int id, int at) : Target(at)
{
    public override void Assign(Render render, Frame frame, object? value) => frame.Set(id, value);
}

/// <summary><c>{% set ns.x = … %}</c></summary>
internal sealed class NamespaceTarget(int id, string attribute, int at) : Target(at)
{
    public override void Assign(Render render, Frame frame, object? value)
    {
        render.At = At;
        if (!frame.TryGet(id, out var owner) || owner is not Namespace space)
            throw JinjaException.Undefined("cannot assign attribute on non-namespace object");
        space.Attributes.Set(attribute, value);
    }
}

internal sealed class TupleTarget(Target[] parts, int at) : Target(at)
{
    public override void Assign(Render render, Frame frame, object? value)
    {
        render.At = At;
        if (!PySequence.IsIterable(value))
            throw JinjaException.Type($"cannot unpack non-iterable {PyType.Name(value)} object");
        var values = PySequence.Iterate(value).Take(parts.Length + 1).ToArray();
        if (values.Length > parts.Length)
            throw JinjaException.Value($"too many values to unpack (expected {parts.Length})");
        if (values.Length < parts.Length)
            throw JinjaException.Value($"not enough values to unpack (expected {parts.Length}, got {values.Length})");
        for (var i = 0; i < parts.Length; i++)
            parts[i].Assign(render, frame, values[i]);
    }
}
