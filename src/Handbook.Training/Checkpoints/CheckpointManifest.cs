using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;
using Handbook.Base;

namespace Handbook.Training.Checkpoints;

/// <summary>One file of a checkpoint: its path below the folder with forward slashes, its size and its SHA-256 in hex.</summary>
internal sealed record ManifestFile(string Path, long Size, string Sha256);

/// <summary>What a whole checkpoint consists of. It is written last; a folder without it, or that differs from it,
/// is not a checkpoint.</summary>
internal sealed record CheckpointManifest(int Format, int Step, IReadOnlyList<ManifestFile> Files)
{
    public const string FileName = "manifest.json";
    public const int CurrentFormat = 1;

    private static readonly JsonSerializerOptions Json = new()
    {
        WriteIndented = true,
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Skip,
    };

    /// <summary>Describes all files below a folder, sorted by path.</summary>
    /// <param name="known">Those that others have described.</param>
    internal static CheckpointManifest Of(string folder, int step, params IReadOnlyList<ManifestFile> known) => new(CurrentFormat, step,
        [.. Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
            .Select(file => System.IO.Path.GetRelativePath(folder, file).Replace('\\', '/'))
            .Where(path => path != FileName && known.All(file => file.Path != path))
            .Select(path => Of(folder, path))
            .Concat(known)
            .OrderBy(file => file.Path, StringComparer.Ordinal)]);

    /// <summary>Describes one file.</summary>
    /// <param name="path">Below the folder.</param>
    internal static ManifestFile Of(string folder, string path) =>
        new(path, new FileInfo(System.IO.Path.Combine(folder, path)).Length, Hash(System.IO.Path.Combine(folder, path)));

    internal string ToJson() => JsonSerializer.Serialize(this, Json) + "\n";

    /// <summary>Reads the manifest of a folder; null, with the reason, where there is none that can be read.</summary>
    internal static CheckpointManifest? Read(string folder, out string? problem)
    {
        var path = System.IO.Path.Combine(folder, FileName);
        problem = null;
        try
        {
            var manifest = JsonSerializer.Deserialize<CheckpointManifest>(File.ReadAllBytes(path), Json);
            if (manifest?.Files is null)
                problem = $"{FileName} lists no files";
            else if (manifest.Format != CurrentFormat)
                problem = $"{FileName} has format {manifest.Format}; this version reads {CurrentFormat}";
            return problem is null ? manifest : null;
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            problem = $"it has no {FileName}";
        }
        catch (JsonException)
        {
            problem = $"{FileName} is not readable";
        }
        return null;
    }

    /// <summary>The first difference between the manifest and the folder; null where the checkpoint is whole.</summary>
    /// <param name="folder">The checkpoint's folder.</param>
    /// <param name="hashes">Also read every byte and compare SHA-256; sizes are always compared.</param>
    internal string? Difference(string folder, bool hashes)
    {
        foreach (var file in Files)
        {
            var path = System.IO.Path.Combine(folder, file.Path);
            if (!File.Exists(path))
                return $"{file.Path} is missing";
            var size = new FileInfo(path).Length;
            if (size != file.Size)
                return $"{file.Path} has {size:N0} bytes instead of {file.Size:N0}";
            if (hashes && Hash(path) != file.Sha256)
                return $"{file.Path} has changed since it was saved (its SHA-256 differs)";
        }
        return null;
    }

    /// <summary>SHA-256 of a file, read now.</summary>
    internal static string Hash(string path)
    {
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 20, FileOptions.SequentialScan);
        return Convert.ToHexStringLower(SHA256.HashData(stream));
    }
}
