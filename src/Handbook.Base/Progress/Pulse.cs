namespace Handbook.Base.Progress;

/// <summary>Signs that this process does something: whoever watches it tells computing from standing still by them.</summary>
/// <remarks>Every operator and kernel beats when it begins and when it ends; so do messages between processes, files that are written, and
/// work that is counted. Any thread may call.</remarks>
internal static class Pulse
{
    private static long s_beats;
    private static int s_working;
    private static volatile string? s_waitsFor;

    /// <summary>How many signs there were so far.</summary>
    public static long Beats => Interlocked.Read(ref s_beats);

    /// <summary>Whether an operator or a kernel is under way, which may take its time.</summary>
    public static bool IsWorking => Volatile.Read(ref s_working) > 0;

    /// <summary>What of other processes this one stands still for; null where it does not.</summary>
    public static string? WaitsFor => s_waitsFor;

    /// <summary>Gives a sign.</summary>
    public static void Beat() => Interlocked.Increment(ref s_beats);

    /// <summary>An operator or a kernel begins; <see cref="End"/> follows in any case.</summary>
    public static void Begin()
    {
        Interlocked.Increment(ref s_working);
        Beat();
    }

    /// <summary>It ended.</summary>
    public static void End()
    {
        Interlocked.Decrement(ref s_working);
        Beat();
    }

    /// <summary>Waits for other processes, on the one thread of this process that computes.</summary>
    /// <param name="what">What of theirs, for a message.</param>
    public static void WaitFor(string what, Action wait)
    {
        s_waitsFor = what;
        try
        {
            wait();
        }
        finally
        {
            s_waitsFor = null;
        }
    }
}
