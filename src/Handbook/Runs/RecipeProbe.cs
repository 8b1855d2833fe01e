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
using Handbook.Training.Metrics;
using Handbook.Training.Plans;
using Handbook.Training.Progress;
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

    private RecipeProbe(Recipe recipe, bool isDraft)
    {
        (_recipe, _isDraft) = (recipe, isDraft);
        _recipeFolder = recipe.Folder;
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
    public static RecipeProbe Of(Recipe recipe, bool isDraft = false)
    {
        var probe = new RecipeProbe(recipe, isDraft);
        probe.Hub();
        probe.Models();
        probe.Tokenizer();
        probe.Data();
        probe.Endpoints();
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
                        AdapterPlan.Of(_recipe, source, weights, checkpoint: null);
                        _notes.AddRange(source.Notes);
                    }
                    if (key == "reward_model_name_or_path" && config.Decoder.Head != ModelHead.Score)
                        throw new InputException($"{key}: {path} is a language model, which has no head that scores texts",
                            fix: "train a reward model from it with `handbook reward`");
                    if (key == "model_name_or_path" && LengthCheck.Allowed(_recipe.Definition.LongestRow(_recipe),
                        config.Decoder) is { } tooLong)
                        _warnings.Add(tooLong);
                    if (key == "model_name_or_path" && BalancedMethod.Note(_recipe, config.Decoder) is { } note)
                        _notes.Add(note);
                });
    }

    /// <summary>The model that the run begins with, without the adapter that it goes on with where that is absent.</summary>
    private ModelSource Model() => IsThere(_recipe.Adapter.AdapterNameOrPath) ? AdapterPlan.Source(_recipe)
        : AdapterPlan.Grown(_recipe, ModelSource.Find(_recipe.Model.ModelNameOrPath!, "model_name_or_path"));

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
        if (_recipe.Model.ModelNameOrPath is null || !IsThere(_recipe.Model.TokenizerPath()))
            return;
        var tokenizer = RowPlan.LoadTokenizer(_recipe);
        if (tokenizer.ChatTemplates.Count > 0)
            _ = ChatTemplate.Of(tokenizer, "chat_template");
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
                NoteAbsent(SourceKey(set), set.Id, DatasetPath.Places(set, _recipeFolder));
        if (here.Count == 0)
            return;
        List<MixturePart> parts = [];
        Try(SourceKey(), () => parts = MixturePart.Of(mixture with { Datasets = here }, _recipe.Training.Evaluates(), _recipeFolder));
        if (HeldOutRows.Remark(mixture, parts, _recipeFolder) is { } remark)
            _remarks.Add(remark);
        foreach (var part in parts)
            Try(SourceKey(part.Spec), () => Rows(part));
        foreach (var (i, reference) in _recipe.Data.Decontaminate.Against.Index().Where(entry => !_elsewhere.Contains(entry.Item.Id)))
            Try($"decontaminate.against.{i}.id", () => ReferenceSet.Load(reference, _recipe.Data.Decontaminate, _recipeFolder));
        if (here.Count == mixture.Datasets.Count && parts.Count > 0)
            Try(SourceKey(), () => Counts(mixture, [.. parts.Where(part => !part.IsTest)]));
        if (_recipe.Definition.IsPipeline && here.Count == mixture.Datasets.Count)
            Try(SourceKey(), () => _remarks.AddRange(PromptSet.Load(_recipe).Remarks.Except(_remarks)));
    }

    /// <summary>The key that names the data, or one data set of several.</summary>
    private string SourceKey(DatasetSpec? set = null)
    {
        if (_recipe.Data.DatasetMixer is not null)
            return set is null ? "dataset_mixer" : $"dataset_mixer.{set.Id}";
        if (_recipe.Data.DatasetMixture is not { Datasets: var sets })
            return "dataset_name";
        var at = set is null ? -1 : sets.ToList().FindIndex(entry => entry.Id == set.Id && entry.Config == set.Config && entry.Split == set.Split);
        return at < 0 ? "dataset_mixture" : $"dataset_mixture.datasets.{at}.id";
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
                : $"{needs} compares answers with it", ReferenceAnswer.Fix);
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
                _problems.Add(new(RecipeKeys.Find(problem.What.Split(' ', ':')[0])?.Name ?? "model_name_or_path", problem));
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
    private void Try(string key, Action look)
    {
        try
        {
            look();
        }
        catch (Exception error) when ((error as InputException ?? FileProblem.Explain(error)) is { } problem)
        {
            // Most messages about what a key says begin with the key.
            if (!_problems.Exists(known => known.Problem.Message == problem.Message))
                _problems.Add(new(RecipeKeys.Find(problem.What.Split(' ', ':')[0])?.Name ?? key, problem));
        }
        catch (Exception error) when (_isDraft
            && error is InvalidOperationException or ArgumentException or NullReferenceException or ArithmeticException or IndexOutOfRangeException)
        {
            // A value that its key must not have; that has been reported already.
        }
    }
}
