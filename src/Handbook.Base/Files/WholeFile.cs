using System.Text;

namespace Handbook.Base.Files;

/// <summary>The one way to write a whole file: under a temporary name beside its place, flushed, renamed, the folder flushed. It is there
/// whole or not at all.</summary>
/// <remarks>Logs that grow line by line, and what is kept half done on purpose (<c>….part</c>), are written in place; <see cref="Publish"/>
/// gives those their name.</remarks>
internal static class WholeFile
{
    private static int s_count;

    /// <summary>Replaces a file by a text, in UTF-8; its folder is made where it is missing.</summary>
    /// <param name="path">The file to replace.</param>
    /// <param name="text">Its new content.</param>
    /// <param name="durable">False for files that may be lost in a power cut, such as plots.</param>
    public static void WriteText(string path, string text, bool durable = true) => WriteBytes(path, Encoding.UTF8.GetBytes(text), durable);

    /// <summary>Replaces a file by bytes; its folder is made where it is missing.</summary>
    /// <inheritdoc cref="WriteText"/>
    public static void WriteBytes(string path, ReadOnlySpan<byte> bytes, bool durable = true)
    {
        var unfinished = Unfinished(path);
        try
        {
            using (var stream = Disk.Real.Create(unfinished))
                stream.Write(bytes);
            Publish(unfinished, path, durable);
        }
        catch (Exception error)
        {
            Forget(unfinished);
            if (Explain(error, path) is { } explained)
                throw explained;
            throw;
        }
    }

    /// <summary>A name beside a file for while it is being written; another one at every call, so that two writers do not meet.</summary>
    internal static string Unfinished(string path)
    {
        path = Path.GetFullPath(path);
        return Path.Combine(Path.GetDirectoryName(path)!,
            $".tmp-{Path.GetFileName(path)}-{Environment.ProcessId}-{Interlocked.Increment(ref s_count)}");
    }

    /// <summary>Gives a file that is whole its name, in place of what had it.</summary>
    /// <param name="unfinished">The file, in the same file system.</param>
    /// <param name="path">Its name from now on.</param>
    /// <param name="durable">False where it may be lost in a power cut.</param>
    internal static void Publish(string unfinished, string path, bool durable = true)
    {
        var disk = Disk.Real;
        if (durable)
            disk.FlushFile(unfinished);
        disk.MoveFile(unfinished, path);
        if (durable)
            disk.FlushFolder(Path.GetDirectoryName(Path.GetFullPath(path))!);
    }

    /// <summary>Removes what was left of a failed attempt; never hides the failure itself.</summary>
    internal static void Forget(string unfinished)
    {
        try
        {
            File.Delete(unfinished);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
        }
    }

    private static string Elsewhere(string path) => Path.GetFullPath(path).StartsWith(HubCache.Root + Path.DirectorySeparatorChar,
        StringComparison.Ordinal) ? "let HF_HOME or HF_HUB_CACHE name a folder that can be written" : "name another place";

    /// <summary>What the user can do about a failed write; null where it is not for the user to mend.</summary>
    internal static InputException? Explain(Exception error, string path) => FileProblem.IsFolderInTheWay(error, path)
        ? new($"{path} is a folder, and a file is to be written there", fix: "name a file in it, or another one", inner: error) : Disk.Explain(error, path, Elsewhere(path))
        ?? (error is IOException or UnauthorizedAccessException
        ? new($"{path} cannot be written: {error.Message}", why: "nothing that was there before has been changed",
            fix: "check free space (df -h) and permissions (ls -ld) of the folder, or choose another one", inner: error) : null);
}
