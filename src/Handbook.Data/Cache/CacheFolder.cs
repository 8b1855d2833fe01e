using System.Text;
using Handbook.Base.Files;
using Handbook.Data.Sources;

namespace Handbook.Data.Cache;

/// <summary>Where tokenised rows, scores and quantised weights are kept between runs, and the hashes of the files that they came
/// from.</summary>
public sealed class CacheFolder(string path)
{
    private readonly FileHashes _hashes = path == FileHashes.DefaultFolder ? FileHashes.Default : new(path);

    /// <summary>Full path of the folder.</summary>
    public string Path { get; } = System.IO.Path.GetFullPath(path);

    /// <summary><c>HANDBOOK_CACHE</c>, or <c>.cache/handbook</c> in the user's home.</summary>
    public static CacheFolder Default { get; } = new(FileHashes.DefaultFolder);

    internal string ReferenceOf(string key) => System.IO.Path.Combine(Path, "reference", key + ".scores");

    internal string QuantisedOf(string key) => System.IO.Path.Combine(Path, "quantised", key + ".safetensors");

    internal string AssembledOf(string key) => System.IO.Path.Combine(Path, "weights", key + ".safetensors");

    internal string TokensOf(string key) => System.IO.Path.Combine(Path, "tokens", key + ".tokens");

    /// <summary>SHA-256 of a file's content; computed again only when its path, size or time has changed.</summary>
    public string HashOf(string file) => _hashes.Of(file);

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
        FileHashes.Note(record, Encoding.ASCII.GetBytes(count.ToString()));
        return count;
    }

    internal static string Hash(ReadOnlySpan<byte> bytes) => FileHashes.OfBytes(bytes);
}
