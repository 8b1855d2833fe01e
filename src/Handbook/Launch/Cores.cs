using System.Globalization;

namespace Handbook.Launch;

/// <summary>The processor's cores that this process may run on.</summary>
internal static class Cores
{
    /// <summary>Their numbers; on a cluster not those from 0. Null where the system does not say, or where fewer may be used than are
    /// allowed.</summary>
    public static IReadOnlyList<int>? Allowed()
    {
        const string status = "/proc/self/status", name = "Cpus_allowed_list:";
        if (!File.Exists(status)
            || File.ReadLines(status).FirstOrDefault(line => line.StartsWith(name, StringComparison.Ordinal)) is not { } line)
            return null;
        var cores = Parse(line[name.Length..].Trim());
        return cores.Count == Environment.ProcessorCount ? cores : null;
    }

    /// <summary>The numbers of a list such as <c>0-3,8,10-11</c>.</summary>
    public static IReadOnlyList<int> Parse(string list) =>
        [.. list.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(part => part.Split('-')).SelectMany(ends =>
        {
            var (first, last) = (int.Parse(ends[0], CultureInfo.InvariantCulture), int.Parse(ends[^1], CultureInfo.InvariantCulture));
            return Enumerable.Range(first, last - first + 1);
        })];
}
