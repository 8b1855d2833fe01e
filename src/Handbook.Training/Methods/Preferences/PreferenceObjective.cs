using Handbook.Base.Keys;

namespace Handbook.Training.Methods.Preferences;

/// <summary>From a recipe to its objective.</summary>
public static class PreferenceObjective
{
    /// <summary>The objective of a preference recipe.</summary>
    /// <param name="run">Checked options whose method is DPO, ORPO, KTO, CPO or BCO.</param>
    /// <param name="densityRatio">BCO's weight of a bad answer, by the number of its training row; null weighs each with 1.</param>
    /// <param name="heldOutRatio">The same by the number of a held-out row; null takes <paramref name="densityRatio"/>.</param>
    public static IPreferenceObjective Create(MethodOptions run, Func<int, double>? densityRatio = null, Func<int, double>? heldOutRatio = null)
    {
        var options = run.Preference;
        return run.Method switch
        {
            TrainingMethod.Dpo => new DpoObjective(options),
            TrainingMethod.Orpo => new OrpoObjective(options),
            TrainingMethod.Kto => new KtoObjective(options),
            TrainingMethod.Cpo => new CpoObjective(options),
            TrainingMethod.Bco => new BcoObjective(options, densityRatio, heldOutRatio),
            _ => throw new ArgumentException($"{run.Method} has no preference objective", nameof(run)),
        };
    }

    /// <summary>The value of an enumeration of losses that a recipe names; a checked recipe names no other.</summary>
    internal static T LossType<T>(string name) where T : struct, Enum
    {
        foreach (var (spelling, value, _) in RecipeNames.Spellings(typeof(T)))
            if (spelling == name)
                return (T)value;
        throw new ArgumentException($"there is no loss {name}", nameof(name));
    }

    /// <summary>Older releases of the reference trainer take the mean over each micro-batch.</summary>
    internal static bool GroupsByMicroBatch(PreferenceOptions options) => options.TrlCompat is not null;

    internal static double Sum(ReadOnlySpan<double> values)
    {
        var sum = 0.0;
        foreach (var value in values)
            sum += value;
        return sum;
    }

    /// <summary>n times the same derivative; nothing where it is 0.</summary>
    internal static double[] Uniform(int count, double value)
    {
        if (value == 0)
            return [];
        var all = new double[count];
        Array.Fill(all, Bounded(value));
        return all;
    }

    /// <summary>A derivative that float32 can hold: the square of an exponential goes beyond, where only its sign still says something.</summary>
    internal static double Bounded(double derivative) => Math.Clamp(derivative, -1e38, 1e38);
}
