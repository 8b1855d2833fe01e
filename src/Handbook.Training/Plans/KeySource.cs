namespace Handbook.Training.Plans;

/// <summary>Where a value of the resolved recipe comes from.</summary>
internal enum KeySource
{
    Default,
    /// <summary>The default of recipes with <c>dataset_mixer</c>.</summary>
    Dialect,
    /// <summary>The default of the method.</summary>
    Method,
    File,
    CommandLine,
}
