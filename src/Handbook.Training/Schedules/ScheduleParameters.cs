using Handbook.Base.Keys;

namespace Handbook.Training.Schedules;

/// <summary>The recipe's <c>lr_scheduler_kwargs</c>, with the names and values that each schedule knows.</summary>
internal sealed class ScheduleParameters(IReadOnlyDictionary<string, object?>? values)
{
    private static readonly string[] s_rises = ["linear", "cosine", "1-sqrt"];

    private readonly IReadOnlyDictionary<string, object?> _values = values ?? new Dictionary<string, object?>();

    public bool Has(string name) => _values.GetValueOrDefault(name) is not null;

    public double Number(string name, double otherwise) => AsNumber(_values.GetValueOrDefault(name)) ?? otherwise;

    public string Text(string name, string otherwise) => _values.GetValueOrDefault(name) as string ?? otherwise;

    /// <summary>What is wrong with the parameters; empty when nothing is.</summary>
    public static IEnumerable<(string What, string Fix)> Problems(SchedulerType type,
        IReadOnlyDictionary<string, object?>? values, double baseRate)
    {
        var parameters = new ScheduleParameters(values);
        var name = RecipeNames.Of(type);
        var known = Names(type);
        foreach (var (key, value) in parameters._values)
        {
            if (!known.Contains(key))
                yield return ($"has {key}, which {name} does not know",
                    known.Length == 0 ? "remove it" : $"use {string.Join(", ", known)}");
            else if (value is not null && IsText(key) != value is string)
                yield return ($"has {key}: {value}, which is not {(IsText(key) ? "one of its words" : "a number")}",
                    $"write {Example(key)}");
            else if (key is "warmup_type" or "decay_type" && value is string word && !s_rises.Contains(word))
                yield return ($"has {key}: {word}", $"use {string.Join(", ", s_rises)}");
        }
        if (type is SchedulerType.CosineWithMinLr or SchedulerType.CosineWarmupWithMinLr
            && parameters.Has("min_lr") == parameters.Has("min_lr_rate"))
            yield return (parameters.Has("min_lr") ? "has both min_lr and min_lr_rate" : $"lacks min_lr_rate, which {name} needs",
                "add exactly one: `lr_scheduler_kwargs: {min_lr_rate: 0.1}`");
        if (type == SchedulerType.WarmupStableDecay && !parameters.Has("num_decay_steps"))
            yield return ("lacks num_decay_steps, which warmup_stable_decay needs",
                "add it: `lr_scheduler_kwargs: {num_decay_steps: 100}`");
        if (type == SchedulerType.Polynomial && baseRate <= parameters.Number("lr_end", 1e-7))
            yield return ($"has lr_end {parameters.Number("lr_end", 1e-7)}, not below the learning rate {baseRate}",
                "use a smaller lr_end");
        if (type == SchedulerType.ReduceLrOnPlateau && parameters.Number("factor", 0.1) >= 1)
            yield return ($"has factor {parameters.Number("factor", 0.1)}, which lowers nothing", "use 0.1");
    }

    private static string[] Names(SchedulerType type) => type switch
    {
        SchedulerType.Cosine or SchedulerType.CosineWithRestarts => ["num_cycles"],
        SchedulerType.CosineWithMinLr => ["min_lr_rate", "min_lr", "num_cycles"],
        SchedulerType.CosineWarmupWithMinLr => ["min_lr_rate", "min_lr", "warmup_lr_rate", "num_cycles"],
        SchedulerType.Polynomial => ["lr_end", "power"],
        SchedulerType.InverseSqrt => ["timescale"],
        SchedulerType.WarmupStableDecay =>
            ["num_decay_steps", "num_stable_steps", "warmup_type", "decay_type", "min_lr_ratio", "num_cycles"],
        SchedulerType.ReduceLrOnPlateau => ["factor", "patience", "threshold", "threshold_mode", "mode", "cooldown", "min_lr", "eps"],
        _ => [],
    };

    private static bool IsText(string name) => name is "warmup_type" or "decay_type" or "threshold_mode" or "mode";

    private static string Example(string name) => name switch
    {
        "warmup_type" or "decay_type" => $"{name}: cosine",
        "threshold_mode" => "threshold_mode: rel",
        "mode" => "mode: min",
        _ => $"{name}: 0.1",
    };

    private static double? AsNumber(object? value) => value switch
    {
        double number => number,
        long number => number,
        int number => number,
        float number => number,
        _ => null,
    };
}
