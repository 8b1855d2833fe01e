using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Base.Progress;
using Handbook.Models.Generation;
using Handbook.Training;
using Handbook.Training.Progress;
using Handbook.Training.Sampling;

namespace Handbook.Runs;

/// <summary>What makes critique–revision data.</summary>
internal sealed record ConstitutionOptions
{
    /// <summary>The principles, and exemplars of critiques and revisions.</summary>
    public required Constitution Constitution { get; init; }

    /// <summary>What the model is asked, in order; the results keep it.</summary>
    public required IReadOnlyList<Prompt> Prompts { get; init; }

    /// <summary>The folder that gets the data.</summary>
    public required string Output { get; init; }

    /// <summary>Critiques and revisions of each answer, each by another principle.</summary>
    public int Revisions { get; init; } = 1;

    /// <summary>Share of the prompts whose rows are held out.</summary>
    public double TestShare { get; init; } = 0.05;

    /// <summary>Decides principles and held-out rows.</summary>
    public long Seed { get; init; } = 42;

    /// <summary>What decides the answers, apart from all this: the model and how it is sampled.</summary>
    public required string SourceKey { get; init; }
}

/// <summary>What came of critique and revision.</summary>
/// <param name="Rows">Rows by file.</param>
/// <param name="LeftOut">Prompts that gave none, by reason.</param>
internal sealed record ConstitutionResult(IReadOnlyDictionary<string, int> Rows, IReadOnlyDictionary<string, int> LeftOut);

/// <summary>Lets a model answer, criticise its answers by a constitution and revise them; writes conversations and preference pairs.
/// arXiv:2212.08073, §3.</summary>
/// <remarks>
/// <c>train_sft.jsonl</c>, <c>test_sft.jsonl</c> (messages: the prompt and the last revision) and <c>train_prefs.jsonl</c>,
/// <c>test_prefs.jsonl</c> (chosen: the last revision; rejected: the first answer) have the columns of the published sets, with every
/// critique and revision. <c>steps.jsonl</c> only grows, and the same command goes on from it.
/// </remarks>
internal sealed class ConstitutionRun
{
    private readonly ConstitutionOptions _options;
    private readonly IWorkObserver _observer;
    private readonly GivenAnswer?[][] _said;
    private readonly string?[] _dropped;
    private readonly SplitOrder _order;

    private ConstitutionRun(ConstitutionOptions options, IWorkObserver observer)
    {
        (_options, _observer) = (options, observer);
        _said = [.. options.Prompts.Select(_ => new GivenAnswer?[1 + 2 * options.Revisions])];
        _dropped = new string?[options.Prompts.Count];
        _order = new(options.Seed);
    }

    /// <summary>Makes the data.</summary>
    /// <param name="open">Opens what answers, where anything is missing.</param>
    /// <param name="observer">Hears what happens; null for nobody.</param>
    /// <param name="commandLine">What the user typed, shown to whoever finds the folder in use; null where the run was not started by a
    /// command.</param>
    /// <param name="cancel">Ends the run; the same call goes on from there.</param>
    /// <exception cref="InputException">Something the user can fix; what was said is kept.</exception>
    public static ConstitutionResult Run(ConstitutionOptions options, Func<IAnswerSource> open, IWorkObserver? observer = null,
        string? commandLine = null, CancellationToken cancel = default)
    {
        if (options.Revisions < 1)
            throw new InputException($"--revisions is {options.Revisions}, but must be at least 1", fix: "use 1");
        if (options.TestShare is < 0 or >= 1)
            throw new InputException($"--test-share is {options.TestShare}, but must be at least 0 and below 1", fix: "use 0.05");
        using var taken = RunLock.Take(options.Output, commandLine, "--output");
        var run = new ConstitutionRun(options, observer ?? RunObservers.None);
        run.Ask(open, taken, cancel);
        return run.Write();
    }

    /// <summary>What decides a model's answers, as a part of <see cref="ConstitutionOptions.SourceKey"/>.</summary>
    /// <param name="model">Its folder.</param>
    public static string KeyOf(string model) => RunState.WeightsOf(model);

    private void Ask(Func<IAnswerSource> open, RunLock taken, CancellationToken cancel)
    {
        var asked = string.Join('\n',
            _options.Prompts.Select(prompt => (prompt.Messages is { } messages ? messages.GetRawText() : prompt.Text)
            + prompt.Inputs?.ToJson()));
        var steps = Path.Combine(_options.Output, "steps.jsonl");
        IAnswerSource? source = null;
        try
        {
            if (!File.Exists(steps))
                source = open();        // before anything is written: what cannot be opened leaves no folder behind
            taken.Hold();
            new RunState(Path.Combine(_options.Output, ".state.json"), "name another --output, or remove that folder to begin anew")
                .Require("steps", RunState.Hash($"{_options.SourceKey}\n{_options.Seed}\n{_options.Constitution.Text}\n{asked}"), steps);
            using var journal = new Journal(steps, Read);
            for (var step = 0; step < 1 + 2 * _options.Revisions; step++)
                Ask(step, journal, () => source ??= open(), cancel);
        }
        finally
        {
            source?.Dispose();
        }
    }

    private void Read(JsonElement line)
    {
        var (prompt, step) = (line.GetProperty("prompt").GetInt32(), line.GetProperty("step").GetInt32());
        if (prompt < _said.Length && step < _said[prompt].Length)
            _said[prompt][step] = new(line.GetProperty("text").GetString()!, line.GetProperty("finished").GetBoolean());
    }

    /// <summary>Step 0 is the answer; 2r − 1 the critique of round r, 2r its revision.</summary>
    private void Ask(int step, Journal journal, Func<IAnswerSource> source, CancellationToken cancel)
    {
        for (var p = 0; p < _said.Length; p++)
            _dropped[p] ??= step == 0 ? null : Trouble(_said[p][step - 1]!, step - 1);
        int[] missing = [.. Enumerable.Range(0, _said.Length).Where(p => _dropped[p] is null && _said[p][step] is null)];
        if (missing.Length == 0)
            return;
        var what = step == 0 ? "answers" : step % 2 == 1 ? "critiques" : "revisions";
        var requests = new List<(int Prompt, AnswerRequest Request)>();
        foreach (var p in missing)
        {
            var request = new AnswerRequest(new Prompt
            {
                Messages = JsonSerializer.SerializeToElement(Conversation(p, step)),
                Inputs = _options.Prompts[p].Inputs,
                Place = _options.Prompts[p].Place
            }, [p * 65536L + step]);
            if (source().Refuses(request.Prompt) is { } reason)
                _dropped[p] = step == 0 ? reason : $"with its critique: {reason}";
            else
                requests.Add((p, request));
        }
        using var bar = _observer.Began($"{what}{(step > 2 ? $" ({(step + 1) / 2} of {_options.Revisions})" : "")}", _said.Length, what);
        bar.Report(_said.Length - missing.Length);
        source().Answer([.. requests.Select(entry => entry.Request)], (request, _, answer) =>
        {
            var p = requests[request].Prompt;
            journal.Add(new JsonObject { ["prompt"] = p, ["step"] = step, ["text"] = answer.Text.Trim(), ["finished"] = answer.Finished });
            _said[p][step] = new(answer.Text.Trim(), answer.Finished);
            bar.Advance();
        }, cancel);
    }

    // A critique that is cut still says something; an answer that is cut is no answer.
    private static string? Trouble(GivenAnswer said, int step) =>
        said.Text.Length == 0 ? step == 0 ? "empty answer" : step % 2 == 1 ? "empty critique" : "empty revision"
        : !said.Finished && step % 2 == 0 ? step == 0 ? "answer cut at its greatest length" : "revision cut at its greatest length" : null;

    /// <summary>The turns before a step: the prompt with its latest answer, then what is asked of it.</summary>
    private JsonArray Conversation(int prompt, int step)
    {
        var turns = new JsonArray([.. _options.Constitution.Exemplars.Select(turn => turn.DeepClone()),
            .. PromptTurns(_options.Prompts[prompt])]);
        // Only one system turn, at the front.
        foreach (var system in turns.Skip(1).Where(turn => (string?)turn!["role"] == "system").ToArray())
        {
            turns.Remove(system);
            if ((string?)turns[0]!["role"] != "system")
                turns.Insert(0, system);
        }
        if (step == 0)
            return turns;
        var round = (step + 1) / 2;
        var principle = PrincipleOf(prompt, round);
        turns.Add(Turn("assistant", _said[prompt][2 * round - 2]!.Text));
        turns.Add(Turn("user", principle.Critique));
        if (step % 2 == 1)
            return turns;
        turns.Add(Turn("assistant", _said[prompt][step - 1]!.Text));
        turns.Add(Turn("user", principle.Revision));
        return turns;
    }

    private void TellOfEmpty(Dictionary<string, List<JsonObject>> files)
    {
        if (files.Values.All(rows => rows.Count == 0))
        {
            _observer.Warned($"no row was made of {_said.Length:N0} prompts; what was said is "
                + $"in {Path.Combine(_options.Output, "steps.jsonl")}");
            return;
        }
        var drawn = Enumerable.Range(0, _said.Length).Count(p => _order.Share(p) < _options.TestShare);
        if (_options.TestShare > 0 && files["test_sft"].Count == 0)
            _observer.Noted($"there is no test_sft.jsonl and no test_prefs.jsonl: "
                + (drawn == 0 ? $"--test-share {_options.TestShare:g} is drawn prompt by prompt, and none of {_said.Length:N0} was drawn"
                    : $"none of the {drawn:N0} prompts held out gave a row")
                + "; raise --test-share or give more prompts, or evaluate on a part of the training rows' split");
        else if (_options.TestShare > 0 && files["test_prefs"].Count == 0)
            _observer.Noted($"there is no test_prefs.jsonl: no revision of the {files["test_sft"].Count:N0} held-out prompts differs "
                + "from its answer");
        if (files["train_prefs"].Count == 0)
            _observer.Noted("train_prefs.jsonl is empty: no revision differs from its answer");
    }

    /// <summary>The principle of a round: another one in each round, until all have had their turn.</summary>
    private Principle PrincipleOf(int prompt, int round)
    {
        var all = _options.Constitution.Principles;
        return all[_order.Permutation(prompt, all.Count)[(round - 1) % all.Count]];
    }

    private ConstitutionResult Write()
    {
        var files = new Dictionary<string, List<JsonObject>>
        {
            ["train_sft"] = [],
            ["test_sft"] = [],
            ["train_prefs"] = [],
            ["test_prefs"] = []
        };
        for (var p = 0; p < _said.Length; p++)
        {
            _dropped[p] ??= Trouble(_said[p][^1]!, _said[p].Length - 1);
            if (_dropped[p] is not null)
                continue;
            var split = _order.Share(p) < _options.TestShare ? "test" : "train";
            var (first, last) = (_said[p][0]!.Text, _said[p][^1]!.Text);
            files[split + "_sft"].Add(Row(p, ("messages", With(p, last))));
            if (first == last)
                _dropped[p] = "revision equal to the answer: no pair";
            else
                files[split + "_prefs"].Add(Row(p, ("chosen", With(p, last)), ("rejected", With(p, first))));
        }
        foreach (var (name, rows) in files)
            if (rows.Count > 0 || name.StartsWith("train", StringComparison.Ordinal))
                JsonLines.Write(Path.Combine(_options.Output, name + ".jsonl"), rows);
            else
                File.Delete(Path.Combine(_options.Output, name + ".jsonl"));
        WholeFile.WriteText(Path.Combine(_options.Output, "constitution.yaml"), _options.Constitution.Text);
        TellOfEmpty(files);
        return new(files.Where(file => file.Value.Count > 0).ToDictionary(file => file.Key, file => file.Value.Count),
            _dropped.OfType<string>().GroupBy(reason => reason).ToDictionary(group => group.Key, group => group.Count()));
    }

    private JsonObject Row(int prompt, params (string Name, JsonNode Value)[] columns)
    {
        var row = new JsonObject
        {
            ["index"] = prompt,
            ["prompt"] = _options.Prompts[prompt].Messages is { } messages
            ? JsonNode.Parse(messages.GetRawText()) is JsonArray { Count: > 0 } turns ? (string?)turns[^1]!["content"] : null
            : _options.Prompts[prompt].Text
        };
        foreach (var (name, value) in columns)
            row[name] = value;
        _options.Prompts[prompt].Inputs?.AddTo(row);
        row["init_response"] = _said[prompt][0]!.Text;
        row["principles"] =
            new JsonArray([.. Enumerable.Range(1, _options.Revisions).Select(round => (JsonNode?)PrincipleOf(prompt, round).Name)]);
        row["critiques"] =
            new JsonArray([.. Enumerable.Range(1, _options.Revisions).Select(round => (JsonNode?)_said[prompt][2 * round - 1]!.Text)]);
        row["revisions"] =
            new JsonArray([.. Enumerable.Range(1, _options.Revisions).Select(round => (JsonNode?)_said[prompt][2 * round]!.Text)]);
        return row;
    }

    private JsonArray With(int prompt, string answer) => new([.. PromptTurns(_options.Prompts[prompt]), Turn("assistant", answer)]);

    private static IEnumerable<JsonNode?> PromptTurns(Prompt prompt) =>
        prompt.Messages is { } messages ? messages.EnumerateArray().Select(turn => JsonNode.Parse(turn.GetRawText()))
            : [Turn("user", prompt.Text!)];

    private static JsonObject Turn(string role, string content) => new() { ["role"] = role, ["content"] = content };
}

/// <summary>Draws that follow from a seed and a number alone, so that they do not change when other prompts come or go.</summary>
internal readonly struct SplitOrder(long seed)
{
    /// <summary>A number from 0 to 1 for an item.</summary>
    public double Share(int item) => (SplitMix.Mix(SplitMix.Mix((ulong)seed) ^ (ulong)(2L * item + 1)) >> 11) * (1.0 / (1UL << 53));

    /// <summary>0 … count−1 in an order of the item's own.</summary>
    public int[] Permutation(int item, int count)
    {
        var random = new SplitMix(SplitMix.Mix((ulong)seed) ^ (ulong)(2L * item));
        int[] order = [.. Enumerable.Range(0, count)];
        for (var i = count - 1; i > 0; i--)
        {
            var j = (int)(random.Next() % (ulong)(i + 1));
            (order[i], order[j]) = (order[j], order[i]);
        }
        return order;
    }
}
