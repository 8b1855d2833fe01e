using System.Diagnostics;
using System.Text;
using Handbook.Base;
using Handbook.Base.Files;

namespace Handbook.Training.Distributed;

/// <summary>Requires that all processes mean the same folder, where each of them writes its part.</summary>
internal static class OneFolder
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10);      // for disks of a network that say late what is there

    /// <summary>The first writes a file, which the others have to see, and each writes one of its own. All call it; nothing is left.</summary>
    /// <param name="outputDir">Exists for the first.</param>
    /// <exception cref="InputException">One of them sees another folder, or cannot write there; on all processes.</exception>
    public static void Require(Workers workers, string outputDir)
    {
        var mine = Path.Combine(outputDir, $".handbook-{Guid.NewGuid():N}");
        if (workers.IsFirst)
            Touch(mine);
        var name = Path.GetFileName(Encoding.UTF8.GetString(workers.Gather(Encoding.UTF8.GetBytes(mine))[0]));
        var problem = workers.IsFirst ? "" : Problem(Path.Combine(outputDir, name), mine);
        var said = workers.Gather(Encoding.UTF8.GetBytes(problem)).Select(Encoding.UTF8.GetString).ToArray();
        if (workers.IsFirst)
            File.Delete(mine);
        if (Array.FindIndex(said, each => each.Length > 0) is >= 0 and var rank)
            throw new InputException($"output_dir: rank {rank} {said[rank]}",
                why: "with zero_stage each process writes its own part of a checkpoint there",
                fix: "name a folder on a disk that all hosts share, at the same path, or set zero_stage: 0, where the first process writes all");
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

    private static string Problem(string firsts, string own)
    {
        try
        {
            if (!Sees(firsts))
                return $"on {Environment.MachineName} has another folder at {Path.GetDirectoryName(own)} than rank 0";
            Touch(own);
            File.Delete(own);
            return "";
        }
        catch (Exception failure) when (Disk.Explain(failure, own) is { } explained)
        {
            return $"on {Environment.MachineName} cannot write there: {explained.What}";
        }
    }

    private static void Touch(string path)
    {
        using var stream = Disk.Real.Create(path);
        stream.WriteByte(0);
    }
}
