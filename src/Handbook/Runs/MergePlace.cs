using Handbook.Base;
using Handbook.Models;
using Handbook.Training.Checkpoints;

namespace Handbook.Runs;

/// <summary>The folder of a merge: it holds a whole result or nothing.</summary>
internal static class MergePlace
{
    /// <summary>Judges the folder before anything is read.</summary>
    /// <param name="inputs">Models and adapters that are read, with what they are; null for one that is not named.</param>
    /// <exception cref="InputException">It is a file, is not empty, or is one of the folders that are read, or lies in one.</exception>
    public static void Require(string output, IEnumerable<(string What, string? Name)> inputs)
    {
        foreach (var (what, name) in inputs)
            if (name is not null && ModelFolder.TryFind(name) is { } folder && RealPath.IsWithin(output, folder))
                throw RealPath.Of(folder) == RealPath.Of(output)
                    ? new InputException($"--out {output} is also the folder of the {what}",
                        why: "it would be overwritten by what is made of it", fix: $"write to another folder, e.g. --out {Path.TrimEndingDirectorySeparator(output)}-merged")
                    : new InputException($"--out {output} lies in the folder of the {what}, {name}",
                        why: "who copies or removes that one would take the other along",
                        fix: $"write to a folder beside it, e.g. --out {Path.TrimEndingDirectorySeparator(name)}-merged");
        if (File.Exists(output))
            throw new InputException($"--out {output} is a file, not a folder", fix: "name a folder that does not exist yet");
        CheckpointFolder.FindLatest(output);        // removes what an interrupted merge left
        if (Directory.Exists(output) && Directory.EnumerateFileSystemEntries(output).Any())
            throw new InputException($"--out {output} is not empty{(ModelFolder.Holds(output) ? ": it holds a model already" : "")}",
                why: "files of two models would lie beside one another, or one would be lost",
                fix: $"name a folder that does not exist yet, e.g. --out {Path.TrimEndingDirectorySeparator(output)}-2");
    }

    /// <inheritdoc cref="Require(string, IEnumerable{ValueTuple{string, string}})"/>
    public static void Require(string output, ModelSource source) =>
        Require(output, source.Adapters.Select(folder => ("adapter", (string?)folder)).Append(("base", source.Folder)));

    /// <summary>Writes into the folder; where that fails, nothing of it stays.</summary>
    /// <param name="bytes">About how much is written.</param>
    /// <param name="write">Writes into the folder it is given, which gets its place when all is done.</param>
    public static void Write(string output, long bytes, Action<string> write)
    {
        var isNew = !Directory.Exists(output);
        try
        {
            CheckpointFolder.Export(output, bytes, writer => write(writer.Folder));
        }
        catch when (isNew && Directory.Exists(output) && !Directory.EnumerateFileSystemEntries(output).Any())
        {
            Directory.Delete(output);
            throw;
        }
    }
}
