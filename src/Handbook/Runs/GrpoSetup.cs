using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Data.Mixing;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Plans;
using Handbook.Recipes;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;
using Handbook.Training;
using Handbook.Training.Methods.Grpo;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Sampling.Scorers;
using Decoder = Handbook.Models.Decoder;

namespace Handbook.Runs;

/// <summary>What a run that samples its own rows needs beside the model: scorers, a reference where β asks for one, and the log of its answers.</summary>
internal sealed class GrpoSetup : IDisposable
{
    /// <summary>Answers that are worked on at once.</summary>
    private const int AnswersAtOnce = 64;

    private readonly Recipe _recipe;
    private readonly Tokenizer _tokenizer;
    private readonly TrainingData _data;
    private readonly IWorkObserver _observer;
    private readonly ScorerSet _scorers;
    private LiveReference? _reference;
    private RowLog? _log;

    public GrpoSetup(Recipe recipe, Tokenizer tokenizer, TrainingData data, IWorkObserver observer)
    {
        (_recipe, _tokenizer, _data, _observer) = (recipe, tokenizer, data, observer);
        _scorers = new ScorerSet(recipe.Scoring, Torch.DType.Float32, observer.Said);
        _scorers.OpenAll();
    }

    /// <param name="policy">The model to train.</param>
    /// <param name="initialFolder">The model that the recipe names.</param>
    public GrpoMethod Method(Decoder policy, string initialFolder)
    {
        var (grpo, sampling, preference) = (_recipe.Grpo, _recipe.Sampling, _recipe.Preference);
        var loss = GrpoLoss.Of(_recipe);
        if (loss.Beta != 0)
            OpenReference(policy, initialFolder);
        var groups = new AnswerGroups(new()
        {
            Size = sampling.NumGenerations,
            Sampling = new()
            {
                MaxNewTokens = loss.MaxLength,
                Temperature = sampling.Temperature,
                TopP = sampling.TopP,
                TopK = sampling.TopK ?? 0,
                MinP = sampling.MinP ?? 0,
                RepetitionPenalty = sampling.RepetitionPenalty,
                Seed = _recipe.Training.Seed,
                StopIds = new PromptEncoder(initialFolder, _tokenizer, GenerationDefaults.Load(initialFolder, policy.Config)).StopIds,
                BatchSize = AnswersAtOnce,
            },
            Scaling = grpo.ScaleRewards,
            MaskTruncated = grpo.MaskTruncatedCompletions,
        }, _tokenizer, [.. Enumerable.Range(0, _scorers.Names.Count).Select(i => (_scorers[i], _scorers.Weights[i]))]);
        var (column, comparer) = (_recipe.Scoring.ReferenceColumn, _recipe.Scoring.Comparer());
        var texts = _data.Texts(_data.Train, column, comparer);
        var held = _data.Evaluation is { } rows ? _data.Texts(rows, column, comparer) : null;
        if (_recipe.Scoring.ComparesNumbers())
            foreach (var text in texts.All.Concat(held?.All ?? []))
                NumberMatchScorer.Expected(text.Reference!, text.Place);
        return new GrpoMethod(loss, groups, new(_data.Train, row => texts[row]), RecipeData.Plan(_recipe, _data.Train), (grpo.StepsPerSampling(_recipe.Training), grpo.NumIterations))
        {
            HeldOutTexts = held is null ? null : row => held[row],
            Reference = _reference,
            MaxTokens = _recipe.Data.MaxTokens ?? TrainingRun.DefaultMaxTokens,
            SharePrompts = preference.SharePrompts,
            Log = grpo.LogCompletions ? Write : null,
        };
    }

    /// <summary>Opens the log of answers, now that the run folder is this run's alone.</summary>
    /// <param name="folder">The run folder.</param>
    /// <param name="firstStep">The step that the run begins with.</param>
    public void OpenLog(RunFolder folder, int firstStep) => _log = _recipe.Grpo.LogCompletions ? folder.OpenRows("completions.jsonl", firstStep) : null;

    private void OpenReference(Decoder policy, string initialFolder)
    {
        var preference = _recipe.Preference;
        var folder = preference.RefModelNameOrPath is { } named ? ModelFolder.Find(named, "ref_model_name_or_path") : initialFolder;
        _reference = new LiveReference(PreferenceSetup.Open(_recipe, folder, policy.Compute, preference.SyncRefModel), preference.SyncRefModel ? preference.RefModelSyncSteps : 0, preference.RefModelMixupAlpha);
        _observer.Said($"reference: {folder}, kept in memory: answers are new in every step{(preference.SyncRefModel ? $"; takes {preference.RefModelMixupAlpha:g} of the policy every {preference.RefModelSyncSteps} steps" : "")}");
    }

    private void Write(int step, LoggedAnswer answer)
    {
        var row = new JsonObject
        {
            ["step"] = step,
            ["prompt"] = answer.Answer.Messages is { } messages ? JsonNode.Parse(messages.GetRawText()) : answer.Answer.Text,
            ["completion"] = answer.Answer.Answer,
            ["finished"] = answer.Answer.Finished,
        };
        for (var s = 0; s < answer.Scores.Length; s++)
            row[_scorers.Names[s]] = double.IsNaN(answer.Scores[s]) ? null : answer.Scores[s];
        (row["reward"], row["advantage"]) = (answer.Reward, answer.Advantage);
        _log!.Add(row);
    }

    public void Dispose()
    {
        _log?.Dispose();
        _reference?.Dispose();
        _scorers.Dispose();
    }
}
