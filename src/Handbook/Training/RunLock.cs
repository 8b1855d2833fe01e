using System.Runtime.InteropServices;
using Handbook.Training.Checkpoints;
using Microsoft.Win32.SafeHandles;

namespace Handbook.Training;

/// <summary>Keeps a second run out of a run folder. The system frees the lock however the process ends.</summary>
public sealed partial class RunLock : IDisposable
{
    /// <summary>Names the process that holds the folder, and what it was started with; gone when it ends.</summary>
    public const string FileName = "run.lock";

    private const int WouldBlock = 11;      // EWOULDBLOCK; .NET keeps the system's number

    private const int ReadOnlyCloseOnExec = 0x80000;

    private readonly string _outputDir;
    private FileStream? _file;

    private RunLock(string outputDir) => _outputDir = outputDir;

    private string LockFile => Path.Combine(_outputDir, FileName);

    /// <summary>Locks the folder where it exists; otherwise <see cref="Hold"/> does, so that a run that cannot begin leaves nothing behind.</summary>
    /// <exception cref="InputException">Another run holds it.</exception>
    public static RunLock Take(string outputDir)
    {
        var taken = new RunLock(Path.GetFullPath(outputDir));
        if (Directory.Exists(taken._outputDir))
            taken.Lock();
        return taken;
    }

    /// <summary>Makes the folder and locks it, where <see cref="Take"/> did not.</summary>
    /// <exception cref="InputException">Another run has come first.</exception>
    public void Hold()
    {
        if (_file is not null)
            return;
        Lock();
        if (File.Exists(Path.Combine(_outputDir, RunInfo.FileName)))
        {
            Dispose();
            throw new InputException($"output_dir {_outputDir}: another run has begun there while this one was reading its data", fix: "choose another output_dir, or start again to go on from where it stopped");
        }
    }

    private void Lock()
    {
        var mark = $"{Environment.ProcessId} on {Environment.MachineName}: handbook {string.Join(' ', Environment.GetCommandLineArgs().Skip(1))}\n{Guid.NewGuid():N}\n";
        try
        {
            Directory.CreateDirectory(_outputDir);
            while (_file is null)
            {
                var file = new FileStream(LockFile, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
                file.SetLength(0);
                file.Write(System.Text.Encoding.UTF8.GetBytes(mark));
                file.Flush();
                // The holder before may have removed the file after it was opened here: then the lock is one on a file that nobody finds.
                if (Read() == mark)
                    _file = file;
                else
                    file.Dispose();
            }
        }
        catch (IOException taken) when (taken.HResult == WouldBlock)
        {
            throw new InputException($"output_dir {_outputDir} is in use by another run: process {Read()?.Split('\n')[0] ?? "unknown"}",
                why: "two runs in one folder would overwrite each other's checkpoints and metrics",
                fix: "wait for it, stop it, or choose another output_dir", inner: taken);
        }
        catch (Exception error) when (Disk.Explain(error, $"output_dir {_outputDir}") is { } explained)
        {
            throw explained;
        }
    }

    // Opened by the system itself: .NET locks every file that it opens, which the holder's lock refuses.
    private string? Read()
    {
        using var handle = new SafeFileHandle(Open(LockFile, ReadOnlyCloseOnExec), ownsHandle: true);
        if (handle.IsInvalid)
            return null;
        var bytes = new byte[1 << 16];
        var count = RandomAccess.Read(handle, bytes, 0);
        return count == 0 ? null : System.Text.Encoding.UTF8.GetString(bytes, 0, count);
    }

    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    public void Dispose()
    {
        if (_file is null)
            return;
        File.Delete(LockFile);      // still locked: whoever waits for it sees that it is gone
        _file.Dispose();
        _file = null;
    }
}
