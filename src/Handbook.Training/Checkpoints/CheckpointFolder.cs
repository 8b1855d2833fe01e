using System.Diagnostics;
using System.Globalization;
using Handbook.Base;
using Handbook.Base.Files;

namespace Handbook.Training.Checkpoints;

/// <summary>A whole checkpoint on disk.</summary>
internal sealed record Checkpoint(string Path, int Step, CheckpointManifest Manifest);

/// <summary>Checkpoints of a run: <c>output_dir/checkpoint-N</c>, each whole or invisible.</summary>
/// <remarks>
/// A checkpoint is written into <c>.tmp-checkpoint-N-pid</c>; every file is flushed, the manifest with sizes and hashes is written last and
/// flushed too, then the folder gets its name. At whatever moment the process dies, what was there before is still there and found again.
/// </remarks>
internal static class CheckpointFolder
{
    private const string Prefix = "checkpoint-";
    private const string Unfinished = ".tmp-";
    private const string Replaced = ".old-";
    private const string Deleted = ".del-";

    /// <summary>The folder of a step's checkpoint.</summary>
    public static string PathOf(string outputDir, int step) => Path.Combine(outputDir, $"{Prefix}{step}");

    /// <summary>Writes a checkpoint; returns its path. A failure leaves nothing behind and costs no other checkpoint.</summary>
    /// <param name="outputDir">The run folder.</param>
    /// <param name="step">Optimiser steps done.</param>
    /// <param name="estimatedBytes">About how much will be written; there must be room for it before anything is written.</param>
    /// <param name="write">Writes the files.</param>
    public static string Save(string outputDir, int step, long estimatedBytes, Action<CheckpointWriter> write) =>
        Save(outputDir, step, estimatedBytes, write, Disk.Real);

    internal static string Save(string outputDir, int step, long estimatedBytes, Action<CheckpointWriter> write, Disk disk)
    {
        var name = Prefix + step.ToString(CultureInfo.InvariantCulture);
        var final = Path.Combine(outputDir, name);
        CheckSpace(outputDir, final, estimatedBytes, disk);
        WriteFolder(outputDir, name, final, disk, writer =>
        {
            write(writer);
            writer.Flush();
            var manifest = CheckpointManifest.Of(writer.Folder, step, writer.Others);
            writer.WriteText(CheckpointManifest.FileName, manifest.ToJson());
            disk.FlushFile(Path.Combine(writer.Folder, CheckpointManifest.FileName));
            disk.FlushFolder(writer.Folder);
            // Saved before under the same name (a run resumed and stopped at once): the old one steps aside until the new one stands.
            var old = Path.Combine(outputDir, $"{Replaced}{name}-{Environment.ProcessId}");
            var replaces = Directory.Exists(final);
            if (replaces)
                disk.MoveFolder(final, old);
            disk.MoveFolder(writer.Folder, final);
            disk.FlushFolder(outputDir);
            if (replaces)
                disk.DeleteFolder(old);
        });
        return final;
    }

    /// <summary>Writes the final files of a model into <paramref name="outputDir"/> itself: all of them beside it first, then
    /// renamed one by one.</summary>
    /// <remarks>Weights of an earlier export that the new one does not replace (another number of shards) are removed at the end.</remarks>
    /// <returns>The names of the files written.</returns>
    public static IReadOnlyList<string> Export(string outputDir, long estimatedBytes, Action<CheckpointWriter> write) =>
        Export(outputDir, estimatedBytes, write, Disk.Real);

    internal static IReadOnlyList<string> Export(string outputDir, long estimatedBytes, Action<CheckpointWriter> write, Disk disk)
    {
        CheckSpace(outputDir, Path.Combine(outputDir, "the model"), estimatedBytes, disk);
        string[] names = [];
        WriteFolder(outputDir, "export", outputDir, disk, writer =>
        {
            write(writer);
            writer.Flush();
            names = [.. Directory.EnumerateFiles(writer.Folder, "*", SearchOption.AllDirectories)
                .Select(file => Path.GetRelativePath(writer.Folder, file))
                .Order(StringComparer.Ordinal)];
            foreach (var name in names)
            {
                disk.CreateFolder(Path.GetDirectoryName(Path.Combine(outputDir, name))!);
                disk.MoveFile(Path.Combine(writer.Folder, name), Path.Combine(outputDir, name));
            }
            if (names.Any(IsWeights))
                foreach (var stale in Directory.EnumerateFiles(outputDir)
                    .Where(file => IsWeights(Path.GetFileName(file)) && !names.Contains(Path.GetFileName(file))))
                    disk.DeleteFile(stale);
            disk.DeleteFolder(writer.Folder);
            disk.FlushFolder(outputDir);
        });
        return names;
    }

    /// <summary>The newest whole checkpoint of a run; null where there is none. Remains of interrupted saves are removed.</summary>
    /// <param name="outputDir">The run folder; need not exist.</param>
    /// <param name="report">Hears one line about each folder that was removed or passed over.</param>
    /// <param name="verifyHashes">Also compare the content of every file with its SHA-256.</param>
    public static Checkpoint? FindLatest(string outputDir, Action<string>? report = null, bool verifyHashes = false)
    {
        if (!Directory.Exists(outputDir))
            return null;
        Clean(outputDir, report);
        foreach (var (step, path) in List(outputDir).Reverse())
        {
            var manifest = CheckpointManifest.Read(path, out var problem);
            problem ??= manifest!.Difference(path, verifyHashes);
            if (problem is null)
                return new Checkpoint(path, step, manifest!);
            report?.Invoke($"{path} is not a whole checkpoint ({problem}); it is passed over");
        }
        return null;
    }

    /// <summary>Opens the checkpoint the user named.</summary>
    /// <exception cref="InputException">It is absent or not whole.</exception>
    public static Checkpoint Open(string path, bool verifyHashes = true)
    {
        path = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        if (!Directory.Exists(path))
            throw new InputException($"resume_from_checkpoint: {path} does not exist",
                "a run that silently began anew would overwrite the old one",
                "name an existing checkpoint-N folder, or use true for the newest one in output_dir");
        var manifest = CheckpointManifest.Read(path, out var problem);
        problem ??= manifest!.Difference(path, verifyHashes);
        if (problem is not null)
            throw new InputException($"resume_from_checkpoint: {path} is not a whole checkpoint: {problem}",
                fix: "name another checkpoint-N folder, or use true for the newest whole one in output_dir");
        return new Checkpoint(path, manifest!.Step, manifest);
    }

    /// <summary>The checkpoint folders of a run, oldest step first; whole or not.</summary>
    public static IReadOnlyList<(int Step, string Path)> List(string outputDir) =>
        !Directory.Exists(outputDir) ? [] :
        [.. Directory.EnumerateDirectories(outputDir, Prefix + "*")
            .Select(path => (Number: Path.GetFileName(path)[Prefix.Length..], Path: path))
            .Where(found => int.TryParse(found.Number, NumberStyles.None, CultureInfo.InvariantCulture, out _))
            .Select(found => (int.Parse(found.Number, CultureInfo.InvariantCulture), found.Path))
            .OrderBy(found => found.Item1)];

    /// <summary>Removes the oldest checkpoints beyond a limit; the newest and the best are never removed. Call it after a save.</summary>
    /// <param name="outputDir">The run folder.</param>
    /// <param name="saveTotalLimit">How many to keep; null or 0: all. With 1, and a best one that is not the newest, two stay.</param>
    /// <param name="best">Path of the best checkpoint; null where none is known.</param>
    /// <returns>The paths removed.</returns>
    public static IReadOnlyList<string> Prune(string outputDir, int? saveTotalLimit, string? best = null)
    {
        if (saveTotalLimit is not > 0)
            return [];
        var all = List(outputDir).Select(found => found.Path).ToList();
        var protectedName = best is null ? null : Path.GetFileName(Path.TrimEndingDirectorySeparator(best));
        var removable = all.Where((path, i) => i < all.Count - 1 && Path.GetFileName(path) != protectedName).ToList();
        var surplus = Math.Clamp(all.Count - saveTotalLimit.Value, 0, removable.Count);
        var removed = removable.Take(surplus).ToList();
        foreach (var path in removed)
        {
            // Renamed first: a half-deleted folder must not look like a checkpoint.
            var doomed = Path.Combine(outputDir, $"{Deleted}{Path.GetFileName(path)}-{Environment.ProcessId}");
            Directory.Move(path, doomed);
            Directory.Delete(doomed, recursive: true);
        }
        return removed;
    }

    private static void WriteFolder(string outputDir, string name, string shown, Disk disk, Action<CheckpointWriter> write)
    {
        var temporary = Path.Combine(outputDir, $"{Unfinished}{name}-{Environment.ProcessId}");
        try
        {
            if (Directory.Exists(temporary))
                disk.DeleteFolder(temporary);
            disk.CreateFolder(temporary);
            write(new CheckpointWriter(temporary, disk));
        }
        catch (Exception error)
        {
            TryClean(outputDir, disk);
            if (Disk.Explain(error, shown) is { } explained)
                throw explained;
            throw;
        }
    }

    // The first problem is what the user must hear about; one while tidying up after it would hide it. The next start tidies again.
    private static void TryClean(string outputDir, Disk disk)
    {
        try
        {
            Clean(outputDir, null, disk);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
        }
    }

    private static void Clean(string outputDir, Action<string>? report, Disk? disk = null)
    {
        disk ??= Disk.Real;
        foreach (var path in Directory.EnumerateDirectories(outputDir, ".*").ToList())
        {
            var name = Path.GetFileName(path);
            var mark = new[] { Unfinished, Replaced, Deleted }.FirstOrDefault(mark => name.StartsWith(mark, StringComparison.Ordinal));
            var dash = name.LastIndexOf('-');
            if (mark is null || dash < mark.Length
                || !int.TryParse(name.AsSpan(dash + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var owner))
                continue;
            var original = name[mark.Length..dash];
            if (original != "export" && !original.StartsWith(Prefix, StringComparison.Ordinal))
                continue;
            if (owner != Environment.ProcessId && IsAlive(owner))
            {
                report?.Invoke($"{path} belongs to process {owner}, which is still running");
                continue;
            }
            var final = Path.Combine(outputDir, original);
            if (mark == Replaced && !Directory.Exists(final))
            {
                disk.MoveFolder(path, final);
                report?.Invoke($"{final} is back: a save that should have replaced it was interrupted");
                continue;
            }
            disk.DeleteFolder(path);
            if (mark == Unfinished)
                report?.Invoke($"{original}: a save was interrupted; its remains were removed");
        }
    }

    private static bool IsAlive(int process)
    {
        try
        {
            using var found = Process.GetProcessById(process);
            return found.ProcessName.Contains("handbook", StringComparison.OrdinalIgnoreCase)
                || found.ProcessName.Contains("dotnet", StringComparison.OrdinalIgnoreCase);
        }
        catch (Exception error) when (error is ArgumentException or InvalidOperationException)
        {
            return false;
        }
    }

    private static void CheckSpace(string outputDir, string what, long estimatedBytes, Disk disk)
    {
        if (File.Exists(outputDir))
            throw new InputException($"output_dir: {outputDir} is a file, not a folder",
                fix: "choose another output_dir, or remove the file");
        try
        {
            disk.CreateFolder(outputDir);
        }
        catch (Exception error) when (Disk.Explain(error, outputDir) is { } explained)
        {
            throw explained;
        }
        const long Slack = 1 << 20;     // the small files beside the weights
        var needed = estimatedBytes + Slack;
        if (disk.FreeBytes(outputDir) is not { } free || free >= needed)
            return;
        throw new InputException($"{what}: not enough space: about {Size.Of(needed)} needed, {Size.Of(free)} free",
            "nothing was written, and the checkpoints before it are untouched",
            $"free {Size.Of(needed - free)} (a lower save_total_limit keeps fewer checkpoints), or choose another output_dir, and run the "
                + "same command again");
    }

    private static bool IsWeights(string name) =>
        name is "model.safetensors" or "model.safetensors.index.json" or "adapter_model.safetensors"
        || (name.StartsWith("model-", StringComparison.Ordinal) && name.Contains("-of-", StringComparison.Ordinal)
            && name.EndsWith(".safetensors", StringComparison.Ordinal));
}
