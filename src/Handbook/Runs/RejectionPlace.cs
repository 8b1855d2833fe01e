using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Recipes;
using Handbook.Training;
using Handbook.Training.Checkpoints;
using Handbook.Training.Sampling;

namespace Handbook.Runs;

/// <summary>What a rejection-sampling run finds in its <c>output_dir</c>: rounds, the models that they trained, or somebody else's
/// run.</summary>
/// <remarks>
/// The last round's model lies in <c>output_dir</c> itself, those before it in <c>round-N/model</c>. When <c>rounds</c> is raised, the
/// model that was the last moves there, through a folder <c>round-N/model.moving</c>: while that folder exists the move is unfinished,
/// and the next start finishes it.
/// </remarks>
internal sealed class RejectionPlace(Recipe recipe)
{
    private const string Replaces = "replaces";
    private const string Cure = "begin anew with --fresh=true, or choose another output_dir";

    private static readonly string[] s_own = ["pipeline.yaml", "samples.jsonl", "summary.json", RunLock.FileName];

    private readonly string _output = recipe.Training.OutputDir;
    private readonly int _rounds = recipe.Rejection.Rounds;

    public string Round(int number) => Path.Combine(_output, $"round-{number}");

    public RunState State(int number) => new(Path.Combine(Round(number), "round.json"), Cure);

    /// <summary>The folder of a round's model, once <see cref="Arrange"/> has put it there.</summary>
    public string Model(int number) => number == _rounds ? _output : Moved(number);

    /// <summary>Judges the place before anything is sampled; writes nothing.</summary>
    /// <exception cref="InputException">The run would overwrite what is not its own, or pass off what was made otherwise as its
    /// own.</exception>
    public void Require()
    {
        OutputPlace.Require(recipe);
        foreach (var (key, name) in RecipePaths.Of(recipe))
            if (Rounds().FirstOrDefault(number => RealPath.IsWithin(name, Round(number))) is > 0 and var inside)
                throw new InputException($"{key} names a folder in round-{inside} of output_dir {_output}",
                    "the run would overwrite what it starts from", "write to another folder");
        if (recipe.Training.Fresh)
            return;
        var rounds = Rounds().ToArray();
        if (rounds.Any(number => Directory.Exists(Moving(number))))
            return;     // only half of it is in place; a start judges once it has finished the move
        RequireOwn();
        var last = rounds.Select(number => Directory.Exists(Moved(number)) ? number + 1 : number).Append(0).Max();
        if (last > _rounds)
            throw new InputException($"{_output} holds a run of {last} rounds, but rounds is {_rounds}",
                "its model would be told to come of fewer rounds than it does", $"set rounds: {last}; {Cure}");
        foreach (var number in rounds.Where(number => State(number).Known("training") is not null))
            RequireSameTraining(number);
    }

    // A run that is found here is ours where a round has trained it, or where an earlier start was told to replace it.
    private void RequireOwn()
    {
        if (RunHistory.Read(_output) is not { } run && CheckpointFolder.List(_output).Count == 0 || HasTrainedHere() is not null
            || IsReplaced())
            return;
        throw new InputException($"output_dir {_output} holds a "
            + $"run{(RunHistory.Read(_output)?.Method is { } method ? $" of `handbook {method}`" : "")} that no rejection-sample has made",
            "its checkpoints would be removed and its model overwritten", Cure);
    }

    private void RequireSameTraining(int number)
    {
        var folder = HasTrainedHere() == number ? _output : Moved(number);
        if (recipe.Rejection.Trains() is not { } method)
            throw new InputException($"round {number} of {_output} has trained a model, but train_method is none",
                "its summary would tell of no model", $"take the old value back; {Cure}");
        if (!File.Exists(Path.Combine(folder, RunInfo.FileName)))
            return;     // begun, and stopped before anything was written
        var now = DerivedRecipe.For(recipe, method, number == 1 ? recipe.Model.ModelNameOrPath! : Moved(number - 1),
            Path.Combine(Round(number), "train.jsonl"), folder, fresh: false);
        var changes = RunStart.ChangesSince(now, folder, _ => { });
        // A finished round is not trained further: the rounds after it began from its model.
        if (State(number).Known("trained") is not null && !recipe.Training.IgnoreRecipeChanges
            && changes.Where(change => change.Rule == ResumeRule.Length).ToArray() is { Length: > 0 } refused)
            throw new InputException($"round {number} of {_output} was trained with other values than this recipe "
                + $"has:{string.Concat(refused.Select(change => $"\n    {change}"))}",
                "the round is at its end, and its model stays what it is", $"take the old values back; {Cure}");
    }

    /// <summary>Removes the previous run, of which nothing is to be kept.</summary>
    public void RemoveOlder()
    {
        foreach (var number in Rounds().ToArray())
            Directory.Delete(Round(number), recursive: true);
        foreach (var (_, path) in CheckpointFolder.List(_output))
            Directory.Delete(path, recursive: true);
        foreach (var file in (string[])["samples.jsonl", "summary.json"])
            File.Delete(Path.Combine(_output, file));
        if (Mark() is { } mark)
            State(1).Remember(Replaces, mark);
    }

    /// <summary>Finishes the move that an earlier start began.</summary>
    public void EndMove()
    {
        foreach (var number in Rounds().Where(number => Directory.Exists(Moving(number))).ToArray())
            Move(number);
    }

    /// <summary>Moves the model of a round that is no longer the last to its place.</summary>
    public void Arrange(int number)
    {
        if (number < _rounds && HasTrainedHere() == number)
            Move(number);
    }

    private void Move(int number)
    {
        Directory.CreateDirectory(Moving(number));
        foreach (var path in Directory.GetFileSystemEntries(_output))
            if (Path.GetFileName(path) is var name && !s_own.Contains(name) && !name.StartsWith("round-", StringComparison.Ordinal))
                Directory.Move(path, Path.Combine(Moving(number), name));
        Disk.Real.FlushFolder(Moving(number));
        Directory.Move(Moving(number), Moved(number));
        Disk.Real.FlushFolder(Round(number));
    }

    /// <summary>The round whose training is what <c>output_dir</c> itself holds; null for none.</summary>
    private int? HasTrainedHere() =>
        Mark() is not null && !IsReplaced() && Rounds().Where(number => State(number).Known("training") is not null
            && !Directory.Exists(Moved(number))).ToArray() is { Length: > 0 } rounds ? rounds.Max() : null;

    private bool IsReplaced() => Mark() is { } mark && State(1).Known(Replaces) == mark;

    private string? Mark() => Path.Combine(_output, RunInfo.FileName) is var file && File.Exists(file)
        ? RunState.Hash(File.ReadAllText(file)) : null;

    private string Moved(int number) => Path.Combine(Round(number), "model");

    private string Moving(int number) => Path.Combine(Round(number), "model.moving");

    private IEnumerable<int> Rounds() => !Directory.Exists(_output) ? []
        : Directory.GetDirectories(_output, "round-*").Where(folder => File.Exists(Path.Combine(folder, "round.json")))
            .Select(folder => int.TryParse(Path.GetFileName(folder)["round-".Length..], out var number) ? number : 0)
                .Where(number => number > 0).Order();
}
