using Handbook.Base;
using Microsoft.Win32.SafeHandles;

namespace Handbook.Hub;

/// <summary>A file that is to be published. It is open from the beginning, so that it can be sent when its name is long gone.</summary>
internal sealed class UploadFile : IDisposable
{
    private const int Sample = 512;

    private UploadFile(string path, SafeFileHandle handle) => (Path, Handle, Size) = (path, handle, RandomAccess.GetLength(handle));

    /// <summary>Its path in the repository.</summary>
    public string Path { get; }

    public long Size { get; }

    public SafeFileHandle Handle { get; }

    /// <summary>SHA-256 of the content, where somebody knows it already; null where it has to be computed.</summary>
    public string? Sha256 { get; init; }

    /// <param name="file">The file on this machine.</param>
    /// <param name="path">Its path in the repository.</param>
    public static UploadFile Open(string file, string path, string? sha256 = null) => HubFile.IsSafe(path)
        ? new(path, File.OpenHandle(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete)) { Sha256 = sha256 }
        : throw new InputException($"{path} can be no name in a repository", fix: "rename the file, or leave it out with --exclude");

    /// <summary>Opens several; where one cannot be opened, none stays open.</summary>
    /// <param name="files">Each on this machine, in the repository, and its SHA-256 where somebody knows it.</param>
    public static IReadOnlyList<UploadFile> OpenAll(IEnumerable<(string File, string Path, string? Sha256)> files)
    {
        var open = new List<UploadFile>();
        try
        {
            foreach (var (file, path, sha256) in files)
                open.Add(Open(file, path, sha256));
            return open;
        }
        catch
        {
            open.ForEach(file => file.Dispose());
            throw;
        }
    }

    /// <summary>The first bytes, by which the hub decides how the file is kept.</summary>
    public string Beginning()
    {
        var bytes = new byte[Math.Min(Sample, Size)];
        return Convert.ToBase64String(bytes.AsSpan(0, RandomAccess.Read(Handle, bytes, 0)));
    }

    /// <summary>The whole content of a small file.</summary>
    public string Base64()
    {
        var bytes = new byte[Size];
        for (var read = 0; read < bytes.Length;)
            read += RandomAccess.Read(Handle, bytes.AsSpan(read), read) is > 0 and var more ? more
                : throw new InputException($"{Path} was cut while it was being sent", fix: "try again when nobody writes it");
        return Convert.ToBase64String(bytes);
    }

    /// <summary>The hash by which the hub knows the content.</summary>
    /// <param name="isLarge">Whether it is kept as a large file.</param>
    public async Task<string> Hash(bool isLarge, CancellationToken cancel) =>
        isLarge && Sha256 is not null ? Sha256 : await ContentHash.Of(Handle, isLarge, cancel).ConfigureAwait(false);

    public void Dispose() => Handle.Dispose();
}

/// <summary>A file that takes part in a commit.</summary>
/// <param name="File">The file.</param>
/// <param name="Path">Its path in the repository.</param>
/// <param name="IsLarge">Whether it is kept as a large file, by its content's address.</param>
/// <param name="Hash">The hash by which the hub knows the content.</param>
internal sealed record UploadItem(UploadFile File, string Path, bool IsLarge, string Hash);
