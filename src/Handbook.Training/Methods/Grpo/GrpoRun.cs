using System.Text;
using System.Text.Json.Nodes;
using Handbook.Data;
using Handbook.Data.Mixing;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Text.Templates;
using Handbook.Torch;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Plans;
using Handbook.Training.Sampling.Scorers;

namespace Handbook.Training.Methods.Grpo;

/// <summary>A run that samples its own rows: its scorers, a reference where β asks for one, and the log of its answers.</summary>
internal sealed class GrpoRun : IMethodRun
{
    /// <summary>Answers that are worked on at once.</summary>
    public const int AnswersAtOnce = 64;

    private readonly MethodStart _start;
    private readonly ScorerSet _scorers;
    private readonly LiveReference? _reference;
    private readonly List<JsonObject> _unwritten = [];
    private RowLog? _log;

    public GrpoRun(MethodStart start)
    {
        var run = start.Run;
        _start = start;
        _scorers = new ScorerSet(run.Scoring, DType.Float32, start.Observer.Said, source => (weights, plan) =>
            QuantisedCache.Loader(source, start.Observer)(weights, plan.Beside(start.Model.Parameters.Plan)));
        try
        {
            _scorers.OpenAll();
            var loss = GrpoLoss.Of(run);
            if (loss.Beta != 0)
                _reference = new ReferenceModel(start).Keep(": answers are new in every step");
            var (column, comparer) = (run.Scoring.ReferenceColumn, run.Scoring.Comparer());
            var texts = start.Data.Texts(start.Data.Train, column, comparer);
            var held = start.Data.Evaluation is { } rows ? start.Data.Texts(rows, column, comparer) : null;
            Action<PromptText>? judge = run.Scoring.ComparesNumbers() ? text => NumberMatchScorer.Expected(text.Reference!, text.Place)
                : null;
            texts.Require(judge);
            held?.Require(judge);
            Method = new GrpoMethod(loss, Groups(loss), new(start.Data.Train, row => texts[row]), RowPlan.Steps(run, start.Data.Train),
                (run.Grpo.StepsPerSampling(run.Training, run.BatchProcesses), run.Grpo.NumIterations))
            {
                HeldOutTexts = held is null ? null : row => held[row],
                Reference = _reference,
                MaxTokens = start.MaxTokens,
                SharePrompts = run.Preference.SharePrompts,
                Log = run.Grpo.LogCompletions ? Remember : null,
                Sampled = run.Grpo.LogCompletions ? Write : null,
            };
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public ITokenRows Train => _start.Data.Train;

    public ITokenRows? Evaluation => _start.Evaluation;

    public ITrainingMethod Method { get; }

    public void OpenFiles(RunFolder folder, int firstStep) => _log = _start.Run.Grpo.LogCompletions
        ? folder.OpenRows(RunFolder.CompletionsName, firstStep) : null;

    private AnswerGroups Groups(GrpoLoss loss)
    {
        var (run, keys) = (_start.Run, _start.Run.Sampling);
        var prompts = new PromptEncoder(_start.InitialFolder, _start.Tokenizer,
            GenerationDefaults.Load(_start.InitialFolder, _start.Model.Config));
        return new AnswerGroups(new()
        {
            Size = keys.NumGenerations,
            Sampling = keys.Sampling(loss.MaxLength, run.Training.Seed, AnswersAtOnce, prompts.StopIds),
            Scaling = run.Grpo.ScaleRewards,
            MaskTruncated = run.Grpo.MaskTruncatedCompletions,
            GathersWeights = run.Grpo.Ds3GatherForGeneration,
        }, _start.Tokenizer, [.. Enumerable.Range(0, _scorers.Names.Count).Select(i => (_scorers[i], _scorers.Weights[i]))]);
    }

    private void Remember(int step, LoggedAnswer answer)
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
        _unwritten.Add(row);
    }

    /// <summary>Writes what everyone has sampled.</summary>
    private void Write()
    {
        foreach (var part in _start.Workers.GatherGroups(Encoding.UTF8.GetBytes(new JsonArray([.. _unwritten]).ToJsonString())))
            foreach (var row in _start.Workers.IsFirst ? JsonNode.Parse(part)!.AsArray() : [])
                _log!.Add(row!.AsObject());
        _unwritten.Clear();
    }

    public void Dispose()
    {
        _log?.Dispose();
        _reference?.Dispose();
        _scorers.Dispose();
    }
}
