namespace Handbook.Training;

/// <summary>Memory of this process as the system counts it.</summary>
internal static class ProcessMemory
{
    /// <summary>The most that was resident at once, in bytes; null where the system does not say.</summary>
    public static long? Peak() => Read("VmHWM:");

    /// <summary>What is resident now, in bytes; null where the system does not say.</summary>
    public static long? Resident() => Read("VmRSS:");

    private static long? Read(string name)
    {
        try
        {
            foreach (var line in File.ReadLines("/proc/self/status"))
                if (line.StartsWith(name, StringComparison.Ordinal))
                    return long.Parse(line[name.Length..].Replace("kB", "", StringComparison.Ordinal).Trim()) * 1024;
        }
        catch (IOException)
        {
            return null;        // not Linux
        }
        return null;
    }
}
