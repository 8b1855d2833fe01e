namespace Handbook.Training.Sampling.Scorers;

/// <summary>A temporary folder of one sandboxed command; gone after it, or at the next start where its process was killed.</summary>
internal sealed class SandboxFolder : IDisposable
{
    private const string Prefix = "handbook-code-", LockName = "lock";

    /// <summary>A folder without a lock is being made, or older than locks are; only after this time it is nobody's.</summary>
    private static readonly TimeSpan s_unlocked = TimeSpan.FromHours(1);

    private readonly FileStream _lock;

    public SandboxFolder()
    {
        Path = Directory.CreateTempSubdirectory(Prefix).FullName;
        _lock = new FileStream(this[LockName], FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None);
    }

    public string Path { get; }

    public string this[string name] => System.IO.Path.Combine(Path, name);

    /// <summary>Removes the folders of processes that are no more: the system drops a process's locks when it ends.</summary>
    public static void Sweep()
    {
        foreach (var folder in Directory.GetDirectories(System.IO.Path.GetTempPath(), Prefix + "*"))
        {
            try
            {
                var path = System.IO.Path.Combine(folder, LockName);
                if (!File.Exists(path) && DateTime.UtcNow - Directory.GetLastWriteTimeUtc(folder) < s_unlocked)
                    continue;
                using var held = File.Exists(path) ? new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None) : null;
                Directory.Delete(folder, recursive: true);
            }
            catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
            {
                // in use, somebody else's, or removed by another in this moment
            }
        }
    }

    public void Dispose()
    {
        Directory.Delete(Path, recursive: true);
        _lock.Dispose();
    }
}
