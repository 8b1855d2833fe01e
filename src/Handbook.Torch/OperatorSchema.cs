namespace Handbook.Torch;

/// <summary>What an operator takes and gives, as the dispatcher of this installation has it: releases of libtorch add, move and rename
/// arguments.</summary>
/// <param name="Name">With namespace and overload, e.g. <c>aten::add.Tensor</c>.</param>
/// <param name="Arguments">In the order of a call; those that only a name may give come last.</param>
/// <param name="Results">Their names; empty for one that has none.</param>
internal sealed record OperatorSchema(string Name, IReadOnlyList<OperatorSchema.Argument> Arguments, IReadOnlyList<string> Results)
{
    /// <param name="Type">E.g. <c>Tensor?</c>, <c>SymInt</c>, <c>Tensor(a!)[]</c>.</param>
    /// <param name="HasDefault">Whether a call may leave it out.</param>
    internal readonly record struct Argument(string Name, string Type, bool HasDefault);

    /// <summary>Reads <c>name(type name=default, …, *, …) -> (type name, …)</c>.</summary>
    /// <exception cref="FormatException">It is not of that form.</exception>
    public static OperatorSchema Parse(string text)
    {
        var open = text.IndexOf('(');
        var arrow = text.LastIndexOf("->", StringComparison.Ordinal);
        if (open <= 0 || arrow < open)
            throw new FormatException($"'{text}' is no schema of an operator");
        var close = text.LastIndexOf(')', arrow);
        var results = text[(arrow + 2)..].Trim();
        if (results.StartsWith('(') && results.EndsWith(')'))
            results = results[1..^1];
        return new(text[..open].Trim(), [.. Split(text[(open + 1)..close]).Where(part => part != "*").Select(ReadArgument)],
            [.. Split(results).Select(part => part.Contains(' ') ? part[(part.LastIndexOf(' ') + 1)..] : "")]);
    }

    /// <summary>Puts named values where this schema has them; what is not named takes its default.</summary>
    /// <exception cref="TorchException">A name is not there, or one without a default is not given.</exception>
    public Value[] Bind(params ReadOnlySpan<(string Name, Value Value)> given)
    {
        var values = new Value[Arguments.Count];
        var found = 0;
        for (var i = 0; i < values.Length; i++)
        {
            var argument = Arguments[i];
            var at = -1;
            for (var j = 0; j < given.Length; j++)
                if (given[j].Name == argument.Name)
                    at = j;
            if (at < 0 && !argument.HasDefault)
                throw new TorchException($"{Name} of libtorch {TorchRuntime.Version} needs {argument.Type} {argument.Name}, which this program "
                    + "does not know of");
            values[i] = at < 0 ? Value.Default : given[at].Value;
            found += at < 0 ? 0 : 1;
        }
        if (found < given.Length)
            foreach (var (name, _) in given)
                if (!Arguments.Any(argument => argument.Name == name))
                    throw new TorchException($"{Name} of libtorch {TorchRuntime.Version} has no argument {name}; it has "
                        + string.Join(", ", Arguments.Select(argument => argument.Name)));
        return values;
    }

    private static Argument ReadArgument(string part)
    {
        var equals = part.IndexOf('=');
        var declared = (equals < 0 ? part : part[..equals]).Trim();
        var space = declared.LastIndexOf(' ');
        return space < 0 ? throw new FormatException($"'{part}' is no argument of an operator")
            : new(declared[(space + 1)..], declared[..space].Trim(), equals >= 0);
    }

    // Commas within brackets belong to one part: int[2] padding=[0, 0].
    private static IEnumerable<string> Split(string list)
    {
        var (start, depth) = (0, 0);
        for (var i = 0; i <= list.Length; i++)
        {
            if (i < list.Length && (list[i] != ',' || depth > 0))
            {
                depth += list[i] is '(' or '[' ? 1 : list[i] is ')' or ']' ? -1 : 0;
                continue;
            }
            if (list[start..i].Trim() is { Length: > 0 } part)
                yield return part;
            start = i + 1;
        }
    }
}
