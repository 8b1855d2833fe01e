namespace Handbook.Base.Files;

/// <summary>Files that are there whole or not at all: written beside their place, flushed to disk, then renamed.</summary>
internal static class WholeFile
{
    /// <summary>The name a file has while it is being written.</summary>
    public static string Unfinished(string path) =>
        Path.Combine(Path.GetDirectoryName(path)!, $".{Path.GetFileName(path)}.{Environment.ProcessId}.tmp");

    public static void Write(string path, ReadOnlySpan<byte> bytes)
    {
        var unfinished = Unfinished(path);
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            using (var stream = new FileStream(unfinished, FileMode.Create, FileAccess.Write, FileShare.None))
            {
                stream.Write(bytes);
                stream.Flush(flushToDisk: true);
            }
            File.Move(unfinished, path, overwrite: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Forget(unfinished);
            throw CannotWrite(path, e);
        }
    }

    /// <summary>Removes what was left of a failed attempt; never hides the failure itself.</summary>
    public static void Forget(string unfinished)
    {
        try
        {
            File.Delete(unfinished);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
        }
    }

    public static InputException CannotWrite(string path, Exception e) =>
        new($"{path} cannot be written: {e.Message}", why: "nothing that was there before has been changed",
            fix: "check free space (df -h) and permissions (ls -ld) of the folder, or choose another one", inner: e);
}
