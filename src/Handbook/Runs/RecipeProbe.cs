using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Data;
using Handbook.Data.Cache;
using Handbook.Data.Decontamination;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Hub;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Recipes;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;
using Handbook.Training;
using Handbook.Training.Checkpoints;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Metrics;
using Handbook.Training.Plans;
using Handbook.Training.Progress;
using Handbook.Training.Rewards;
using Handbook.Training.Sampling.Endpoints;
using Handbook.Training.Sampling.Scorers;
using Handbook.Training.Schedules;

namespace Handbook.Runs;

/// <summary>Something that would stop a run.</summary>
/// <param name="Key">The key of the recipe that names what is wrong, dotted below maps and lists.</param>
/// <param name="Problem">What is wrong.</param>
public sealed record ProbeProblem(string Key, InputException Problem);

/// <summary>Looks at everything that a run would need, without training or writing: model, tokenizer, template, the first rows of the
/// data, the output folder.</summary>
public sealed class RecipeProbe
{
    private const int RowsLookedAt = 64;
    private static readonly TimeSpan s_reach = TimeSpan.FromSeconds(3);

    private readonly Recipe _recipe;
    private readonly string? _recipeFolder;
    private readonly List<ProbeProblem> _problems = [];
    private readonly List<(string Key, string What, IReadOnlyList<string> Places)> _absent = [];
    private readonly List<string> _warnings = [];
    private Tokenizer? _tokenizer;
    private readonly List<string> _notes = [];
    private readonly List<string> _remarks = [];

    private readonly HashSet<string> _elsewhere = [];

    private readonly bool _isDraft;

    /// <summary>Whether the keys that rows depend on are good; if not, what becomes of rows follows from what has been told.</summary>
    private readonly bool _rowsAreSure;

    private RecipeProbe(Recipe recipe, bool isDraft, IEnumerable<string> wrong)
    {
        (_recipe, _isDraft) = (recipe, isDraft);
        _recipeFolder = recipe.Folder;
        _rowsAreSure = !wrong.Any(key => RecipeKeys.Find(key)?.Property?.DeclaringType is { } group && (group == typeof(DataOptions)
            || group == typeof(ModelOptions) || group == typeof(SftOptions) || group == typeof(PreferenceOptions)));
    }

    /// <summary>What would stop the run, each with its cure and the key that names it.</summary>
    public IReadOnlyList<ProbeProblem> Problems => _problems;

    /// <summary>Models and data sets that are not on this machine, each with the places where it was looked for.</summary>
    public IReadOnlyList<(string Key, string What, IReadOnlyList<string> Places)> Absent => _absent;

    /// <summary>What keys mean for the model that is named.</summary>
    public IReadOnlyList<string> Notes => _notes;

    /// <summary>Lines about how rows are read, each a note or a warning by its first word.</summary>
    public IReadOnlyList<string> Remarks => _remarks;

    /// <summary>What does not stop the run, but should be known before it starts.</summary>
    public IReadOnlyList<string> Warnings => _warnings;

    /// <summary>Everything that can be seen, at once.</summary>
    /// <param name="recipe">A recipe, or as much of one as could be read.</param>
    /// <param name="isDraft">Whether some of its keys are wrong: what follows from them is not reported again.</param>
    public static RecipeProbe Of(Recipe recipe, bool isDraft = false) => Of(recipe, isDraft, []);

    /// <param name="report">What is known of the recipe's keys.</param>
    /// <inheritdoc cref="Of(Recipe, bool)"/>
    internal static RecipeProbe Of(Recipe recipe, Diagnostics report) =>
        Of(recipe, report.HasErrors, report.Errors.Select(error => Subject(error.What).Split('.')[0]));

    private static RecipeProbe Of(Recipe recipe, bool isDraft, IEnumerable<string> wrong)
    {
        var probe = new RecipeProbe(recipe, isDraft, wrong);
        probe.Hub();
        probe.Models();
        probe.Tokenizer();
        probe.Data();
        probe.Endpoints();
        probe.Try("report_to", () => RunReports.Require(recipe));
        if (recipe.Definition.IsPipeline)
            probe.Try("output_dir", new RejectionPlace(recipe).Require);
        else
        {
            probe.Try("output_dir", () => OutputPlace.Require(recipe));
            if (!isDraft)
                probe.Try(recipe.Training.ResumeFromCheckpoint is null ? "output_dir" : "resume_from_checkpoint", probe.EarlierRun);
        }
        return probe;
    }

    /// <summary>Adds what was found to the messages of a recipe, each where the key stands that names it.</summary>
    /// <param name="report">The recipe's messages; what they say of a key is not said again of what it names.</param>
    internal void Report(Diagnostics report)
    {
        var told = report.Errors.Select(error => Subject(error.What)).ToHashSet();
        foreach (var (key, problem) in _problems.Where(problem => !told.Contains(Subject(problem.Problem.What))
            && !told.Contains(problem.Key)))
            report.Found(key, problem.What, problem.Why, problem.Fix);
        foreach (var (key, what, places) in _absent.Where(absent => !told.Contains(absent.Key)))
        {
            var meant = HubCache.NameIn(what) ?? Nearby(what)
                ?? (key.StartsWith("decontaminate", StringComparison.Ordinal) ? BuiltInReference.Meant(what) : null);
            report.Found(key, $"{key.Split('.')[0]}: {what} is not on this machine; looked for\n    {string.Join("\n    ", places)}",
                HubCache.IsOffline && HubCache.IsName(what) && DataFile.FormatOf(what) is null
                    ? "HF_HUB_OFFLINE keeps to what is on this machine" : null,
                $"{(meant is null ? "" : $"did you mean {meant}? Otherwise ")}correct the path, or fetch it"
                    + (key.StartsWith("data", StringComparison.Ordinal) ? " (HANDBOOK_DATA names a folder that holds data sets)"
                        : " with `handbook download` (HANDBOOK_MODELS names a folder that holds models)")
                    + "; `handbook validate RECIPE --keys-only` looks at the keys alone");
        }
    }

    /// <summary>Adds to the messages of a recipe why a run of it could not begin, and everything else that would stop it.</summary>
    /// <param name="recipe">The recipe, whose keys are good.</param>
    /// <param name="stopped">What stopped the run.</param>
    /// <param name="report">The recipe's messages.</param>
    /// <param name="looks">Whether to look for anything else.</param>
    internal static void Explain(Recipe recipe, InputException stopped, Diagnostics report, bool looks = true)
    {
        var probe = looks ? Of(recipe, report) : new RecipeProbe(recipe, isDraft: false, []);
        if (!probe._absent.Exists(absent => stopped.What.Contains(absent.What, StringComparison.Ordinal))
            && !probe._problems.Exists(known => known.Problem.What == stopped.What))
        {
            // What the run itself says is the more exact.
            var key = probe.KeyOf("", stopped, recipe.Data.Mixture()?.Datasets.FirstOrDefault(set => Begins(stopped.What, set.Id)));
            probe._problems.RemoveAll(known => known.Key == key);
            if (key.Length > 0 || probe._problems.Count == 0)
                probe._problems.Add(new(key, stopped));
        }
        probe.Report(report);
    }

    /// <summary>Whether a problem is one of a key of the recipe, or of what a key names.</summary>
    internal static bool IsAbout(Recipe recipe, InputException problem) =>
        new RecipeProbe(recipe, isDraft: false, []).KeyOf("", problem, set: null).Length > 0;

    /// <summary>A name like the one that is not there, of something that lies where it would; null where nothing is like it.</summary>
    private string? Nearby(string name)
    {
        var folder = Path.GetDirectoryName(name) ?? "";
        var beside = new[] { Directory.GetCurrentDirectory(), _recipeFolder }.OfType<string>().Select(start => Path.Combine(start, folder))
            .Where(Directory.Exists).Distinct().SelectMany(Directory.EnumerateFileSystemEntries).Select(Path.GetFileName).OfType<string>();
        return Spelling.Nearest(Path.GetFileName(name), beside.Order(StringComparer.Ordinal)) is { } near ? Path.Combine(folder, near)
            : null;
    }

    /// <summary>The first word of a message, usually the key that it is about.</summary>
    private static string Subject(string message) => message.Split(' ', ':')[0];

    private void Models()
    {
        foreach (var (key, name) in RecipePaths.Of(_recipe)
            .Where(path => path.Key.EndsWith("_name_or_path", StringComparison.Ordinal) && KeyEffects.Unmet(_recipe, path.Key) is null))
            if (!IsThere(name))
                NoteAbsent(key, name, ModelFolder.LookedFor(name));
            else if (!key.StartsWith("tokenizer", StringComparison.Ordinal))
                Try(key, () =>
                {
                    if (key == "adapter_name_or_path")
                    {
                        AdapterPlan.Adapter(name);
                        return;         // it is looked at with the model
                    }
                    var source = key != "model_name_or_path" ? ModelSource.Find(name, key) : Model();
                    var (path, config) = (source.Folder, source.Config());
                    if (key == "model_name_or_path")
                        config = TrainingPlan.WithHead(config, _recipe.Definition, path);
                    using var weights = source.Open(config, _recipe.Definition.Head == ModelHead.Score ? 0 : null);
                    if (key != "model_name_or_path")
                        source.Layouts(weights);
                    else
                    {
                        if (!_recipe.Adapter.UsePeft)
                            TrainingPlan.RequireTrainable(weights, path);
                        AdapterPlan.Of(WithoutAbsentAdapter(), source, weights, checkpoint: null);
                        _notes.AddRange(source.Notes);
                    }
                    if (key == "reward_model_name_or_path")
                        RewardModel.RequireScores(config, source.Top);
                    if (key == "model_name_or_path" && _rowsAreSure && LengthCheck.Allowed(_recipe.Definition.LongestRow(_recipe),
                        config.Decoder) is { } tooLong)
                        _warnings.Add(tooLong);
                    if (key == "model_name_or_path" && BalancedMethod.Note(_recipe, config.Decoder) is { } note)
                        _notes.Add(note);
                });
    }

    /// <summary>The model that the run begins with, without the adapter that it goes on with where that is absent.</summary>
    private ModelSource Model() => !_rowsAreSure ? AdapterPlan.Named(_recipe.Model)
        : AdapterPlan.Source(WithoutAbsentAdapter());

    private Recipe WithoutAbsentAdapter() => IsThere(_recipe.Adapter.AdapterNameOrPath) ? _recipe
        : _recipe with { Adapter = _recipe.Adapter with { AdapterNameOrPath = null } };

    /// <summary>Whether a name means a folder that is there, or there is none; what is absent is told of by itself.</summary>
    private bool IsThere(string? name) => name is null || ModelFolder.Locate(name) is not null && !_elsewhere.Contains(name);

    private void Tokenizer() => Try(_recipe.Model.TokenizerNameOrPath is null ? "model_name_or_path" : "tokenizer_name_or_path", () =>
    {
        if (_recipe.Data.ChatTemplatePath is { } template && (RowPlan.TemplatePlace(_recipe) is null || _elsewhere.Contains(template)))
        {
            if (!HubCache.IsName(template) || Path.HasExtension(template) && Path.GetExtension(template) is ".jinja" or ".txt")
                throw new InputException($"chat_template_path: {template} does not exist", fix: "name a .jinja file or a model folder");
            NoteAbsent("chat_template_path", template, RowPlan.TemplatePlaces(_recipe));
            return;
        }
        if (_recipe.Model.ModelNameOrPath is null || !IsThere(_recipe.Model.TokenizerPath()) || !_rowsAreSure
            || _recipe.Model.TokenizerNameOrPath is null && File.Exists(_recipe.Model.ModelNameOrPath))
            return;     // of a file in a model's place has been told
        var tokenizer = RowPlan.LoadTokenizer(_recipe);
        if (tokenizer.ChatTemplates.Count > 0)
            Try(_recipe.Data.ChatTemplatePath is null ? "" : "chat_template_path",
                () => ChatTemplate.Of(tokenizer, RowPlan.TemplateName(_recipe)));
        _tokenizer = tokenizer;
        if (IsThere(_recipe.Model.ModelNameOrPath) && ModelFolder.TryFind(_recipe.Model.ModelNameOrPath!) is { } model
            && (File.Exists(Path.Combine(model, "config.json")) || ModelFolder.IsAdapter(model)))
        {
            TrainingPlan.RequireVocabulary(tokenizer, Model().Config(), model);
            if (_recipe.Preference.RefModelNameOrPath is { } reference && IsThere(reference)
                && ReferenceCheck.Run(_recipe, tokenizer) is { } other)
                _warnings.Add(other);
        }
    });

    private void Data()
    {
        if (_recipe.Data.Mixture() is not { } mixture)
            return;
        var here = new List<DatasetSpec>();
        foreach (var set in mixture.Datasets)
            if (string.IsNullOrWhiteSpace(set.Id) || DatasetPath.TryFind(set, _recipeFolder) is not null && !_elsewhere.Contains(set.Id))
                here.Add(set);
            else
                NoteAbsent(RecipePaths.KeyOf(_recipe, set), set.Id, DatasetPath.Places(set, _recipeFolder));
        if (here.Count == 0 || !_rowsAreSure)
            return;
        List<MixturePart> parts = [];
        Try(RecipePaths.KeyOf(_recipe), () => parts = MixturePart.Of(mixture with { Datasets = here }, _recipe.Training.Evaluates(),
            _recipeFolder));
        if (HeldOutRows.Remark(mixture, parts, _recipeFolder) is { } remark)
            _remarks.Add(remark);
        foreach (var part in parts)
            Try(RecipePaths.KeyOf(_recipe, part.Spec), () => Rows(part), part.Spec);
        foreach (var (i, reference) in _recipe.Data.Decontaminate.Against.Index().Where(entry => !_elsewhere.Contains(entry.Item.Id)))
            Try($"decontaminate.against.{i}.id", () => ReferenceSet.Load(reference, _recipe.Data.Decontaminate, _recipeFolder));
        if (here.Count == mixture.Datasets.Count && parts.Count > 0)
            Try(RecipePaths.KeyOf(_recipe), () => Counts(mixture, [.. parts.Where(part => !part.IsTest)]));
        if (_recipe.Definition.IsPipeline && here.Count == mixture.Datasets.Count)
            Try(RecipePaths.KeyOf(_recipe), () => _remarks.AddRange(PromptSet.Load(_recipe).Remarks.Except(_remarks)));
    }

    private void Counts(MixtureSpec mixture, IReadOnlyList<MixturePart> parts)
    {
        RowCounts.RequireTraining(mixture, [.. parts.Select(part => (part, Dataset.Open(part.Spec, _recipeFolder)))]);
        if (_tokenizer is null || _recipe.Definition.IsPipeline)
            return;
        var options = RowPlan.Options(_recipe, _tokenizer);
        if (RowCounts.OnePackedRow(options, [.. parts.Select(part => Opened(part, TrainingData.Open(part, options)))]) is { } one)
            _warnings.Add(one);

        static (MixturePart, IRowSource, IRowTokenizer) Opened(MixturePart part,
            (IRowSource Source, RowReader Reader, IRowTokenizer Tokenizer) opened) =>
            (part, opened.Source, opened.Tokenizer);
    }

    private void Rows(MixturePart part)
    {
        if (_recipe.Definition.IsPipeline)
            return;     // its prompts are read all together
        var source = Dataset.Open(part.Spec, _recipeFolder);
        if (_tokenizer is not null)
        {
            var options = RowPlan.Options(_recipe, _tokenizer);
            var (rows, reader, tokenizer) = TrainingData.Open(part, options);
            _remarks.AddRange(RowRemarks.Of(rows, reader, options).Except(_remarks));
            FirstRows(part, rows, tokenizer, options.MaxBadRows);
        }
        else
            _ = RowReader.For(source, part.Spec, _recipe.Definition.Use, _recipe.Data.TextColumn);
        if (!_recipe.Definition.ScoresAnswers)
            return;
        var (column, needs) = (_recipe.Scoring.ReferenceColumn, _recipe.Scoring.Comparer());
        var first = source.Read().Where(row => row.Problem is null).Take(RowsLookedAt).ToArray();
        if ((column is not null || needs is not null) && first.Length > 0
            && first.All(row => ReferenceAnswer.Of(row.Value, column) is null))
            throw new InputException($"{first[0].Place}: {ReferenceAnswer.Missing(first[0].Value, column)}", needs is null ? null
                : $"{needs} compares answers with it", ReferenceAnswer.Fix)
            { Key = "reference_column" };
        if (_recipe.Scoring.ComparesNumbers())
            foreach (var row in source.Read().Where(row => row.Problem is null))
                if (ReferenceAnswer.Of(row.Value, column) is { } reference)
                    NumberMatchScorer.Expected(reference, row.Place);
    }

    /// <summary>Tokenises the first rows: what is wrong with all rows of a small file is a problem, and what is wrong with some is a
    /// warning.</summary>
    private void FirstRows(MixturePart part, IRowSource rows, IRowTokenizer tokenizer, double limit)
    {
        var first = rows.Read().Take(RowsLookedAt + 1).ToArray();
        var tally = new RowTally { SourceRows = first.Length };
        var used = 0;
        foreach (var row in first.Take(RowsLookedAt))
        {
            var problem = row.Problem;
            var wasCut = false;
            var tokens = problem is null ? tokenizer.Tokenize(row.Value, out problem, out wasCut) : [];
            tally.Add(row, tokens, problem, wasCut);
            used += tokens.Count;
        }
        var summary = tally.Summary(tokenizer.Format) with { UsedRows = used };
        if (first.Length <= RowsLookedAt || used == 0)
            TrainingData.RequireUsable(new SourceReport(part.Name, part.IsTest, summary, ""), limit);
        foreach (var bad in summary.Bad)
            if (!_warnings.Exists(known => known.Contains(bad.Example, StringComparison.Ordinal)))
                _warnings.Add($"{part.Name}: of the first {Math.Min(first.Length, RowsLookedAt)} "
                    + $"rows {bad.Count:N0} {(bad.Count == 1 ? "is" : "are")} left out: {bad.Reason}, e.g. {bad.Example}");
        var of = first.Length > RowsLookedAt ? $"of the first {RowsLookedAt} rows, " : "";
        _remarks.AddRange(summary.Noted.Select(noted => $"note: {part.Name}: {of}{noted.Line}").Except(_remarks));
    }

    // Whether anybody listens is found out without a request, which might cost something.
    private void Endpoints()
    {
        foreach (var options in ScorerSet.Endpoints(_recipe))
            Try(_recipe.Definition.IsPipeline ? "sample_base_url" : "judge_base_url", () =>
            {
                var endpoint = new ChatEndpoint(options);
                if (EndpointAddress.Silent(endpoint.Address, s_reach) is { } reason)
                    _warnings.Add($"{endpoint.Name} cannot be reached now: {reason}; start it before the run, or correct the address");
            });
    }

    private void EarlierRun()
    {
        var start = RunStart.Decide(_recipe, _ => { }, verifyHashes: false);
        RunStart.RequireSameRows(_recipe);
        if (_recipe.Adapter.UsePeft && start.Resume is { } last && IsThere(_recipe.Model.ModelNameOrPath)
            && IsThere(_recipe.Adapter.AdapterNameOrPath))
            AdapterPlan.RequireUnchanged(_recipe, AdapterPlan.Source(_recipe), last.Path);
        if (_recipe.Training is { MaxSteps: > 0 and var steps, IgnoreDataSkip: false } && start.Resume is { } resume)
            LengthChange.Require(_recipe.Training, TrainerState.Load(Path.Combine(resume.Path, TrainerState.FileName)).MaxSteps, steps,
                resume.Step, resume.Path);
    }

    /// <summary>Asks the hub about what is nowhere else: what a run would download is told, and downloaded by a run alone.</summary>
    private void Hub()
    {
        IReadOnlyList<HubNeed> needs = [];
        Try("model_name_or_path", () => needs = HubNeed.Of(_recipe));
        using var fetch = new HubFetch(RunObservers.None, HubSettings.Of(_recipe));
        foreach (var need in needs)
            try
            {
                foreach (var want in fetch.Wants(need, CancellationToken.None))
                {
                    _elsewhere.Add(need.AskedFor);
                    _notes.Add($"a run would download {want}");
                    fetch.RequireAccess(want, CancellationToken.None);
                }
            }
            catch (InputException problem)
            {
                _elsewhere.Add(need.AskedFor);
                Add(need.Key ?? "", problem);
            }
    }

    /// <summary>Notes what is not on this machine, unless the hub was asked about it, which has told already.</summary>
    private void NoteAbsent(string key, string what, IEnumerable<string> places)
    {
        if (!_elsewhere.Contains(what) && !_absent.Exists(known => known.Key == key && known.What == what))
            _absent.Add((key, what, [.. places]));
    }

    /// <param name="key">The key that names what is looked at.</param>
    /// <param name="look">Looks at it.</param>
    /// <param name="set">The data set that is looked at, with its split; null for none.</param>
    private void Try(string key, Action look, DatasetSpec? set = null)
    {
        try
        {
            look();
        }
        catch (Exception error) when ((error as InputException ?? FileProblem.Explain(error)) is { } problem)
        {
            Add(key, problem, set);
        }
        catch (Exception error) when (_isDraft
            && error is InvalidOperationException or ArgumentException or NullReferenceException or ArithmeticException or IndexOutOfRangeException)
        {
            // A value that its key must not have; that has been reported already.
        }
    }

    /// <summary>Adds a problem once.</summary>
    /// <param name="key">The key that names what was looked at.</param>
    private void Add(string key, InputException problem, DatasetSpec? set = null)
    {
        if (!_problems.Exists(known => known.Problem.What == problem.What || Place(known.Problem.What) is { } place
            && place == Place(problem.What)))
            _problems.Add(new(KeyOf(key, problem, set), problem));
    }

    /// <summary>The key that a problem is shown at: the one that it says is wrong, the one that its message begins with, the one whose
    /// value
    /// it begins with, or the one that names what was looked at; of these the first that the user wrote.</summary>
    private string KeyOf(string key, InputException problem, DatasetSpec? set)
    {
        var exact = problem.Key is { } own ? RecipePaths.KeyOf(_recipe, set, own) : null;
        var subject = RecipeKeys.Find(Subject(problem.What))?.Name;
        var named = RecipePaths.Named(_recipe).Where(entry => Begins(problem.What, entry.Path)).OrderByDescending(entry =>
            entry.Path.Length)
            .FirstOrDefault().Key;
        return new[] { exact, subject, named, key }.FirstOrDefault(one => one is { Length: > 0 } && _recipe.IsWritten(one.Split('.')[0]))
            ?? (key.Length > 0 ? key : subject ?? "");
    }

    /// <summary>The file with line and column that a message begins with; null where it begins otherwise.</summary>
    private static string? Place(string message) => message.Split(' ')[0].TrimEnd(':') is var word
        && word.Split(':') is [.., var line, var column]
        && int.TryParse(line, out _) && int.TryParse(column, out _) ? Path.GetFullPath(word) : null;

    /// <summary>Whether a message is about a file or folder, or about what lies in it.</summary>
    private static bool Begins(string message, string path) => new[] { path, Path.GetFullPath(path) }.Any(name => name.Length > 0
        && message.StartsWith(name, StringComparison.Ordinal)
        && (message.Length == name.Length || message[name.Length] is '/' or ':' or ' ' or ','));
}
