using System.Security.Cryptography;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Handbook.Hub;

/// <summary>The hashes by which the hub knows content: of large files SHA-256 of their bytes, of others git's own, SHA-1 of a line with the
/// size and the bytes.</summary>
internal static class ContentHash
{
    private const int LargeLength = 64;
    private const int GitLength = 40;

    /// <summary>Whether a name of content is one of a large file.</summary>
    public static bool IsLarge(string hash) => hash.Length == LargeLength;

    /// <summary>Whether a name of content says anything about its bytes.</summary>
    public static bool IsKnown(string hash) => hash.Length is LargeLength or GitLength && hash.All(char.IsAsciiHexDigitLower);

    /// <summary>The hash of an open file.</summary>
    /// <param name="isLarge">Whether it is kept as a large file.</param>
    public static async Task<string> Of(SafeFileHandle file, bool isLarge, CancellationToken cancel)
    {
#pragma warning disable CA5350 // git names content so; nothing that is secret or signed depends on it
        using var hash = IncrementalHash.CreateHash(isLarge ? HashAlgorithmName.SHA256 : HashAlgorithmName.SHA1);
#pragma warning restore CA5350
        var size = RandomAccess.GetLength(file);
        if (!isLarge)
            hash.AppendData(Encoding.ASCII.GetBytes($"blob {size}\0"));
        var buffer = new byte[1 << 18];
        for (long done = 0; await RandomAccess.ReadAsync(file, buffer, done, cancel).ConfigureAwait(false) is > 0 and var read;
            done += read)
            hash.AppendData(buffer.AsSpan(0, read));
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    /// <summary>What differs between a file and what the hub announced; null where nothing does.</summary>
    public static async Task<string?> Difference(string path, HubFile announced, CancellationToken cancel)
    {
        using var file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.Read, FileOptions.SequentialScan);
        if (RandomAccess.GetLength(file) is var size && size != announced.Size)
            return $"it has {size:N0} bytes instead of {announced.Size:N0}";
        if (!IsKnown(announced.Etag))
            return null;
        var hash = await Of(file, IsLarge(announced.Etag), cancel).ConfigureAwait(false);
        return hash == announced.Etag ? null : $"its hash is {hash} instead of {announced.Etag}";
    }
}
