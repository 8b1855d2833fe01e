using Handbook.Base;
using Handbook.Data.Sources;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Recipes;
using Handbook.Training;
using Handbook.Training.Checkpoints;

namespace Handbook.Runs;

/// <summary>Judges <c>output_dir</c> before anything is written: a run must not overwrite what it reads, nor what is not its own.</summary>
internal static class OutputPlace
{
    /// <exception cref="InputException">The place would be damaged.</exception>
    public static void Require(Recipe recipe)
    {
        var output = recipe.Training.OutputDir;
        RunFolder.RequireFolder(output);
        foreach (var (key, path) in Models(recipe))
        {
            if (RealPath.Of(path) == RealPath.Of(output))
                throw new InputException($"output_dir {output} is also the folder of {key}",
                    why: "the trained model would overwrite what it starts from",
                    fix: $"write to another folder, e.g. output_dir: {Path.TrimEndingDirectorySeparator(output)}-{recipe.MethodName}");
            if (CheckpointFolder.List(output).FirstOrDefault(checkpoint => RealPath.IsWithin(path, checkpoint.Path)).Path is { } inside)
                throw new InputException($"{key} names {Path.GetFileName(inside)} of output_dir {output}",
                    why: "a new run removes the checkpoints of the one before",
                    fix: $"write to another folder, or go on from that checkpoint with resume_from_checkpoint: {inside}");
        }
        foreach (var (name, folder) in DataFolders(recipe))
            if (RealPath.IsWithin(output, folder))
                throw new InputException($"output_dir {output} lies in the folder of the data set {name}",
                    why: "the run's own JSON files would be read as rows", fix: "write to a folder outside it");
        if (ModelFolder.Holds(output) && !File.Exists(Path.Combine(output, RunInfo.FileName)))
            throw new InputException($"output_dir {output} holds a model that no run of the handbook made (it has no {RunInfo.FileName})",
                why: "the trained model would overwrite it",
                fix: $"write to another folder, e.g. output_dir: {Path.TrimEndingDirectorySeparator(output)}-{recipe.MethodName}");
    }

    private static IEnumerable<(string Key, string Folder)> Models(Recipe recipe)
    {
        foreach (var (key, name) in RecipePaths.Of(recipe))
            if (ModelFolder.Locate(name) is { } path)
                yield return (key, Directory.Exists(path) ? path : Path.GetDirectoryName(Path.GetFullPath(path))!);
    }

    private static IEnumerable<(string Name, string Folder)> DataFolders(Recipe recipe)
    {
        foreach (var set in recipe.Mixture.Datasets.DistinctBy(set => set.Id))
            if (!string.IsNullOrWhiteSpace(set.Id)
                && DatasetPath.TryFind(set, Path.GetDirectoryName(Path.GetFullPath(recipe.Path))) is { } path && Directory.Exists(path))
                yield return (set.Id, path);
    }
}
