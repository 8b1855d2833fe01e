namespace Handbook.Base.Files;

/// <summary>Small text files that Git leaves in the place of large ones which were not fetched.</summary>
internal static class FilePointer
{
    private const int LongestPointer = 1024;

    private static ReadOnlySpan<byte> Beginning => "version https://git-lfs.github.com/spec/"u8;

    /// <summary>What to tell whoever expects the file itself; null where it is no pointer, or not there.</summary>
    /// <param name="path">The file.</param>
    /// <param name="name">What the user calls it.</param>
    public static InputException? Problem(string path, string name)
    {
        if (new FileInfo(path) is not { Exists: true, Length: < LongestPointer and > 0 })
            return null;
        Span<byte> head = stackalloc byte[Beginning.Length];
        using var file = File.OpenRead(path);
        return file.ReadAtLeast(head, head.Length, throwOnEndOfStream: false) == head.Length && head.SequenceEqual(Beginning)
            ? new InputException($"{name}: is a pointer of Git LFS, not the file itself",
            "the repository was cloned without its large files",
                $"fetch them in the clone with `git lfs pull`, or download {Path.GetFileName(path)} by itself")
            : null;
    }
}
