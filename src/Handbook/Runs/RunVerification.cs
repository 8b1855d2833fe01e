using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Data.Cache;
using Handbook.Models;
using Handbook.Recipes;
using Handbook.Torch;
using Handbook.Training;
using Handbook.Training.Checkpoints;
using Handbook.Training.Plans;
using Handbook.Training.Progress;

namespace Handbook.Runs;

/// <summary>What became of something that a run read or wrote.</summary>
public enum VerifiedState
{
    /// <summary>It is as it was.</summary>
    Same,

    /// <summary>It holds something else.</summary>
    Changed,

    /// <summary>It is not there.</summary>
    Missing,

    /// <summary>Nobody wrote down what it was, or it cannot be worked out now.</summary>
    Unknown,

    /// <summary>The program or the machine is another one, which changes last bits at most.</summary>
    Other,
}

/// <summary>One line of what <see cref="RunVerification"/> found.</summary>
/// <param name="What"><c>recipe</c>, <c>data</c>, <c>rows</c>, <c>template</c>, <c>tokenizer</c>, <c>weights</c>, <c>program</c>,
/// <c>machine</c>, <c>output</c>, <c>checkpoint</c>.</param>
/// <param name="Name">What it is called.</param>
/// <param name="State">What became of it.</param>
/// <param name="Detail">What is other, or why nobody can tell; empty where all is as it was.</param>
public sealed record VerifiedPart(string What, string Name, VerifiedState State, string Detail = "")
{
    /// <summary>Whether the run read it: what it wrote itself is not asked for to run it again.</summary>
    public bool IsInput => What is not ("output" or "checkpoint" or "program" or "machine");

    /// <summary>Whether it is not what it was.</summary>
    public bool Differs => State is VerifiedState.Changed or VerifiedState.Missing;
}

/// <summary>Compares what a run's <c>run.json</c> says of its inputs and outputs with what is there now.</summary>
public sealed class RunVerification
{
    private readonly List<VerifiedPart> _parts = [];
    private readonly string _folder;
    private readonly RunHistory _history;
    private readonly PlaceNames _places;
    private readonly bool _quick;

    private RunVerification(string folder, RunHistory history, bool quick)
    {
        (_folder, _history, _quick) = (folder, history, quick);
        _places = new(WorkingFolder(folder, history));
    }

    /// <summary>What was found, inputs first.</summary>
    public IReadOnlyList<VerifiedPart> Parts => _parts;

    /// <summary>Whether nothing that the run read or wrote has changed or is missing.</summary>
    public bool IsWhole => !_parts.Exists(part => part.Differs);

    /// <summary>Reads and compares.</summary>
    /// <param name="folder">The run folder. Names of its recipe are looked up from the working folder of the process; see
    /// <see cref="WorkingFolderOf"/>.</param>
    /// <param name="quick">Trust the hashes that are kept of files whose size and time have not changed, in the place of reading them.</param>
    /// <param name="rows">Also read the rows of the data, and compare which ones the steps draw.</param>
    /// <param name="outputs">Also look at what the run wrote.</param>
    /// <param name="cancel">Stops reading.</param>
    /// <exception cref="InputException">It is no run folder.</exception>
    public static RunVerification Of(string folder, bool quick = false, bool rows = true, bool outputs = true, CancellationToken cancel = default)
    {
        var verification = new RunVerification(Path.GetFullPath(folder), RunHistory.Require(folder), quick);
        verification.Inputs(rows, cancel);
        verification.Program();
        if (outputs)
            verification.Outputs(cancel);
        return verification;
    }

    /// <summary>The folder from which a run's names are seen: where its command was typed, found again where the run was moved together
    /// with it; the working folder of the process where that one is gone, or holds less of what the run read.</summary>
    /// <exception cref="InputException">It is no run folder.</exception>
    public static string WorkingFolderOf(string folder) => WorkingFolder(Path.GetFullPath(folder), RunHistory.Require(folder));

    private static string WorkingFolder(string folder, RunHistory history)
    {
        var lineage = history.RequiredLineage(folder);
        var (then, here) = (Path.GetFullPath(lineage.WorkingFolder, folder), Path.GetFullPath("."));
        if (!Directory.Exists(then))
            return here;
        string[] names = [.. new[] { lineage.Recipe.Given }.OfType<LineagePart>().Concat(lineage.Data).Concat(lineage.Weights ?? [])
            .SelectMany(part => part.Files).Select(file => file.Path).Where(PlaceNames.IsFromWorkingFolder)];
        return names.Count(name => Path.Exists(Path.Combine(here, name))) > names.Count(name => Path.Exists(Path.Combine(then, name))) ? here : then;
    }

    /// <summary>The recipe of a run, to be looked at as it was when it ran.</summary>
    /// <exception cref="InputException">Its recipe is gone, or this version does not take it.</exception>
    internal static Recipe RecipeOf(string folder, RunHistory history, IReadOnlyList<string> overrides)
    {
        var file = Path.Combine(folder, "recipe.yaml");
        var recipe = Recipe.Load(file, Recipe.MethodNamed(history.Method), overrides);
        return recipe with
        {
            // Data sets are looked for beside the recipe that the user named.
            Path = history.Lineage?.Recipe.Given?.Name ?? recipe.Path,
            BatchProcesses = history.Program.GetValueOrDefault("engine.batch_processes") is { } count ? int.Parse(count) : 1,
        };
    }

    private void Inputs(bool rows, CancellationToken cancel)
    {
        var lineage = _history.RequiredLineage(_folder);
        if (lineage.Recipe.Given is { } given)
            Compare("recipe", given, cancel);
        Resolved(lineage.Recipe);
        foreach (var part in lineage.Data)
            Compare("data", part, cancel);
        Recipe? recipe = null;
        try
        {
            recipe = RecipeOf(_folder, _history, []);
            var tokenizer = RowPlan.LoadTokenizer(recipe);
            Same("tokenizer", recipe.Model.TokenizerPath(), _history.TokenizerHash, tokenizer.Fingerprint);
            if (_history.TemplateHash is not null || tokenizer.ChatTemplate is not null)
                Same("template", "chat template", _history.TemplateHash, tokenizer.ChatTemplate is { } template ? RunRecord.Hash(template) : null);
        }
        catch (InputException problem)
        {
            Add("tokenizer", recipe?.Model.TokenizerPath() ?? "", recipe is null ? VerifiedState.Unknown : VerifiedState.Missing, First(problem));
        }
        if (lineage.Weights is not { } weights)
            Add("weights", recipe?.Model.ModelNameOrPath ?? "", VerifiedState.Unknown, "the run was stopped before they were hashed");
        else
            foreach (var part in weights)
                Weights(part, cancel);
        if (rows)
            Rows(recipe, lineage.Rows, cancel);
    }

    private void Resolved(LineageRecipe recipe)
    {
        var file = Path.Combine(_folder, "recipe.yaml");
        if (!File.Exists(file))
            Add("recipe", "recipe.yaml", VerifiedState.Missing, "the run folder does not have it");
        else
            Same("recipe", "recipe.yaml", recipe.ResolvedSha256, CheckpointManifest.Hash(file));
    }

    private void Rows(Recipe? recipe, LineageRows then, CancellationToken cancel)
    {
        const string name = "rows as drawn";
        if (recipe is null || _parts.Exists(part => part.Differs && part.What is "data" or "tokenizer"))
        {
            Add("rows", name, VerifiedState.Unknown, "not read: what they are made of is not what it was");
            return;
        }
        try
        {
            var plan = TrainingPlan.Of(recipe, null);
            using var loaded = RunRows.Load(plan, RunObservers.None, cancel);
            var now = RunOrigin.Rows(loaded, recipe);
            if (now == then)
                Add("rows", name, VerifiedState.Same);
            else
                Add("rows", name, VerifiedState.Changed, now.Train != then.Train ? $"{now.Train:N0} rows to train on, not {then.Train:N0}"
                    : now.HeldOut != then.HeldOut ? $"{now.HeldOut:N0} rows held out, not {then.HeldOut:N0}"
                    : now.Order != then.Order ? "the steps draw them in another order" : "they hold other tokens");
        }
        catch (InputException problem)
        {
            Add("rows", name, VerifiedState.Unknown, $"not read: {First(problem)}");
        }
    }

    private void Weights(LineagePart part, CancellationToken cancel)
    {
        Compare("weights", part, cancel);
        if (_parts[^1].State != VerifiedState.Same || part.Files.Count == 0)
            return;
        var known = part.Files.Select(file => Path.GetFileName(file.Path)).ToHashSet();
        if (Path.GetDirectoryName(_places.Find(part.Files[0].Path)) is { } folder
            && ModelFolder.Files(folder).FirstOrDefault(file => !known.Contains(Path.GetFileName(file))) is { } more)
            _parts[^1] = _parts[^1] with { State = VerifiedState.Changed, Detail = $"{_places.Of(more)} has come since" };
    }

    private void Program()
    {
        // Threads of each of several processes are the launcher's choice, and with deterministic: true no bit depends on them.
        var compared = RunFacts.Now().Where(fact => fact.Decides && (fact.Name != RunFacts.Threads || _history.Processes == 1 && !IsDeterministic));
        foreach (var facts in compared.GroupBy(fact => fact.IsProgram))
        {
            var other = facts.Select(fact => (fact.Name, Now: fact.Value?.ToString() ?? "",
                    Then: _history.Program.GetValueOrDefault($"{fact.Group}.{fact.Name}")))
                .Where(fact => fact.Then is not null && fact.Then != fact.Now)
                .Select(fact => $"{fact.Name} {Short(fact.Then)} then, {Short(fact.Now)} now").ToArray();
            Add(facts.Key ? "program" : "machine", facts.Key ? $"handbook {RunInfo.Version}" : Environment.MachineName,
                other.Length == 0 ? VerifiedState.Same : VerifiedState.Other, string.Join("; ", other));
        }

        static string Short(string? value) => value is null or "" ? "unknown" : value.Length == 40 && value.All(char.IsAsciiHexDigit) ? value[..12] : value;
    }

    private bool IsDeterministic => _history.Program.GetValueOrDefault("engine.deterministic") == bool.TrueString;

    private void Outputs(CancellationToken cancel)
    {
        if (_history.FinishedStep is null)
            Add("output", "model", VerifiedState.Unknown, "the run is not at its end");
        else if (_history.Outputs.Count == 0)
            Add("output", "model", VerifiedState.Unknown, "an earlier version ended this run, and wrote no hashes of its files");
        foreach (var file in _history.Outputs)
        {
            var (state, detail) = Difference(Path.Combine(_folder, file.Path), file, file.Path, cancel);
            Add("output", file.Path, state, detail);
        }
        foreach (var (step, path) in CheckpointFolder.List(_folder))
        {
            cancel.ThrowIfCancellationRequested();
            var manifest = CheckpointManifest.Read(path, out var problem);
            problem ??= manifest!.Difference(path, hashes: !_quick);
            Add("checkpoint", $"checkpoint-{step}", problem is null ? VerifiedState.Same : VerifiedState.Changed, problem ?? "");
        }
    }

    private void Compare(string what, LineagePart part, CancellationToken cancel)
    {
        var found = part.Files.Select(file => Difference(_places.Find(file.Path), file, file.Path, cancel)).ToArray();
        var wrong = found.Where(each => each.State != VerifiedState.Same).ToArray();
        var name = part.Commit is null ? part.Name : $"{part.Name} ({part.Commit[..8]})";
        if (wrong.Length == 0)
            Add(what, name, VerifiedState.Same);
        else
            Add(what, name, Array.Exists(wrong, each => each.State == VerifiedState.Changed) ? VerifiedState.Changed : VerifiedState.Missing,
                wrong[0].Detail + (wrong.Length > 1 ? $"; {wrong.Length - 1} more of {found.Length} files" : ""));
    }

    private (VerifiedState State, string Detail) Difference(string path, ManifestFile then, string shown, CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        if (!File.Exists(path))
            return (VerifiedState.Missing, $"{shown} is not there");
        if (new FileInfo(RealPath.Of(path)).Length is var size && size != then.Size)
            return (VerifiedState.Changed, $"{shown} has {size:N0} bytes instead of {then.Size:N0}");
        return (_quick ? CacheFolder.Default.HashOf(path) : CheckpointManifest.Hash(path)) == then.Sha256 ? (VerifiedState.Same, "")
            : (VerifiedState.Changed, $"{shown} has other content (its SHA-256 differs)");
    }

    private void Same(string what, string name, string? then, string? now)
    {
        if (then is null && now is not null)
            Add(what, name, VerifiedState.Changed, "there was none");
        else
            Add(what, name, then == now ? VerifiedState.Same : VerifiedState.Changed, then == now ? "" : now is null ? "there is none now"
                : $"its hash is {now[..12]}, not {then![..12]}");
    }

    /// <summary>What is wrong in one line of a table; the places of a name stand behind one another.</summary>
    private static string First(InputException problem) => problem.What.Split('\n', StringSplitOptions.TrimEntries) is [var first, .. var more]
        && more.Length > 0 ? $"{first} {string.Join(", ", more)}" : problem.What;

    private void Add(string what, string name, VerifiedState state, string detail = "") => _parts.Add(new(what, name, state, detail));
}
