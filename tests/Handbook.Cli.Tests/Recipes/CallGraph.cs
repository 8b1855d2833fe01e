using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;

namespace Handbook.Cli.Tests.Recipes;

/// <summary>Which methods of some assemblies can be reached from others, told from their instructions.</summary>
/// <remarks>What is made may be called by whatever interface or base it has: with the constructor of a type all of its virtual methods are
/// reached, and with any of its methods its static constructor.</remarks>
internal sealed class CallGraph(IReadOnlyCollection<Assembly> assemblies)
{
    private const BindingFlags Own = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static
        | BindingFlags.DeclaredOnly;

    private static readonly Dictionary<short, OpCode> s_codes = typeof(OpCodes).GetFields().Select(field => (OpCode)field.GetValue(null)!)
        .ToDictionary(code => code.Value);

    private readonly Dictionary<MethodBase, MethodBase[]> _calls = [];

    /// <summary>Everything that is reached.</summary>
    /// <param name="roots">Where to begin.</param>
    /// <param name="enters">Whether to go into a method; what is not entered is not reached.</param>
    public HashSet<MethodBase> Reached(IEnumerable<MethodBase> roots, Func<MethodBase, bool> enters)
    {
        var reached = new HashSet<MethodBase>();
        var next = new Stack<MethodBase>(roots.Select(Definition));
        while (next.TryPop(out var method))
            if (IsOurs(method) && enters(method) && reached.Add(method))
                foreach (var called in Calls(method))
                    next.Push(called);
        return reached;
    }

    private bool IsOurs(MethodBase method) => assemblies.Contains(method.Module.Assembly);

    private MethodBase[] Calls(MethodBase method)
    {
        if (_calls.TryGetValue(method, out var known))
            return known;
        var called = new HashSet<MethodBase>(Named(method));
        if (method is ConstructorInfo { IsStatic: false })
            called.UnionWith(Virtual(method.DeclaringType!));
        if (method.DeclaringType?.TypeInitializer is { } initializer)
            called.Add(Definition(initializer));
        // A method that is written as an iterator or with await lies in a type of its own.
        if (method.GetCustomAttribute<StateMachineAttribute>() is { StateMachineType: var machine })
            called.UnionWith(Virtual(machine));
        return _calls[method] = [.. called];
    }

    /// <summary>The virtual methods of a type, those of its bases and those that interfaces ask for.</summary>
    private IEnumerable<MethodBase> Virtual(Type type)
    {
        for (var at = type; at is not null && assemblies.Contains(at.Assembly); at = at.BaseType)
            foreach (var method in at.GetMethods(Own).Where(method => method.IsVirtual))
                yield return Definition(method);
    }

    /// <summary>The methods that the instructions of one name.</summary>
    private List<MethodBase> Named(MethodBase method)
    {
        var named = new List<MethodBase>();
        if (method.GetMethodBody()?.GetILAsByteArray() is not { } code)
            return named;
        var typeArguments = method.DeclaringType is { IsGenericType: true } type ? type.GetGenericArguments() : null;
        var methodArguments = method.IsGenericMethod ? method.GetGenericArguments() : null;
        for (var at = 0; at < code.Length;)
        {
            var value = code[at++] is var first && first != 0xFE ? first : unchecked((short)(0xFE00 | code[at++]));
            var operand = s_codes[value].OperandType;
            if (operand == OperandType.InlineMethod
                && method.Module.ResolveMethod(BitConverter.ToInt32(code, at), typeArguments, methodArguments) is { } target)
            {
                named.Add(Definition(target));
                // What is made or run for a type parameter: new T(), and the machines of asynchronous methods.
                foreach (var argument in target.IsGenericMethod ? target.GetGenericArguments() : [])
                    if (!argument.IsGenericParameter && assemblies.Contains(argument.Assembly))
                        named.AddRange(Virtual(argument).Concat(argument.GetConstructors(Own).Select(Definition)));
            }
            at += operand switch
            {
                OperandType.InlineNone => 0,
                OperandType.ShortInlineBrTarget or OperandType.ShortInlineI or OperandType.ShortInlineVar => 1,
                OperandType.InlineVar => 2,
                OperandType.InlineI8 or OperandType.InlineR => 8,
                OperandType.InlineSwitch => 4 + 4 * BitConverter.ToInt32(code, at),
                _ => 4,
            };
        }
        return named;
    }

    /// <summary>A method of a generic type, or a generic one, as it is written.</summary>
    private static MethodBase Definition(MethodBase method) => method.IsGenericMethod || method.DeclaringType is { IsGenericType: true }
        ? method.Module.ResolveMethod(method.MetadataToken)! : method;
}
