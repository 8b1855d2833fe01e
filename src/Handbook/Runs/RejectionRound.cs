using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Models.Generation;
using Handbook.Recipes;
using Handbook.Training.Progress;
using Handbook.Training.Sampling;
using Handbook.Training.Sampling.Scorers;

namespace Handbook.Runs;

/// <summary>One round in its folder: sampled answers, their scores, what is trained on. Every stage goes on where it stopped.</summary>
/// <remarks><c>answers.jsonl</c> and <c>scores.jsonl</c> only grow, in the order in which things happen; <c>train.jsonl</c> is in the order
/// of the prompts.</remarks>
internal sealed class RejectionRound(int number, string folder, RunState state, Recipe recipe, IReadOnlyList<Prompt> prompts,
    IRunObserver observer)
{
    private const string Answers = "answers.jsonl", Scores = "scores.jsonl";

    private readonly RoundSample?[][] _samples = [.. prompts.Select(_ => new RoundSample?[recipe.Sampling.NumGenerations])];

    private readonly List<JsonObject> _rows = [];

    /// <summary>What the round's files were made from.</summary>
    public RunState State => state;

    /// <summary>The rows to train on.</summary>
    public string Dataset { get; } = Path.Combine(folder, "train.jsonl");

    public IReadOnlyList<IReadOnlyList<RoundSample>> Samples => _samples!;

    public int DatasetRows => _rows.Count;

    /// <summary>Whether training on the rows has begun: from then on they do not change.</summary>
    public bool HasTraining => State.Known("training") is not null;

    /// <summary>Prompts of which nothing is used, by reason.</summary>
    public SortedDictionary<string, int> PromptsDropped { get; } = new(StringComparer.Ordinal);

    /// <summary>Answers that are not used, by reason.</summary>
    public SortedDictionary<string, int> SamplesDropped { get; } = new(StringComparer.Ordinal);

    /// <summary>What the answers came from.</summary>
    public string Source { get; private set; } = "";

    public long Stream(int prompt, int sample) => ((long)(number - 1) << 48) + prompt * 65536L + sample;

    /// <summary>Checks that the answers in the folder belong to this run.</summary>
    /// <param name="key">What decides the answers: another key in the folder means that they are of another run.</param>
    public void Begin(string key) => State.Require("answers", key, Path.Combine(folder, Answers));

    /// <summary>Samples what is missing.</summary>
    /// <param name="name">What the answers come from.</param>
    /// <param name="open">Opens it, where anything is missing.</param>
    public void Sample(string name, Func<IAnswerSource> open, CancellationToken cancel)
    {
        Source = name;
        using var journal = new Journal(Path.Combine(folder, Answers), Read);
        var missing = Enumerable.Range(0, prompts.Count)
            .Select(p => (Prompt: p, Samples: Enumerable.Range(0, _samples[p].Length).Where(s => _samples[p][s] is null).ToArray()))
            .Where(group => group.Samples.Length > 0).ToArray();
        var total = _samples.Sum(group => group.Length);
        if (missing.Length == 0)
            return;
        if (HasTraining)
            throw OtherRows();
        using var source = open();
        using var bar = observer.Began($"round {number}: sampling", total, "answers");
        bar.Report(total - missing.Sum(group => group.Samples.Length));
        source.Answer([.. missing.Select(group =>
            new AnswerRequest(prompts[group.Prompt], [.. group.Samples.Select(s => Stream(group.Prompt, s))]))], (request, place, answer) =>
        {
            var (prompt, sample) = (missing[request].Prompt, missing[request].Samples[place]);
            journal.Add(new JsonObject
            {
                ["prompt"] = prompt,
                ["sample"] = sample,
                ["answer"] = answer.Text,
                ["finished"] = answer.Finished,
                ["tokens"] = answer.Tokens,
                ["log_prob"] = answer.LogProb
            });
            _samples[prompt][sample] = new(prompt, sample, answer);
            bar.Advance();
        }, cancel);
    }

    private void Read(JsonElement answer)
    {
        var (prompt, sample) = (answer.GetProperty("prompt").GetInt32(), answer.GetProperty("sample").GetInt32());
        if (prompt >= _samples.Length || sample >= _samples[prompt].Length)
            return;     // the recipe asks for fewer now
        _samples[prompt][sample] = new(prompt, sample,
            new(answer.GetProperty("answer").GetString()!, answer.GetProperty("finished").GetBoolean(),
            answer.GetProperty("tokens") is { ValueKind: JsonValueKind.Number } tokens ? tokens.GetInt32() : null,
            answer.GetProperty("log_prob") is { ValueKind: JsonValueKind.Number } logProb ? logProb.GetDouble() : null));
    }

    /// <summary>Scores what has no score yet, with each scorer.</summary>
    /// <param name="key">What decides the scores.</param>
    public void Score(string key, ScorerSet scorers, CancellationToken cancel)
    {
        if (State.Known("scores") is { } before && before != key)
        {
            if (HasTraining)
                throw OtherRows();
            File.Delete(Path.Combine(folder, Scores));      // sampling is the expensive part; scores by other rules are of no use
            observer.Said($"round {number}: the keys of scoring have changed: scoring again");
        }
        State.Remember("scores", key);
        using var journal = new Journal(Path.Combine(folder, Scores), ReadScore);
        for (var i = 0; i < scorers.Names.Count; i++)
            Score(scorers.Names[i], scorers, i, journal, cancel);
        foreach (var sample in _samples.SelectMany(group => group))
            sample!.Total = Enumerable.Range(0, scorers.Names.Count).Sum(i => scorers.Weights[i] * sample.Scores[scorers.Names[i]].Value);
    }

    private void Score(string name, ScorerSet scorers, int index, Journal journal, CancellationToken cancel)
    {
        var all = _samples.SelectMany(group => group).ToArray();
        var missing = all.Where(sample => !sample!.Scores.ContainsKey(name)).ToArray();
        if (missing.Length == 0)
            return;
        using var bar = observer.Began($"round {number}: scoring ({name})", all.Length, "answers");
        bar.Report(all.Length - missing.Length);
        scorers[index].Score([.. missing.Select(sample => new SampledAnswer
        {
            Text = prompts[sample!.Prompt].Text,
            Messages = prompts[sample.Prompt].Messages,
            Inputs = prompts[sample.Prompt].Inputs,
            Reference = prompts[sample.Prompt].Expected,
            Place = prompts[sample.Prompt].Place,
            Answer = sample.Given.Text,
            Finished = sample.Given.Finished,
        })], (i, score) =>
        {
            journal.Add(new JsonObject
            {
                ["prompt"] = missing[i]!.Prompt,
                ["sample"] = missing[i]!.Sample,
                ["scorer"] = name,
                ["score"] = RoundSample.Number(score.Value),
                ["detail"] = score.Detail
            });
            missing[i]!.Scores[name] = score;
            bar.Advance();
        }, cancel);
    }

    private void ReadScore(JsonElement score)
    {
        var (prompt, sample) = (score.GetProperty("prompt").GetInt32(), score.GetProperty("sample").GetInt32());
        if (prompt < _samples.Length && sample < _samples[prompt].Length)
            _samples[prompt][sample]!.Scores[score.GetProperty("scorer").GetString()!] =
                new(score.GetProperty("score") is { ValueKind: JsonValueKind.Number } value ? value.GetDouble() : double.NaN,
                    score.GetProperty("detail").GetString());
    }

    /// <summary>Marks the answers and writes the rows to train on.</summary>
    /// <exception cref="InputException">A model is trained on other rows already; nothing was written.</exception>
    public void Select(bool textsAreTurns)
    {
        for (var p = 0; p < prompts.Count; p++)
        {
            if (Selection.Mark(Samples[p], recipe.Rejection) is { } reason)
                PromptsDropped[reason] = PromptsDropped.GetValueOrDefault(reason) + 1;
            foreach (var sample in Samples[p])
                if (sample.Dropped is { } why)
                    SamplesDropped[why] = SamplesDropped.GetValueOrDefault(why) + 1;
            _rows.AddRange(Selection.Rows(prompts[p], Samples[p], textsAreTurns));
        }
        if (State.Known("training") is { } trained && trained != RowsKey)
            throw OtherRows();
        JsonLines.Write(Dataset, _rows);
    }

    /// <summary>Identifies the rows that a model was trained on.</summary>
    public string RowsKey => RunState.Hash(JsonLines.Text(_rows));

    private InputException OtherRows() => new($"round {number} of {Path.GetDirectoryName(folder)} has trained on other rows than this "
        + "recipe selects", "the keys of sampling, scoring or selection have changed since",
        "take the old values back, begin anew with --fresh=true, or name another output_dir");
}
