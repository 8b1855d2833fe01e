using System.Runtime.InteropServices;

namespace Handbook.Base.Files;

/// <summary>The few operations that make a file durable, in one place, so that a test can fail each of them.</summary>
internal partial class Disk
{
    /// <summary>The real one.</summary>
    public static Disk Real { get; } = new();

    /// <summary>Opens a new file for writing; its folder is made where it is missing.</summary>
    public virtual Stream Create(string path)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        return new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.Read, 1 << 16);
    }

    /// <summary>Returns when the file's bytes are on the medium.</summary>
    public virtual void FlushFile(string path)
    {
        if (!Sync(path))
            throw new IOException($"{path}: flushing to disk failed: {Marshal.GetLastPInvokeErrorMessage()}",
                Marshal.GetLastPInvokeError());
    }

    /// <summary>Returns when the folder's list of names is on the medium: without it a rename may be lost in a power cut.</summary>
    /// <remarks>A file system that cannot flush a folder has nothing to flush, so a refusal is not an error.</remarks>
    public virtual void FlushFolder(string path) => Sync(path);

    // Opened for reading only: a copied file may be read-only, and fsync asks for no more.
    private static bool Sync(string path)
    {
        var descriptor = Open(path, OpenReadOnly);
        if (descriptor < 0)
            return false;
        var result = FSync(descriptor);
        var error = Marshal.GetLastPInvokeError();
        _ = Close(descriptor);
        Marshal.SetLastPInvokeError(error);
        return result == 0;
    }

    public virtual void CreateFolder(string path) => Directory.CreateDirectory(path);

    public virtual void MoveFolder(string from, string to) => Directory.Move(from, to);

    public virtual void MoveFile(string from, string to) => File.Move(from, to, overwrite: true);

    public virtual void DeleteFolder(string path) => Directory.Delete(path, recursive: true);

    public virtual void DeleteFile(string path) => File.Delete(path);

    /// <summary>Bytes that this user may still write on the file system of a folder; null where it does not say.</summary>
    public virtual long? FreeBytes(string folder)
    {
        try
        {
            return new DriveInfo(Path.GetFullPath(folder)).AvailableFreeSpace;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return null;
        }
    }

    /// <summary>What the user can do about a failed write; null where the failure is not of that kind.</summary>
    /// <param name="error">What the system said.</param>
    /// <param name="what">What was being written, e.g. <c>runs/a/checkpoint-50</c>.</param>
    /// <param name="elsewhere">What names another place for it.</param>
    public static InputException? Explain(Exception error, string what, string elsewhere = "choose another output_dir") => error switch
    {
        InputException => null,
        IOException when FileProblem.IsDiskFull(error) => new InputException(
            $"{what}: the disk is full; nothing of it was kept",
            "what was saved before is untouched",
            "free some space and run the same command again: it continues from the last checkpoint", error),
        IOException { HResult: ReadOnlyFileSystem } => new InputException(
            $"{what}: the file system is read-only", fix: elsewhere, inner: error),
        UnauthorizedAccessException => new InputException(
            $"{what}: no permission to write there", fix: $"{elsewhere}, or change the folder's owner or mode", inner: error),
        DirectoryNotFoundException or FileNotFoundException or PathTooLongException => new InputException(
            $"{what}: cannot be written: {error.Message}", fix: elsewhere, inner: error),
        _ => null,
    };

    private const int OpenReadOnly = 0;
    private const int ReadOnlyFileSystem = 30;  // EROFS

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int FSync(int descriptor);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int descriptor);
}
