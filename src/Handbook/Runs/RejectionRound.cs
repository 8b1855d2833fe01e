using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Models.Generation;
using Handbook.Recipes;
using Handbook.Training.Distributed;
using Handbook.Training.Progress;
using Handbook.Training.Sampling;
using Handbook.Training.Sampling.Scorers;

namespace Handbook.Runs;

/// <summary>One round in its folder: sampled answers, their scores, what is trained on. Every stage goes on where it stopped.</summary>
/// <remarks><c>answers.jsonl</c> and <c>scores.jsonl</c> only grow, in the order in which things happen; <c>train.jsonl</c> is in the order
/// of the prompts.</remarks>
/// <param name="workers">Who share the prompts out; each does of every stage what falls to its prompts, and knows what all have
/// done.</param>
internal sealed class RejectionRound(int number, string folder, RunState state, Recipe recipe, IReadOnlyList<Prompt> prompts,
    Workers workers, IRunObserver observer)
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
    public bool HasTraining { get; private set; }

    /// <summary>Prompts of which nothing is used, by reason.</summary>
    public SortedDictionary<string, int> PromptsDropped { get; } = new(StringComparer.Ordinal);

    /// <summary>Answers that are not used, by reason.</summary>
    public SortedDictionary<string, int> SamplesDropped { get; } = new(StringComparer.Ordinal);

    /// <summary>What the answers came from.</summary>
    public string Source { get; private set; } = "";

    public long Stream(int prompt, int sample) => ((long)(number - 1) << 48) + prompt * 65536L + sample;

    /// <summary>Checks that the answers in the folder belong to this run.</summary>
    /// <param name="key">What decides the answers: another key in the folder means that they are of another run. Asked in the first
    /// worker.</param>
    public void Begin(Func<string> key) => HasTraining = workers.First(() =>
    {
        State.Require("answers", key(), Path.Combine(folder, Answers));
        return State.Known("training") is not null;
    });

    /// <summary>Samples what is missing.</summary>
    /// <param name="name">What the answers come from.</param>
    /// <param name="open">Opens it, where anything is missing.</param>
    /// <param name="stop">Ends it early; also where another worker was asked to.</param>
    public void Sample(string name, Func<IAnswerSource> open, CancellationTokenSource stop)
    {
        Source = name;
        using var at = workers.At($"round {number}: sampling");
        using var journal = new SharedJournal(workers, Path.Combine(folder, Answers), Read);
        var all = Enumerable.Range(0, prompts.Count)
            .Select(p => (Prompt: p, Samples: Enumerable.Range(0, _samples[p].Length).Where(s => _samples[p][s] is null).ToArray()))
            .Where(group => group.Samples.Length > 0).ToArray();
        if (all.Length == 0)
            return;
        if (HasTraining)
            throw OtherRows();
        var mine = Share(all, group => group.Samples.Length);
        using var source = workers.FirstOnHost(open);
        using var bar = Began("sampling", _samples.Sum(group => group.Length), all.Sum(group => group.Samples.Length),
            mine.Sum(group => group.Samples.Length));
        Together(() => source.Answer([.. mine.Select(group =>
            new AnswerRequest(prompts[group.Prompt], [.. group.Samples.Select(s => Stream(group.Prompt, s))]))], (request, place, answer) =>
        {
            var (prompt, sample) = (mine[request].Prompt, mine[request].Samples[place]);
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
        }, stop.Token), journal, stop);
    }

    /// <summary>This worker's part of what is to be done for prompts.</summary>
    private T[] Share<T>(T[] all, Func<T, int> cost) =>
        [.. workers.Share([.. Enumerable.Range(0, all.Length)], i => cost(all[i])).Select(i => all[i])];

    /// <summary>Shows what is done of everything; of what is missing, this worker's part.</summary>
    private IWorkCount Began(string what, int all, int missing, int mine)
    {
        var bar = observer.Began($"round {number}: {what}", all - missing + mine, "answers");
        bar.Report(all - missing);
        return bar;
    }

    /// <summary>Does this worker's part, then waits for the others'. Whoever was asked to stop, all stop once each has done its part.</summary>
    private void Together(Action work, SharedJournal journal, CancellationTokenSource stop)
    {
        try
        {
            work();
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            // said to the others below
        }
        journal.Share();
        if (workers.Any(stop.IsCancellationRequested))
            stop.Cancel();
        stop.Token.ThrowIfCancellationRequested();
    }

    private bool Read(JsonElement answer)
    {
        var (prompt, sample) = (answer.GetProperty("prompt").GetInt32(), answer.GetProperty("sample").GetInt32());
        if (prompt >= _samples.Length || sample >= _samples[prompt].Length)
            return true;     // the recipe asks for fewer now
        var isNew = _samples[prompt][sample] is null;
        _samples[prompt][sample] = new(prompt, sample,
            new(answer.GetProperty("answer").GetString()!, answer.GetProperty("finished").GetBoolean(),
            answer.GetProperty("tokens") is { ValueKind: JsonValueKind.Number } tokens ? tokens.GetInt32() : null,
            answer.GetProperty("log_prob") is { ValueKind: JsonValueKind.Number } logProb ? logProb.GetDouble() : null));
        return isNew;
    }

    /// <summary>Scores what has no score yet, with each scorer.</summary>
    /// <param name="key">What decides the scores. Asked in the first worker.</param>
    /// <param name="stop">Ends it early; also where another worker was asked to.</param>
    public void Score(Func<string> key, ScorerSet scorers, CancellationTokenSource stop)
    {
        workers.First(() =>
        {
            if (key() is var now && State.Known("scores") is { } before && before != now)
            {
                if (HasTraining)
                    throw OtherRows();
                // sampling is the expensive part; scores by other rules are of no use
                foreach (var file in Directory.EnumerateFiles(folder, "scores*.jsonl").ToArray())
                    File.Delete(file);
                observer.Said($"round {number}: the keys of scoring have changed: scoring again");
            }
            State.Remember("scores", now);
        });
        using var journal = new SharedJournal(workers, Path.Combine(folder, Scores), ReadScore);
        for (var i = 0; i < scorers.Names.Count; i++)
            Score(scorers.Names[i], scorers, i, journal, stop);
        foreach (var sample in _samples.SelectMany(group => group))
            sample!.Total = Enumerable.Range(0, scorers.Names.Count).Sum(i => scorers.Weights[i] * sample.Scores[scorers.Names[i]].Value);
    }

    // Answers to one prompt are scored by one worker: equal ones among them get the same score, and a reward model reads the prompt once.
    private void Score(string name, ScorerSet scorers, int index, SharedJournal journal, CancellationTokenSource stop)
    {
        var all = _samples.Select(group => group.Where(sample => !sample!.Scores.ContainsKey(name)).ToArray())
            .Where(group => group.Length > 0).ToArray();
        if (all.Length == 0)
            return;
        var mine = Share(all, group => group.Length).SelectMany(group => group).ToArray();
        using var at = workers.At($"round {number}: scoring ({name})");
        var scorer = workers.FirstOnHost(() => scorers[index]);
        using var bar = Began($"scoring ({name})", _samples.Sum(group => group.Length), all.Sum(group => group.Length), mine.Length);
        Together(() => scorer.Score([.. mine.Select(sample => new SampledAnswer
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
                ["prompt"] = mine[i]!.Prompt,
                ["sample"] = mine[i]!.Sample,
                ["scorer"] = name,
                ["score"] = RoundSample.Number(score.Value),
                ["detail"] = score.Detail
            });
            mine[i]!.Scores[name] = score;
            bar.Advance();
        }, stop.Token), journal, stop);
    }

    private bool ReadScore(JsonElement score)
    {
        var (prompt, sample) = (score.GetProperty("prompt").GetInt32(), score.GetProperty("sample").GetInt32());
        if (prompt >= _samples.Length || sample >= _samples[prompt].Length)
            return true;
        var (scores, name) = (_samples[prompt][sample]!.Scores, score.GetProperty("scorer").GetString()!);
        var isNew = !scores.ContainsKey(name);
        scores[name] = new(score.GetProperty("score") is { ValueKind: JsonValueKind.Number } value ? value.GetDouble() : double.NaN,
            score.GetProperty("detail").GetString());
        return isNew;
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
        var size = long.Parse(workers.First(() =>
        {
            if (State.Known("training") is { } trained && trained != RowsKey)
                throw OtherRows();
            JsonLines.Write(Dataset, _rows);
            return $"{new FileInfo(Dataset).Length}";
        }), CultureInfo.InvariantCulture);
        if (!workers.IsFirst)
            OneFolder.Sees(Dataset, size);      // a disk of a network may be late; who does not see it at all says so where it is read
    }

    /// <summary>Identifies the rows that a model was trained on.</summary>
    public string RowsKey => RunState.Hash(JsonLines.Text(_rows));

    private InputException OtherRows() => new($"round {number} of {Path.GetDirectoryName(folder)} has trained on other rows than this "
        + "recipe selects", "the keys of sampling, scoring or selection have changed since",
        "take the old values back, begin anew with --fresh=true, or name another output_dir");
}
