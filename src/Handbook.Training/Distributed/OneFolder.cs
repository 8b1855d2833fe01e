using System.Diagnostics;
using System.Text;
using Handbook.Base;
using Handbook.Base.Files;

namespace Handbook.Training.Distributed;

/// <summary>Requires that all processes mean the same folder, where each of them writes its part.</summary>
internal static class OneFolder
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10);      // for disks of a network that say late what is there

    /// <summary>The first writes a file, which the others have to see, and each tries to write. All call it; nothing is left.</summary>
    /// <param name="outputDir">Exists for the first.</param>
    /// <param name="why">Why each has to see it.</param>
    /// <param name="otherwise">What else the user may do; empty for nothing.</param>
    /// <param name="key">What names the folder, for the message.</param>
    /// <exception cref="InputException">One of them sees another folder, or cannot write there; on all processes.</exception>
    public static void Require(Workers workers, string outputDir, string why, string otherwise = "", string key = "output_dir")
    {
        if (workers.Count == 1)
            return;
        var mine = Path.Combine(outputDir, $".handbook-{Guid.NewGuid():N}");
        var name = workers.First(() =>
        {
            Disk.Real.Create(mine).Dispose();
            return Path.GetFileName(mine);
        });
        var problem = workers.IsFirst ? "" : Problem(outputDir, name);
        var said = workers.Gather(Encoding.UTF8.GetBytes(problem)).Select(Encoding.UTF8.GetString).ToArray();
        if (workers.IsFirst)
            File.Delete(mine);
        if (Array.FindIndex(said, each => each.Length > 0) is >= 0 and var rank)
            throw new InputException($"{key}: rank {rank} {said[rank]}",
                why: why, fix: $"name a folder on a disk that all hosts share, at the same path{otherwise}");
    }

    /// <summary>Whether a file of another process is there, with so many bytes.</summary>
    public static bool Sees(string path, long? size = null)
    {
        for (var waited = Stopwatch.StartNew(); ; Thread.Sleep(50))
        {
            if (new FileInfo(path) is { Exists: true } file && (size is null || file.Length == size))
                return true;
            if (waited.Elapsed > s_patience)
                return false;
        }
    }

    private static string Problem(string outputDir, string firsts)
    {
        if (!Sees(Path.Combine(outputDir, firsts)))
            return $"on {Environment.MachineName} has another folder at {outputDir} than rank 0";
        try
        {
            RunFolder.RequireFolder(outputDir);
            return "";
        }
        catch (InputException problem)
        {
            return $"on {Environment.MachineName} cannot write there: {problem.What}";
        }
    }
}
