using System.Runtime.CompilerServices;

namespace Handbook.Testing;

/// <summary>Tests ask no network for anything: those of the hub have a stand-in, and say so.</summary>
internal static class NoNetwork
{
    [ModuleInitializer]
    internal static void Keep() => Environment.SetEnvironmentVariable("HF_HUB_OFFLINE", "1");
}
