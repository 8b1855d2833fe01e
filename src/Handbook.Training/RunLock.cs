using System.Runtime.InteropServices;
using Handbook.Base;
using Handbook.Base.Files;
using Microsoft.Win32.SafeHandles;

namespace Handbook.Training;

/// <summary>Keeps a second run out of a run folder. The system frees the lock however the process ends.</summary>
internal sealed partial class RunLock : IDisposable
{
    /// <summary>Names the process that holds the folder, and what it was started with; gone when it ends.</summary>
    public const string FileName = "run.lock";

    private const int WouldBlock = 11;      // EWOULDBLOCK; .NET keeps the system's number

    private const int ReadOnlyCloseOnExec = 0x80000;

    private readonly string _outputDir;
    private readonly string _name;
    private FileStream? _file;
    private bool _isNew;

    private readonly string? _commandLine;

    private RunLock(string outputDir, string lockFile, string name, string? commandLine) =>
        (_outputDir, LockFile, _name, _commandLine) = (outputDir, lockFile, name, commandLine);

    private string LockFile { get; }

    /// <summary>Locks the folder where it exists; otherwise <see cref="Hold"/> does, so that a run that cannot begin leaves nothing
    /// behind.</summary>
    /// <param name="outputDir">The folder.</param>
    /// <param name="commandLine">What the user typed, for whoever finds the folder in use; null where no command began the run.</param>
    /// <param name="key">What names it, for the message.</param>
    /// <exception cref="InputException">Another run holds it.</exception>
    public static RunLock Take(string outputDir, string? commandLine = null, string key = "output_dir")
    {
        var folder = Path.GetFullPath(outputDir);
        if (File.Exists(folder))
            throw new InputException($"{key} {outputDir} is a file, not a folder", fix: "name a folder, which may be new");
        return new RunLock(folder, Path.Combine(folder, FileName), $"{key} {folder}", commandLine).LockExisting();
    }

    /// <summary>Locks a single file that is being written, by a file <c>….lock</c> beside it; where its folder is still to be made, nobody
    /// writes there.</summary>
    /// <param name="path">The file.</param>
    /// <param name="commandLine">What the user typed, for whoever finds the folder in use; null where no command began the run.</param>
    /// <param name="key">What names it, for the message.</param>
    /// <exception cref="InputException">Another run holds it.</exception>
    public static RunLock TakeFile(string path, string key, string? commandLine = null)
    {
        path = Path.GetFullPath(path);
        return new RunLock(Path.GetDirectoryName(path)!, path + ".lock", $"{key} {path}", commandLine).LockExisting();
    }

    private RunLock LockExisting()
    {
        if (Directory.Exists(_outputDir))
            Lock();
        return this;
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
            throw new InputException($"{_name}: another run has begun there while this one was reading its data",
                fix: "choose another folder, or start again to go on from where it stopped");
        }
    }

    private void Lock()
    {
        var mark = $"{Environment.ProcessId} "
            + $"on {Environment.MachineName}{(_commandLine is null ? "" : $": handbook {_commandLine}")}\n{Guid.NewGuid():N}\n";
        try
        {
            _isNew = !Directory.Exists(_outputDir);
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
            throw new InputException($"{_name} is in use by another run: process {Read()?.Split('\n')[0] ?? "unknown"}",
                why: "two runs would overwrite each other's files",
                fix: $"wait for it, stop it, or choose another {_name[.._name.IndexOf(' ')]}", inner: taken);
        }
        catch (Exception error) when (Disk.Explain(error, _name) is { } explained)
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

    /// <summary>Who holds a run folder: <c>process on machine: what it was started with</c>; null where nobody does.</summary>
    /// <remarks>Read without a lock, which could keep out a run that begins at this moment. Of another machine it is believed what stands
    /// there: whether its process still lives cannot be seen from here.</remarks>
    public static string? Holder(string outputDir)
    {
        var mark = new RunLock(outputDir, Path.Combine(outputDir, FileName), outputDir, null).Read()?.Split('\n')[0];
        if (mark is null || mark.Split(' ') is not [var process, "on", var machine, ..] || !int.TryParse(process, out var id))
            return null;
        return machine.TrimEnd(':') != Environment.MachineName || Lives(id) ? mark : null;
    }

    private static bool Lives(int process)
    {
        try
        {
            using var found = System.Diagnostics.Process.GetProcessById(process);
            return !found.HasExited;
        }
        catch (ArgumentException)
        {
            return false;
        }
    }

    /// <summary>Frees the folder, and removes one that was made for the lock and got nothing else.</summary>
    public void Dispose()
    {
        if (_file is null)
            return;
        File.Delete(LockFile);      // still locked: whoever waits for it sees that it is gone
        try
        {
            if (_isNew && !Directory.EnumerateFileSystemEntries(_outputDir).Any())
                Directory.Delete(_outputDir);
        }
        catch (IOException)
        {
            // Somebody has just put something there.
        }
        _file.Dispose();
        _file = null;
    }
}
