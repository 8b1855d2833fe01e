using System.Text.RegularExpressions;
using Handbook.Base;

namespace Handbook.Hub;

/// <summary>A file of a repository, as the hub lists it.</summary>
/// <param name="Path">Below the repository, with forward slashes.</param>
/// <param name="Size">In bytes.</param>
/// <param name="BlobId">Git's hash of what the repository itself holds: the content, or of a large file the pointer to it.</param>
/// <param name="Sha256">Hash of a large file's content; null for one that the repository holds itself.</param>
internal sealed partial record HubFile(string Path, long Size, string BlobId, string? Sha256)
{
    /// <summary>The name of the content in the cache: its hash.</summary>
    public string Etag => Sha256 ?? BlobId;

    /// <summary>Refuses names that would lead out of the folder that they are put into, or that are no hash.</summary>
    /// <exception cref="InputException">The hub, or who pretends to be it, names such a file.</exception>
    public HubFile Checked(string repository)
    {
        if (!IsSafe(Path))
            throw new HubException(HubProblem.Protocol, $"{repository} names a file \"{Shown(Path)}\"",
                "a file is only ever written below the folder that was asked for", "do not use this repository; tell those who publish it");
        if (!Hash().IsMatch(Etag))
            throw new HubException(HubProblem.Protocol, $"{repository}: the hash of {Path} is \"{Shown(Etag)}\", which is none",
                "it names the file in the cache", "look whether HF_ENDPOINT is the address of a hub");
        return Size >= 0 ? this : throw new HubException(HubProblem.Protocol, $"{repository}: {Path} has {Size} bytes", null, null);
    }

    /// <summary>Whether a path stays below the folder that it is joined to, on every system.</summary>
    public static bool IsSafe(string path) => path.Length is > 0 and <= 1024 && !path.Any(c => char.IsControl(c) || c is '\\' or ':')
        && path.Split('/').All(part => part.Length is > 0 and <= 255 && part is not ("." or ".."));

    private static string Shown(string text) => new([.. text.Take(80).Select(c => char.IsControl(c) ? '?' : c)]);

    [GeneratedRegex(@"\A[A-Za-z0-9][A-Za-z0-9_-]{7,127}\z")]
    private static partial Regex Hash();
}
