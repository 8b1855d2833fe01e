using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Data.Cache;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Models;
using Handbook.Recipes;
using Handbook.Training;
using Handbook.Training.Checkpoints;
using Handbook.Training.Schedules;

namespace Handbook.Runs;

/// <summary>How a run begins: anew, from a checkpoint, or not at all because it has finished.</summary>
internal sealed record RunStart
{
    /// <summary>The checkpoint to go on from; null begins anew.</summary>
    public Checkpoint? Resume { get; init; }

    /// <summary>Whether the run has finished, so that nothing is left to do.</summary>
    public bool IsFinished { get; init; }

    /// <summary>The keys that changed since the run was started.</summary>
    public IReadOnlyList<RecipeChange> Changes { get; init; } = [];

    /// <summary>Looks at the run folder, and compares the recipe with that of the run found there.</summary>
    /// <param name="say">Hears what was found.</param>
    /// <param name="verifyHashes">Whether the checkpoint's files are read and compared with their hashes.</param>
    /// <exception cref="InputException">Going on would mix two recipes, or overwrite a run.</exception>
    public static RunStart Decide(Recipe recipe, Action<string> say, bool verifyHashes = true)
    {
        var options = recipe.Training;
        var named = options.ResumeFromCheckpoint;
        bool? asked = bool.TryParse(named, out var flag) ? flag : null;
        if (options.Fresh)
            return named is null || asked == false ? new RunStart()
                : throw new InputException("fresh: true begins anew, but resume_from_checkpoint asks to go on",
                    fix: "remove one of the two");
        var finished = FinishedStep(options.OutputDir);
        if (asked == false)
            return finished is null && CheckpointFolder.List(options.OutputDir).Count == 0 ? new RunStart()
                : throw new InputException($"resume_from_checkpoint is false, but {options.OutputDir} holds a run",
                    why: "beginning anew would overwrite it",
                    fix: "remove the key to go on, or say --fresh=true, or choose another output_dir");

        var resume = named is not null && asked is null
            ? CheckpointFolder.Open(Named(named, options.OutputDir), verifyHashes)
            : CheckpointFolder.FindLatest(options.OutputDir, say, verifyHashes);
        if (resume is null && asked == true)
            throw new InputException($"resume_from_checkpoint is true, but {options.OutputDir} has no checkpoint",
                why: "a run that silently began anew would be mistaken for the old one",
                    fix: "remove the key, or name the checkpoint's folder");
        if (resume is null && finished is null)
            return new RunStart();

        var run = resume is null ? options.OutputDir : Path.GetDirectoryName(resume.Path)!;
        if (finished is not null && RealPath.Of(run) != RealPath.Of(options.OutputDir))
            throw new InputException($"output_dir {options.OutputDir} holds another run, which is at its end",
                why: "going on from a checkpoint of another folder would overwrite its model", fix: "choose another output_dir");
        var changes = ChangesSince(recipe, run, say);
        if (finished is { } step && !changes.Any(change => change.Rule == ResumeRule.Length) && (asked is not null || named is null))
        {
            RequireSameRows(recipe);
            say($"{options.OutputDir} is at its end, step {step}: nothing was trained, and no file was changed. "
                + (LengthChange.MayGrow(options, step) ? "To train longer raise max_steps or num_train_epochs, to begin anew say --fresh=true"
                    : $"lr_scheduler_type {RecipeNames.Of(options.LrSchedulerType)} is laid out for that length: to train longer, or anew, "
                    + "say --fresh=true"));
            return new RunStart { IsFinished = true };
        }
        if (resume is null)
            throw new InputException($"{options.OutputDir} holds a run that is at its end and has no checkpoint to go on from",
                fix: "begin anew with --fresh=true, or choose another output_dir");
        say($"going on from {resume.Path}; begin anew with --fresh=true");
        foreach (var change in changes)
            say($"note: changed since the run was started: {change}");
        return new RunStart { Resume = resume, Changes = changes };
    }

    /// <summary>The folder of a checkpoint that is named by its path, or by its name in the run folder.</summary>
    private static string Named(string checkpoint, string outputDir) =>
        !Path.Exists(checkpoint) && Path.Combine(outputDir, checkpoint) is var inside && Directory.Exists(inside) ? inside : checkpoint;

    /// <summary>What has changed since the run was started, where all of it may change.</summary>
    public static IReadOnlyList<RecipeChange> ChangesSince(Recipe recipe, string run, Action<string> say)
    {
        const string elsewhere = "begin anew with --fresh=true, or choose another output_dir";
        var history = RunHistory.Read(run, out var damage);
        if (damage is not null)
            say($"note: {damage.What}; the run goes on without what stood there");
        if (history?.Method is { } method && method != RecipeNames.Of(recipe.Method))
            throw new InputException($"{run} is a run of `handbook {method}`, not of {RecipeNames.Of(recipe.Method)}",
                why: "the steps of two methods do not make one run", fix: elsewhere);
        var file = Path.Combine(run, "recipe.yaml");
        if ((File.Exists(file) ? RecipeChange.Between(File.ReadAllText(file), recipe) : null) is not { } changes)
        {
            say($"note: {file} is missing or broken, so nobody can tell whether the run goes on with the recipe that it was started with");
            return [];
        }
        changes = [.. changes.Where(change => !ResumeRules.IsAboutTheStart(change.Key))];
        if (recipe.Training.IgnoreRecipeChanges)
            return changes;
        var refused = changes.Where(change => change.Rule == ResumeRule.Fixed || change.Rule == ResumeRule.Rows
            && !recipe.Training.IgnoreDataSkip).ToArray();
        if (refused.Length == 0)
            return changes;
        throw new InputException($"{run} was started with other values than this recipe "
            + $"has:{string.Concat(refused.Select(change => $"\n    {change}"))}",
            why: "steps before and after would come from different recipes, and the run's own files would tell only one of them",
            fix: $"take the old values back; {elsewhere}; or go on all the same with "
                + $"--{(refused.All(change => change.Rule == ResumeRule.Rows) ? "ignore_data_skip" : "ignore_recipe_changes")}=true, "
                    + "which run.json records");
    }

    /// <summary>Stops where a finished run's data files have changed since: whoever changed them wants a new model.</summary>
    /// <exception cref="InputException">Files have changed.</exception>
    public static void RequireSameRows(Recipe recipe)
    {
        if (recipe.Training is { Fresh: true } or { IgnoreDataSkip: true } or { IgnoreRecipeChanges: true }
            || RunHistory.Read(recipe.Training.OutputDir) is not { FinishedStep: not null } run)
            return;
        var folder = recipe.Folder;
        var changed = MixturePart.Of(recipe.Mixture, recipe.Training.Evaluates(), folder).Where(IsChanged).Select(part => part.Name)
            .Distinct().ToArray();
        if (changed.Length > 0)
            throw new InputException($"{recipe.Training.OutputDir} holds a finished run, but the files of its data have changed "
                + $"since: {string.Join(", ", changed)}",
                "its model was trained on the rows as they were", "train on the new rows with --fresh=true, or with another output_dir");

        bool IsChanged(MixturePart part)
        {
            try
            {
                return run.DataHashes.TryGetValue(SourceReport.TitleOf(part.Name, part.IsTest), out var known) && known.Length == 64
                    && known != CacheFolder.Default.ContentOf(Dataset.Open(part.Spec, folder));
            }
            catch (Exception failure) when (failure is InputException or IOException or UnauthorizedAccessException)
            {
                return false;       // a finished run does not need rows that are gone
            }
        }
    }

    /// <summary>The last step of a finished run whose model is in place; null otherwise.</summary>
    private static int? FinishedStep(string outputDir) =>
        RunHistory.Read(outputDir)?.FinishedStep is { } step && ModelFolder.HasWeights(outputDir) ? step : null;
}
