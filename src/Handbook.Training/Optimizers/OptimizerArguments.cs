using System.Globalization;
using Handbook.Base.Keys;

namespace Handbook.Training.Optimizers;

/// <summary>The numbers of an optimiser that have no key of their own: <c>optim_args: "alpha=0.99,eps=1e-8"</c>.</summary>
internal sealed class OptimizerArguments
{
    private readonly IReadOnlyList<OptimizerArgument> _known;
    private readonly Dictionary<string, double> _numbers = [];
    private readonly Dictionary<string, string> _words = [];
    private readonly List<string> _problems = [];

    private OptimizerArguments(IReadOnlyList<OptimizerArgument> known) => _known = known;

    /// <summary>What is wrong with the text; empty where nothing is.</summary>
    public IReadOnlyList<string> Problems => _problems;

    /// <summary>Reads <c>name=value,…</c>; true and false are 1 and 0.</summary>
    public static OptimizerArguments Parse(string? text, OptimizerKind kind)
    {
        var result = new OptimizerArguments(OptimizerTraits.Of(kind).Arguments);
        foreach (var part in (text ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            var (name, value) = part.Split('=', 2, StringSplitOptions.TrimEntries) is [var before, var after]
                ? (before, after) : (part, "");
            if (result._known.FirstOrDefault(argument => argument.Name == name) is not { } argument)
                result._problems.Add($"has {name}, which {RecipeNames.Of(kind)} does not take");
            else
                result.Read(argument, part, value);
        }
        return result;
    }

    private void Read(OptimizerArgument argument, string part, string value)
    {
        var name = argument.Name;
        if (argument.Words is { } words)
        {
            if (words.Contains(value))
                _words[name] = value;
            else
                _problems.Add($"has {part}, where {name} is {string.Join(" or ", words)}");
        }
        else if (bool.TryParse(value, out var flag))
            _numbers[name] = flag ? 1 : 0;
        else if (!double.TryParse(value, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) || !double.IsFinite(number))
            _problems.Add($"has {part}, where {name}=NUMBER is expected");
        else if (argument.IsWhole && number != Math.Floor(number))
            _problems.Add($"has {part}, where a whole number is expected");
        else if (number < argument.Least || number >= argument.Below)
            _problems.Add($"has {part}, where a number {Range(argument)} is expected");
        else
            _numbers[name] = number;
    }

    private static string Range(OptimizerArgument argument) => string.Create(CultureInfo.InvariantCulture,
        $"of at least {argument.Least}{(double.IsPositiveInfinity(argument.Below) ? "" : $" and below {argument.Below}")}");

    /// <summary>The value of a name, or what holds without it.</summary>
    public double Number(string name) => _numbers.GetValueOrDefault(name, Known(name).Otherwise);

    public bool Flag(string name) => Number(name) != 0;

    /// <summary>The word that a name is given, or the usual one.</summary>
    public string Text(string name) => _words.GetValueOrDefault(name, Known(name).Words![0]);

    private OptimizerArgument Known(string name) => _known.First(argument => argument.Name == name);
}
