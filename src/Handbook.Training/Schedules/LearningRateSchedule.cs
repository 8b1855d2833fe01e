using Handbook.Base;
using Handbook.Base.Keys;

namespace Handbook.Training.Schedules;

/// <summary>The learning rate of every optimiser step.</summary>
/// <remarks>
/// <code>
/// lr(s) = η · m(s)      η the base rate, s the step from 0, W steps of warm-up, T steps in all
/// m(s)  = s / W         while s &lt; W, for every schedule but constant and reduce_lr_on_plateau
/// </code>
/// The shapes after the warm-up are <see cref="ScheduleShapes"/>. Steps past T keep their formula's value there.
/// </remarks>
internal class LearningRateSchedule
{
    private readonly Func<int, double> _multiplier;

    internal LearningRateSchedule(double baseRate, Func<int, double> multiplier)
    {
        BaseRate = baseRate;
        _multiplier = multiplier;
    }

    /// <summary>η, the recipe's <c>learning_rate</c>.</summary>
    public double BaseRate { get; }

    /// <summary>The rate of the optimiser step that follows <paramref name="stepsDone"/> others.</summary>
    public virtual double At(int stepsDone) => BaseRate * _multiplier(stepsDone);

    /// <summary>What a resumed run needs beyond the step; null for schedules that depend on the step alone.</summary>
    public virtual PlateauState? State { get => null; set { } }

    /// <summary>Tells the schedule an evaluation's metric; only <c>reduce_lr_on_plateau</c> listens.</summary>
    public virtual void Report(double metric)
    {
    }

    /// <param name="type">A name such as <c>cosine</c>; see <see cref="SchedulerType"/>.</param>
    /// <param name="kwargs">The schedule's own parameters; unknown or missing ones are an <see cref="InputException"/>.</param>
    /// <param name="warmup">W, at least 0.</param>
    /// <param name="total">T, at least 1.</param>
    /// <param name="baseRate">η.</param>
    public static LearningRateSchedule Create(string type, IReadOnlyDictionary<string, object?> kwargs, int warmup,
        int total, double baseRate)
    {
        var known = RecipeNames.Spellings(typeof(SchedulerType));
        var match = known.FirstOrDefault(spelling => spelling.Name == type);
        return match.Name is null
            ? throw new InputException($"lr_scheduler_type {type} is unknown",
                fix: $"use one of {string.Join(", ", known.Select(spelling => spelling.Name))}")
            : Create((SchedulerType)match.Value, kwargs, warmup, total, baseRate);
    }

    /// <inheritdoc cref="Create(string, IReadOnlyDictionary{string, object?}, int, int, double)"/>
    public static LearningRateSchedule Create(SchedulerType type, IReadOnlyDictionary<string, object?>? kwargs, int warmup,
        int total, double baseRate)
    {
        if (Problems(type, kwargs, baseRate).FirstOrDefault() is { What: { } what } problem)
            throw new InputException($"lr_scheduler_kwargs {what}", fix: problem.Fix);
        var parameters = new ScheduleParameters(kwargs);
        return type == SchedulerType.ReduceLrOnPlateau
            ? new PlateauSchedule(baseRate, parameters)
            : new LearningRateSchedule(baseRate, ScheduleShapes.Multiplier(type, parameters, warmup, total, baseRate));
    }

    /// <summary>What is wrong with the parameters of a schedule; empty when nothing is.</summary>
    internal static IEnumerable<(string What, string Fix)> Problems(SchedulerType type,
        IReadOnlyDictionary<string, object?>? kwargs, double baseRate) =>
        ScheduleParameters.Problems(type, kwargs, baseRate);
}
