namespace Handbook.Testing;

/// <summary>What tests before have left to the garbage collector.</summary>
internal static class Garbage
{
    /// <summary>Frees it now, its tensors too, and not while a test counts them or measures memory.</summary>
    public static void Settle()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
    }
}
