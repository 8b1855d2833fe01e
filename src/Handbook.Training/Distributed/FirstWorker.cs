using System.Text;

namespace Handbook.Training.Distributed;

/// <summary>What the first of the workers does for all of them: writing, and judging what only it may look at.</summary>
internal static class FirstWorker
{
    /// <summary>Does something in the first worker; the others wait until it is done.</summary>
    public static void First(this Workers workers, Action work) => workers.First(() =>
    {
        work();
        return "";
    });

    /// <summary>Finds out in the first worker whether something is so.</summary>
    public static bool First(this Workers workers, Func<bool> work) => workers.First(() => work() ? "yes" : "") == "yes";

    /// <summary>Finds out something in the first worker; all hear it.</summary>
    public static string First(this Workers workers, Func<string> work)
    {
        var found = workers.IsFirst ? work() : "";
        return workers.Count == 1 ? found : Encoding.UTF8.GetString(workers.Gather(Encoding.UTF8.GetBytes(found))[0]);
    }
}
