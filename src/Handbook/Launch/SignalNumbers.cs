using System.Runtime.InteropServices;

namespace Handbook.Launch;

/// <summary>Signals that .NET has no name for.</summary>
internal static partial class SignalNumbers
{
    /// <summary>SIGUSR1, which clusters send before they take a machine away; null on other systems.</summary>
    public static int? User1 => OperatingSystem.IsLinux() ? 10 : OperatingSystem.IsMacOS() ? 30 : null;

    /// <summary>Sends a signal to a process.</summary>
    public static void Send(int process, int signal) => _ = Kill(process, signal);

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int process, int signal);
}
