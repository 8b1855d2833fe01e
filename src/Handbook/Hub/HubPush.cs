using System.IO.Enumeration;
using Handbook.Training;
using Handbook.Training.Checkpoints;
using Handbook.Training.Plans;

namespace Handbook.Hub;

/// <summary>Files that are published together.</summary>
/// <param name="Summary">What the commit is called.</param>
/// <param name="Files">The files, open.</param>
/// <param name="Deletes">Which files of the repository are removed where they are not among these.</param>
/// <param name="IsLast">Whether the run is at its end.</param>
internal sealed record HubPush(string Summary, IReadOnlyList<UploadFile> Files, Func<string, bool> Deletes, bool IsLast) : IDisposable
{
    private const string LastCheckpoint = "last-checkpoint";

    /// <summary>The model of a checkpoint, and, where the strategy says so, the checkpoint.</summary>
    public static HubPush OfCheckpoint(string checkpoint, HubStrategy strategy)
    {
        var name = Path.GetFileName(checkpoint);
        var step = name[(name.LastIndexOf('-') + 1)..];
        var hashes = CheckpointManifest.Read(checkpoint, out _)?.Files.ToDictionary(file => file.Path, file => file.Sha256) ?? [];
        var whole = strategy switch { HubStrategy.Checkpoint => LastCheckpoint, HubStrategy.AllCheckpoints => name, _ => null };
        var files = UploadFile.OpenAll(UploadFolder.Paths(checkpoint).SelectMany(path => Places(path)
            .Select(place => (Path.Combine(checkpoint, path), place, hashes.GetValueOrDefault(path)))));
        return new($"Training in progress, step {step}", files, Stale(files, whole == LastCheckpoint), IsLast: false);

        IEnumerable<string> Places(string path)
        {
            if (ModelFiles.IsPart(path))
                yield return path;
            if (whole is not null)
                yield return $"{whole}/{path}";
        }
    }

    /// <summary>A run's folder: its model, card, results and logs.</summary>
    public static HubPush OfRun(string output)
    {
        var files = UploadFolder.Open(output, "", path => !UploadFolder.IsOfRun(path));
        return new("End of training", files, Stale(files, ofLast: false), IsLast: true);
    }

    /// <summary>Weights of another number of files would be taken for a part of the model; files of the checkpoint before are not of this
    /// one.</summary>
    private static Func<string, bool> Stale(IReadOnlyList<UploadFile> files, bool ofLast)
    {
        var hasWeights = files.Any(file => ModelFiles.IsWeights(file.Path));
        return path => hasWeights && ModelFiles.IsWeights(path) || ofLast && path.StartsWith(LastCheckpoint + "/",
            StringComparison.Ordinal);
    }

    public void Dispose()
    {
        foreach (var file in Files)
            file.Dispose();
    }
}

/// <summary>The files of a folder that are published: not those that its <c>.gitignore</c> names, nor what a program keeps there for
/// itself, nor a run's checkpoints.</summary>
internal static class UploadFolder
{
    /// <summary>Paths below the folder, with forward slashes, in their order.</summary>
    public static IReadOnlyList<string> Paths(string folder)
    {
        var rules = IgnoreRules.Of(folder);
        var isRun = File.Exists(Path.Combine(folder, RunInfo.FileName));
        return [.. FilesBelow(folder).Select(path => Path.GetRelativePath(folder, path).Replace('\\', '/')).Where(path => !IsOwn(path)
            && !(isRun && IsOfRun(path))
                && !rules.Ignores(path)).Order(StringComparer.Ordinal)];
    }

    /// <summary>Files that are links count as what they lead to, as in the hub's own cache; folders that are links may lead anywhere, and
    /// do
    /// not count.</summary>
    private static FileSystemEnumerable<string> FilesBelow(string folder) => new(folder, (ref entry) => entry.ToFullPath(),
        new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = 0 })
    {
        ShouldIncludePredicate = (ref entry) => !entry.IsDirectory,
        ShouldRecursePredicate = (ref entry) => !entry.Attributes.HasFlag(FileAttributes.ReparsePoint),
    };

    /// <summary>The files, open.</summary>
    /// <param name="below">The folder of the repository that they go to; empty for its root.</param>
    /// <param name="takes">Which are wanted, by their paths below the folder.</param>
    public static IReadOnlyList<UploadFile> Open(string folder, string below, Func<string, bool> takes) =>
        UploadFile.OpenAll(Paths(folder).Where(takes).Select(path => (Path.Combine(folder, path), below.Length == 0 ? path : $"{below}/{path}",
            (string?)null)));

    private static bool IsOwn(string path) => path.Split('/') is var parts && (parts.Any(part => part is ".git" or ".DS_Store"
        || part.StartsWith(".tmp-", StringComparison.Ordinal) || part.StartsWith(".old-", StringComparison.Ordinal)
        || part.StartsWith(".del-", StringComparison.Ordinal)) || path.StartsWith(".cache/huggingface/", StringComparison.Ordinal)
        || path == RunLock.FileName);

    /// <summary>Whether a file of a run's folder is not published with it, as the Python trainer has it: checkpoints go by their own
    /// strategy,
    /// and what begins with _ is nobody's.</summary>
    public static bool IsOfRun(string path) => path[0] == '_' || path.Split('/')[0] is var first && first != path
        && first.StartsWith("checkpoint-", StringComparison.Ordinal);
}
