namespace Handbook.Base;

/// <summary>What the user can do about a file operation that the system refused.</summary>
internal static class FileProblem
{
    private const int NoSpace = 28;             // ENOSPC; .NET keeps the system's number,
    private const int QuotaExceeded = 122;      // EDQUOT
    private const int DiskFull = unchecked((int)0x80070070);    // or gives Windows' own
    private const int HandleDiskFull = unchecked((int)0x80070027);

    /// <summary>Whether a failure means that there was no room; some operations tell it in their text alone.</summary>
    public static bool IsDiskFull(Exception error) => error is IOException
        && (error.HResult is NoSpace or QuotaExceeded or DiskFull or HandleDiskFull
            || error.Message.Contains("No space left", StringComparison.OrdinalIgnoreCase)
            || error.Message.Contains("disk was full", StringComparison.OrdinalIgnoreCase)
            || error.Message.Contains("not enough space", StringComparison.OrdinalIgnoreCase));

    /// <summary>Whether a failure says that a folder stands where a file was to be opened or written. A folder that may not be read or
    /// written is another matter.</summary>
    public static bool IsFolderInTheWay(Exception error, string path)
    {
        if (!Directory.Exists(path) || error.Message.Contains('\'') && !error.Message.Contains($"'{path}'", StringComparison.Ordinal)
            && !error.Message.Contains($"'{Path.GetFullPath(path)}'", StringComparison.Ordinal))
            return false;
        try
        {
            _ = Directory.EnumerateFileSystemEntries(path).Any();       // throws where it may not be read
            return error is UnauthorizedAccessException
                || error is IOException && error.Message.Contains("Is a directory", StringComparison.OrdinalIgnoreCase);
        }
        catch (UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>The failure as a message; null where it is none of the file system's.</summary>
    public static InputException? Explain(Exception error) => error switch
    {
        InputException => null,
        // A part of the program itself that is missing is no file that a user named.
        FileNotFoundException { FileName: { } name } when name.Contains("Version=", StringComparison.Ordinal) => null,
        FileLoadException => null,
        UnauthorizedAccessException when error.Message.Split('\'') is [_, var folder, _] && IsFolderInTheWay(error, folder) => new InputException(
            $"{folder} is a folder, and a file is wanted", fix: "name a file in it, or another one", inner: error),
        UnauthorizedAccessException => new InputException(error.Message, fix: "check the permissions, or name another place", inner: error),
        IOException when IsDiskFull(error) => new InputException($"the disk is full: {error.Message}", "what was saved before is whole",
            "free some space (df -h shows it) and start the same command again", error),
        FileNotFoundException { FileName: { } link } when Target(link) is { } gone => new InputException(
            $"{link} is a link to {gone}, and nothing is there", "a download was cut short, or what it led to was removed",
            "fetch it again (of the hub's cache: `handbook download`), or remove the link", error),
        FileNotFoundException or DirectoryNotFoundException =>
            new InputException(error.Message, fix: "check the path, or name another place", inner: error),
        IOException => new InputException(error.Message,
            fix: "check the path, its permissions and the disk, or name another place", inner: error),
        _ => null,
    };

    /// <summary>What a path that cannot be opened links to; null for no link.</summary>
    private static string? Target(string path)
    {
        try
        {
            return new FileInfo(path).LinkTarget;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return null;
        }
    }
}
