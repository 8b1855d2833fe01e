using System.Runtime.ExceptionServices;
using Handbook.Base;

namespace Handbook.Data;

/// <summary>Failures of rows that are worked on side by side.</summary>
internal static class SideBySide
{
    /// <summary>Throws what the user can mend among the failures, as it was thrown: bad input, or a file that cannot be read; nothing where
    /// there is none.</summary>
    public static void ThrowCause(AggregateException failures)
    {
        if (failures.InnerExceptions.FirstOrDefault(inner => inner is InputException or IOException) is { } one)
            ExceptionDispatchInfo.Throw(one);
    }
}
