using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Data.Sources;

namespace Handbook.Data.Cache;

/// <summary>Where tokenised rows, scores and quantised weights are kept between runs, and the hashes of the files that they came
/// from.</summary>
public sealed class CacheFolder(string path)
{
    private readonly ConcurrentDictionary<string, string> _young = new();

    /// <summary>Full path of the folder.</summary>
    public string Path { get; } = System.IO.Path.GetFullPath(path);

    /// <summary><c>HANDBOOK_CACHE</c>, or <c>.cache/handbook</c> in the user's home.</summary>
    public static CacheFolder Default { get; } = new(Environment.GetEnvironmentVariable("HANDBOOK_CACHE") is { Length: > 0 } named
        ? named
        : System.IO.Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache", "handbook"));

    internal string ReferenceOf(string key) => System.IO.Path.Combine(Path, "reference", key + ".scores");

    internal string QuantisedOf(string key) => System.IO.Path.Combine(Path, "quantised", key + ".safetensors");

    internal string TokensOf(string key) => System.IO.Path.Combine(Path, "tokens", key + ".tokens");

    /// <summary>SHA-256 of a file's content; computed again only when its path, size or time has changed.</summary>
    public string HashOf(string file)
    {
        var info = new FileInfo(file);
        var stamp = $"{info.FullName}\n{info.Length}\n{info.LastWriteTimeUtc.Ticks}";
        var record = System.IO.Path.Combine(Path, "hashes", Hash(Encoding.UTF8.GetBytes(info.FullName)) + ".json");
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
        // most, which
        // counts for what is kept, and some milliseconds on those in use, which counts for this process.
        if (age > TimeSpan.FromSeconds(2))
            Note(record, JsonSerializer.SerializeToUtf8Bytes(new[] { stamp, computed }));
        else if (age > TimeSpan.FromMilliseconds(50))
            _young[stamp] = computed;
        return computed;
    }

    /// <summary>A hash of what a source's files hold, whatever they are called; computed again only where they have changed.</summary>
    public string ContentOf(IRowSource source) => Hash(Encoding.UTF8.GetBytes(string.Join('\n', source.Files.Select(HashOf))));

    /// <summary>Number of rows of a source, usable or not; counted once for the same files.</summary>
    public long CountOf(IRowSource source)
    {
        var identity = source.Identity + string.Concat(source.Files.Select(file => "\n" + HashOf(file)));
        var record = System.IO.Path.Combine(Path, "counts", Hash(Encoding.UTF8.GetBytes(identity)) + ".txt");
        if (File.Exists(record) && long.TryParse(File.ReadAllText(record), out var known))
            return known;
        var count = source.Read().LongCount();
        Note(record, Encoding.ASCII.GetBytes(count.ToString()));
        return count;
    }

    // A note that cannot be kept is only a lost saving; where rows cannot be kept either, their message says so.
    private static void Note(string record, byte[] content)
    {
        try
        {
            WholeFile.WriteBytes(record, content, durable: false);
        }
        catch (Exception failure) when (failure is InputException or IOException or UnauthorizedAccessException)
        {
        }
    }

    internal static string Hash(ReadOnlySpan<byte> bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));
}
