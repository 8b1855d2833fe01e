using System.Globalization;
using Handbook.Base.Keys;

namespace Handbook.Training.Optimizers;

/// <summary>The numbers of an optimiser that have no key of their own: <c>optim_args: "alpha=0.99,eps=1e-8"</c>.</summary>
internal sealed class OptimizerArguments
{
    private readonly Dictionary<string, double> _values = [];

    private OptimizerArguments(IReadOnlyList<string> problems) => Problems = problems;

    /// <summary>What is wrong with the text; empty where nothing is.</summary>
    public IReadOnlyList<string> Problems { get; }

    /// <summary>The names that an optimiser knows, as its reference implementation calls them.</summary>
    public static IReadOnlyList<string> Known(OptimizerKind kind) => kind switch
    {
        OptimizerKind.Sgd => ["momentum", "nesterov"],
        OptimizerKind.RmsProp => ["alpha", "eps"],
        OptimizerKind.Adagrad => ["eps", "lr_decay"],
        OptimizerKind.Adafactor => ["clip_threshold", "decay_rate", "scale_parameter"],
        _ => [],
    };

    /// <summary>Reads <c>name=value,…</c>; true and false are 1 and 0.</summary>
    public static OptimizerArguments Parse(string? text, OptimizerKind kind)
    {
        var problems = new List<string>();
        var result = new OptimizerArguments(problems);
        foreach (var part in (text ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            var (name, value) = part.Split('=', 2, StringSplitOptions.TrimEntries) is [var before, var after]
                ? (before, after) : (part, "");
            if (!Known(kind).Contains(name))
                problems.Add($"has {name}, which {RecipeNames.Of(kind)} does not take");
            else if (bool.TryParse(value, out var flag))
                result._values[name] = flag ? 1 : 0;
            else if (double.TryParse(value, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) && double.IsFinite(number))
                result._values[name] = number;
            else
                problems.Add($"has {part}, where {name}=NUMBER is expected");
        }
        return result;
    }

    /// <summary>The value of a name, or what holds without it.</summary>
    public double Number(string name, double otherwise) => _values.GetValueOrDefault(name, otherwise);

    public bool Flag(string name) => Number(name, 0) != 0;
}
