using System.Security.Cryptography;
using System.Text;

#pragma warning disable CA5350 // git names content by SHA-1; nothing that is secret depends on it

namespace Handbook.Testing.Hub;

/// <summary>A repository of the stand-in: commits, each with all its files, and the branches that name them.</summary>
internal sealed class StandInRepository
{
    private readonly Dictionary<string, SortedDictionary<string, byte[]>> _commits = [];

    public StandInRepository(string kind, string id)
    {
        (Kind, Id) = (kind, id);
        Refs["main"] = Add([]);
    }

    /// <summary><c>models</c> or <c>datasets</c>.</summary>
    public string Kind { get; }

    public string Id { get; }

    /// <summary>Its conditions have to be accepted first.</summary>
    public bool IsGated { get; init; }

    public bool IsPrivate { get; set; }

    public Dictionary<string, string> Refs { get; } = [];

    /// <summary>What each commit was called, in their order.</summary>
    public List<(string Commit, string Branch, string Summary)> Log { get; } = [];

    /// <summary>The commit that a revision is; null where there is none.</summary>
    public string? Commit(string revision) => Refs.GetValueOrDefault(revision) ?? (_commits.ContainsKey(revision) ? revision : null);

    /// <summary>The files of a revision.</summary>
    public SortedDictionary<string, byte[]> Files(string revision = "main") => _commits[Commit(revision)!];

    /// <summary>A new commit with all these files.</summary>
    public string Add(SortedDictionary<string, byte[]> files)
    {
        var commit = Hex(SHA1.HashData(Encoding.UTF8.GetBytes($"{Kind} {Id} {_commits.Count} "
            + string.Join(' ', files.Select(file => $"{file.Key} {GitHash(file.Value)}")))));
        _commits[commit] = files;
        return commit;
    }

    /// <summary>A commit on a branch that adds or replaces files, and removes others.</summary>
    public string Change(string branch, IReadOnlyDictionary<string, byte[]> files, IEnumerable<string> removed, string summary)
    {
        var all = new SortedDictionary<string, byte[]>(Files(branch), StringComparer.Ordinal);
        foreach (var path in removed)
            all.Remove(path);
        foreach (var (path, bytes) in files)
            all[path] = bytes;
        Refs[branch] = Add(all);
        Log.Add((Refs[branch], branch, summary));
        return Refs[branch];
    }

    /// <summary>Whether a file is kept as a large one.</summary>
    public static bool IsLarge(string path, long size) => size > 10_000_000
        || Path.GetExtension(path) is ".safetensors" or ".bin" or ".parquet" or ".arrow";

    public static string GitHash(byte[] bytes) => Hex(SHA1.HashData([.. Encoding.ASCII.GetBytes($"blob {bytes.Length}\0"), .. bytes]));

    public static string LargeHash(byte[] bytes) => Hex(SHA256.HashData(bytes));

    private static string Hex(byte[] hash) => Convert.ToHexStringLower(hash);
}
