using System.Text.Json;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Base.Keys;
using Handbook.Data.Sources;
using Handbook.Data.Tokenizing;
using Handbook.Hub;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Recipes;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;
using Handbook.Torch;
using Handbook.Training;
using Handbook.Training.Distributed;
using Handbook.Training.Plans;
using Handbook.Training.Progress;
using Handbook.Training.Sampling;
using Handbook.Training.Sampling.Endpoints;
using Handbook.Training.Sampling.Scorers;

namespace Handbook.Runs;

/// <summary>From prompts to a new model: sample, score, select, train, as often as the recipe says.</summary>
/// <remarks>
/// <c>output_dir</c> gets the last round's model, <c>samples.jsonl</c> (every answer with its scores and where it came from),
/// <c>summary.json</c> and <c>pipeline.yaml</c>; <c>round-N/</c> gets what is made on the way. The same command goes on where it stopped,
/// and its files are the same as without the stop.
/// </remarks>
public sealed class RejectionRun
{
    private readonly Recipe _recipe;
    private readonly IRunObserver _observer;
    private readonly string? _commandLine;
    private readonly Tokenizer _tokenizer;
    private readonly bool _textsAreTurns;
    private readonly DType _compute;
    private readonly string _output;
    private readonly RejectionPlace _place;
    private readonly Workers _workers;

    private RejectionRun(Recipe recipe, IRunObserver observer, string? commandLine, Workers workers)
    {
        (_recipe, _observer, _commandLine, _output) = (recipe, observer, commandLine, recipe.Training.OutputDir);
        _workers = workers;
        _place = new(recipe);
        _tokenizer = RowPlan.LoadTokenizer(recipe);
        // The built-in template stands in where a model has none; plain prompts are then texts to continue.
        _textsAreTurns = recipe.Rejection.SamplesElsewhere || recipe.Data.ChatTemplate is not null
            || recipe.Data.ChatTemplatePath is not null
            || Tokenizer.Load(ModelSource.TokenizerOf(ModelFolder.LocateOrSelf(recipe.Model.TokenizerPath()))).ChatTemplate is not null;
        _compute = recipe.Training.Bf16 ? DType.BFloat16 : DType.Float32;
    }

    /// <summary>Runs a rejection-sampling recipe to its end.</summary>
    /// <param name="recipe">What to sample, select and train.</param>
    /// <param name="observer">Hears what happens, and as an <see cref="IRejectionObserver"/> what the rounds gave; null for nobody.</param>
    /// <param name="commandLine">What the user typed, for <c>run.json</c>; null where the run was not started by a command.</param>
    /// <param name="cancel">Ends the run; the same call goes on from there.</param>
    /// <exception cref="InputException">Something the user can fix; what was sampled and scored is kept.</exception>
    public static RejectionResult Run(Recipe recipe, IRunObserver? observer = null, string? commandLine = null,
        CancellationToken cancel = default) =>
        Run(recipe, observer ?? RunObservers.None, commandLine, Workers.Alone, cancel);

    /// <param name="workers">Who share the prompts out, and train together; the first of them writes and speaks.</param>
    /// <inheritdoc cref="Run(Recipe, IRunObserver?, string?, CancellationToken)"/>
    internal static RejectionResult Run(Recipe recipe, IRunObserver observer, string? commandLine, Workers workers,
        CancellationToken cancel)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        if (!workers.IsFirst)
            observer = RunObservers.None;
        try
        {
            workers.Agree("the recipe", recipe.ToYaml());
            workers.FirstOnHost(() => HubFetch.For(recipe, observer, cancel));
            using var publisher = workers.IsFirst ? HubPublisher.Begin(recipe, observer) : null;
            var result = new RejectionRun(recipe, observer, commandLine, workers).Run(stop);
            if (result.End == RunEnd.Finished && recipe.Rejection.Trains() is not null)
                publisher?.End(cancel);
            return result;
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            observer.Said("interrupted; what was sampled and scored is kept, and the same command goes on from there");
            return new() { End = RunEnd.Interrupted, Folder = recipe.Training.OutputDir };
        }
    }

    private RejectionResult Run(CancellationTokenSource stop)
    {
        using var taken = _workers.IsFirst ? RunLock.Take(_output, _commandLine) : null;
        _workers.First(() =>
        {
            _place.EndMove();
            _place.Require();
        });
        RequirePolicy();
        var (prompts, dropped) = Prompts();
        _workers.Agree("the prompts", Asked(prompts));
        using var scorers = new ScorerSet(Scoring, _compute, _observer.Said, Loader);
        _workers.FirstOnHost(() =>
        {
            scorers.OpenAll();
            return scorers;
        });
        _workers.First(() =>
        {
            taken!.Hold();
            if (_recipe.Training.Fresh)
                _place.RemoveOlder();
        });
        OneFolder.Require(_workers, _output, "each process writes there what it samples and scores");
        _observer.Entered(_output);
        _observer.Said($"{prompts.Count:N0} prompts, {_recipe.Sampling.NumGenerations} answers each"
            + (_workers.Count > 1 ? $", shared out among {_workers.Count} processes" : ""));

        var summary = new RejectionSummary(_recipe, prompts.Count, dropped);
        var model = _recipe.Model.ModelNameOrPath!;
        for (var number = 1; number <= _recipe.Rejection.Rounds; number++)
        {
            var round = new RejectionRound(number, _place.Round(number), _place.State(number), _recipe, prompts, _workers, _observer);
            var from = model;
            round.Begin(() => SamplingKey(from, prompts));
            if (!round.HasTraining)
                _workers.First(Accept);
            round.Sample(SourceName(from), () => Source(from), stop);
            round.Score(() => ScoringKey(prompts), scorers, stop);
            scorers.Release();      // a reward model would lie beside the model that is trained
            round.Select(_textsAreTurns);
            string? next = _recipe.Rejection.Trains() is null ? null : _place.Model(number);
            summary.Add(number, round, prompts, next);
            _workers.First(() =>
            {
                _place.Arrange(number);     // the recipe is that of the run found here, so its model may go where it belongs
                summary.Write(_output);
            });
            if (round.DatasetRows == 0)
            {
                Show(summary);
                throw new InputException($"round {number}: no answer was selected, so there is nothing to train on", fix: Cure(round));
            }
            if (next is null)
                break;
            if (!Train(round, from, next, taken, stop.Token))
            {
                _observer.Said("interrupted; the same command goes on from there");
                return Result(summary, RunEnd.Interrupted, null);
            }
            model = next;
        }
        Show(summary);
        _observer.Said(_recipe.Rejection.Trains() is null
            ? $"the rows to train on: {Path.Combine(_output, "round-1", "train.jsonl")}; every "
                + $"answer: {Path.Combine(_output, "samples.jsonl")}"
            : $"the new model: {model}; every answer: {Path.Combine(_output, "samples.jsonl")}");
        return Result(summary, RunEnd.Finished, _recipe.Rejection.Trains() is null ? null : model);
    }

    /// <summary>The keys of scoring for one of the workers, who share out the questions that an endpoint is asked at once.</summary>
    private ScorerOptions Scoring =>
        _recipe.Scoring with { EndpointParallel = Math.Max(1, _recipe.Scoring.EndpointParallel / _workers.Count) };

    /// <summary>Requires a model that can answer and be trained, before anything in the folder is touched.</summary>
    private void RequirePolicy()
    {
        if (_recipe.Rejection.SamplesElsewhere && _recipe.Rejection.Trains() is null)
            return;     // this model is not asked
        var source = AdapterPlan.Named(_recipe.Model);
        TrainingPlan.WithHead(source.Config(), _recipe.Definition, source.Top);
    }

    private void Show(RejectionSummary summary) => (_observer as IRejectionObserver)?.Sampled(summary.Rounds, summary.PromptsLeftOut);

    private RejectionResult Result(RejectionSummary summary, RunEnd end, string? model) =>
        new() { End = end, Folder = _output, Model = model, Rounds = summary.Rounds, PromptsLeftOut = summary.PromptsLeftOut };

    /// <summary>Saves the recipe, once it is known that the folder's contents belong to it and that something is left to do.</summary>
    private void Accept() => WholeFile.WriteText(Path.Combine(_output, "pipeline.yaml"), _recipe.ToYaml());

    /// <summary>What to do where no answer was selected.</summary>
    private string Cure(RejectionRound round)
    {
        if (round.SamplesDropped.Keys.All(reason => reason == "not scored"))
            return _recipe.Scoring.RewardFuncs!.Contains("judge")
                ? "no answer has a score, so more of them would not help: samples.jsonl has the judge's words (details); set "
                    + "judge_pattern to find the mark in them, or ask for it in judge_prompt"
                : $"no answer has a score, so more of them would not help: samples.jsonl says why (details); correct the keys "
                    + $"of {string.Join(", ", _recipe.Scoring.RewardFuncs!)}";
        return round.SamplesDropped.ContainsKey(Selection.BelowThreshold) && _recipe.Rejection.SelectThreshold is { } threshold
            ? $"lower select_threshold (it is {threshold}), or sample more answers with num_generations"
            : "samples.jsonl says of each answer why not; sample more with num_generations, or longer ones with max_completion_length";
    }

    private bool Train(RejectionRound round, string from, string to, RunLock? taken, CancellationToken cancel)
    {
        var key = round.RowsKey;
        if (_workers.First(() => round.State.Known("trained") == key && File.Exists(Path.Combine(to, "config.json"))))
            return true;
        var begins = !round.HasTraining;       // whatever the folder holds is the run that this one was told to replace
        _workers.First(() =>
        {
            Accept();
            round.State.Remember("training", key);
        });
        var method = _recipe.Rejection.Trains()!.Value;
        _observer.Said($"{RecipeNames.Of(method)} on {round.DatasetRows:N0} rows");
        if (!TrainingRun.Run(DerivedRecipe.For(_recipe, method, from, round.Dataset, to, fresh: begins), to == _output ? taken : null,
            _observer, _commandLine, cancel, _workers).IsFinished)
            return false;
        _workers.First(() => round.State.Remember("trained", key));
        return true;
    }

    private (IReadOnlyList<Prompt> Prompts, IReadOnlyDictionary<string, int> Dropped) Prompts()
    {
        var set = PromptSet.Load(_recipe);
        foreach (var remark in set.Remarks)
            _observer.Said(remark);
        TellOfUnheard(set.Prompts);
        if (_recipe.Rejection.SamplesElsewhere)
            return (set.Prompts, set.Dropped);
        var dropped = new SortedDictionary<string, int>(set.Dropped.ToDictionary(), StringComparer.Ordinal);
        var kept = new List<Prompt>();
        var source = AdapterPlan.Named(_recipe.Model);
        var config = source.Config().Decoder;
        var encoder = new PromptEncoder(source.Top, _tokenizer,
            GenerationDefaults.Load(source.Having(GenerationDefaults.FileName), config));
        foreach (var prompt in set.Prompts)
            if (ModelAnswers.Refuses(prompt, encoder, config, _textsAreTurns, _recipe.Preference.MaxPromptLength) is { } reason)
                dropped[reason] = dropped.GetValueOrDefault(reason) + 1;
            else
                kept.Add(prompt);
        return kept.Count > 0 ? (kept, dropped)
            : throw new InputException(
            $"no prompt can be used: {string.Join(", ", dropped.Select(entry => $"{entry.Value} × {entry.Key}"))}",
            fix: "raise max_prompt_length");
    }

    /// <summary>Says what stands beside the turns of prompts, such as tools, without any effect on what is asked.</summary>
    private void TellOfUnheard(IReadOnlyList<Prompt> prompts)
    {
        var chats = _recipe.Rejection.SamplesElsewhere || _tokenizer.ChatTemplate is null ? null
            : new ChatRowEncoder(_tokenizer, ChatTemplate.Of(_tokenizer, "chat_template"));
        var held = prompts.Where(prompt => prompt.Inputs is not null)
            .SelectMany(prompt => prompt.Inputs!.Names.Select(name => (Name: name, IsUnheard: IsUnheard(prompt, name))));
        foreach (var group in held.GroupBy(entry => entry.Name, entry => entry.IsUnheard).Where(group => group.All(isUnheard => isUnheard)))
            _observer.Noted($"{(chats is null ? "nobody is sent" : "the chat template leaves out")} {group.Key}, which {group.Count():N0} "
                + $"of {prompts.Count:N0} prompts have");

        bool IsUnheard(Prompt prompt, string name) => chats is null || prompt.Messages is not { } messages
            || chats.LeftOut(prompt.Inputs!.With(messages)).Contains(new(name));
    }

    private string SourceName(string model) => _recipe.Rejection.SamplesElsewhere
        ? $"{_recipe.Rejection.SampleBaseUrl ?? "api.openai.com"} {_recipe.Rejection.SampleModel}" : model;

    private IAnswerSource Source(string model)
    {
        var rejection = _recipe.Rejection;
        if (rejection.SamplesElsewhere)
            return new EndpointAnswers(new ChatEndpoint(ScorerSet.Endpoint(Scoring, rejection.SampleBaseUrl, rejection.SampleModel!,
                _observer.Said)), SourceName(model), Sampling(null), rejection.StopTexts ?? []);
        var source = ModelSource.Find(model);
        var speaker = LanguageModel.Open(source, _compute, _tokenizer, Loader(source));
        return new ModelAnswers(speaker, Sampling(speaker), rejection.StopTexts ?? [], _textsAreTurns, _recipe.Preference.MaxPromptLength);
    }

    private Func<ModelWeights, ParameterPlan, Models.Decoder> Loader(ModelSource source) =>
        DevicePlan.Loader(source, _observer, DeviceWish.Of(_recipe.Training, _workers.LocalRank));

    private SamplingOptions Sampling(LanguageModel? model) =>
        _recipe.Sampling.Sampling(_recipe.Preference.MaxCompletionLength ?? 256, _recipe.Training.Seed,
        _recipe.Rejection.SampleBatchSize, model?.StopIds ?? []);

    /// <summary>Everything that decides what is sampled, apart from the number of answers.</summary>
    private string SamplingKey(string model, IReadOnlyList<Prompt> prompts)
    {
        var options = Sampling(null) with { BatchSize = 1 };
        var from = _recipe.Rejection.SamplesElsewhere ? SourceName(model) : RunState.WeightsOf(model);
        return RunState.Hash(
            $"{from}\n{_compute} {_tokenizer.Fingerprint} {_tokenizer.ChatTemplate}\n{JsonSerializer.Serialize(options)} {string.Join('\n', _recipe.Rejection.StopTexts ?? [])}\n{Asked(prompts)}");
    }

    private static string Asked(IReadOnlyList<Prompt> prompts) => string.Join('\n',
        prompts.Select(prompt => (prompt.Messages is { } messages ? messages.GetRawText() : prompt.Text) + prompt.Inputs?.ToJson()));

    /// <summary>Everything that decides the scores, apart from their weights.</summary>
    private string ScoringKey(IReadOnlyList<Prompt> prompts)
    {
        var keys = _recipe.Scoring with
        {
            RewardWeights = null,
            AllowCode = true,
            EndpointParallel = 1,
            EndpointRetries = 0,
            EndpointTimeout = 1
        };
        var reward = _recipe.Scoring.RewardFuncs!.Contains("reward_model") ? RunState.WeightsOf(_recipe.Scoring.RewardModelNameOrPath!)
            : "";
        return RunState.Hash($"{JsonSerializer.Serialize(keys)}\n{reward}\n{string.Join('\n', prompts.Select(prompt => prompt.Expected))}");
    }
}
