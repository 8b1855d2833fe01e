using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

namespace Handbook.Base.Files;

/// <summary>SHA-256 of files, kept in the cache folder: computed again only when a file's path, size or time has changed.</summary>
/// <param name="cache">The cache folder.</param>
internal sealed class FileHashes(string cache)
{
    private readonly ConcurrentDictionary<string, string> _young = new();

    /// <summary><c>HANDBOOK_CACHE</c>, or <c>.cache/handbook</c> in the user's home.</summary>
    public static string DefaultFolder { get; } = Environment.GetEnvironmentVariable("HANDBOOK_CACHE") is { Length: > 0 } named
        ? named
        : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache", "handbook");

    /// <summary>Those of the default cache folder.</summary>
    public static FileHashes Default { get; } = new(DefaultFolder);

    /// <summary>SHA-256 of a file's content.</summary>
    public string Of(string file)
    {
        var info = new FileInfo(file);
        var stamp = $"{info.FullName}\n{info.Length}\n{info.LastWriteTimeUtc.Ticks}";
        var record = Path.Combine(cache, "hashes", OfBytes(Encoding.UTF8.GetBytes(info.FullName)) + ".json");
        try
        {
            if (File.Exists(record) && JsonSerializer.Deserialize<string[]>(File.ReadAllBytes(record)) is [var known, var hash]
                && known == stamp)
                return hash;
        }
        catch (JsonException)
        {
            // A damaged record is only a lost saving.
        }
        if (_young.TryGetValue(stamp, out var remembered))
            return remembered;
        var age = DateTime.UtcNow - info.LastWriteTimeUtc;
        using var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 20, FileOptions.SequentialScan);
        var computed = Convert.ToHexStringLower(SHA256.HashData(stream));
        // A file that was written just now may change again under the same time. For how long, the file system decides: two seconds at
        // most, which counts for what is kept, and some milliseconds on those in use, which counts for this process.
        if (age > TimeSpan.FromSeconds(2))
            Note(record, JsonSerializer.SerializeToUtf8Bytes(new[] { stamp, computed }));
        else if (age > TimeSpan.FromMilliseconds(50))
            _young[stamp] = computed;
        return computed;
    }

    /// <summary>SHA-256 of some bytes.</summary>
    public static string OfBytes(ReadOnlySpan<byte> bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));

    /// <summary>Keeps a small file in the cache. One that cannot be kept is only a lost saving.</summary>
    public static void Note(string record, byte[] content)
    {
        try
        {
            WholeFile.WriteBytes(record, content, durable: false);
        }
        catch (Exception failure) when (failure is InputException or IOException or UnauthorizedAccessException)
        {
        }
    }
}
