using Handbook.Base.Keys;

namespace Handbook.Training.Methods.Preferences;

/// <summary>The objectives of the preference methods, and what they share.</summary>
internal static class PreferenceObjective
{
    /// <summary>The objective of a preference method, where it needs nothing of the run but its options.</summary>
    /// <param name="run">Checked options of such a method.</param>
    /// <exception cref="ArgumentException">The method compares no answers.</exception>
    public static IPreferenceObjective Create(MethodOptions run) => run.Definition is PreferenceDefinition definition
        ? definition.Objective(run.Preference)
        : throw new ArgumentException($"{run.MethodName} has no preference objective", nameof(run));

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

    /// <summary>A derivative that float32 can hold: the square of an exponential may exceed it, where only its sign still
    /// matters.</summary>
    internal static double Bounded(double derivative) => Math.Clamp(derivative, -1e38, 1e38);
}
