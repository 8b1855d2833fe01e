using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Training.Sampling;

namespace Handbook.Evaluation.Judging;

/// <summary>Which answers a judge sees together.</summary>
internal enum JudgeMode
{
    /// <summary>Each answer alone gets a mark.</summary>
    Single,

    /// <summary>Each model against one.</summary>
    PairwiseBaseline,

    /// <summary>Each model against each other.</summary>
    PairwiseAll,
}

/// <summary>Something for a judge.</summary>
/// <param name="Question">The question.</param>
/// <param name="Turn">1, or 2 where the second turn is judged.</param>
/// <param name="Model">The model.</param>
/// <param name="Other">The one it is compared with; null for a mark.</param>
internal sealed record BenchMatch(BenchQuestion Question, int Turn, BenchAnswers Model, BenchAnswers? Other);

/// <summary>What a judge said of a match.</summary>
/// <param name="Match">The match.</param>
/// <param name="Mark">1 to 10; null where there is none, and of pairs.</param>
/// <param name="Winner">Of a pair: 1 or 2 for the model or the other, 0 for a tie or where the two orders disagree; null where a reply holds
/// no verdict.</param>
internal sealed record BenchJudgement(BenchMatch Match, double? Mark, int? Winner);

/// <summary>Lets a judge mark answers, or compare them in both orders (<c>gen_judgment.py</c> of FastChat).</summary>
internal sealed class BenchJudging
{
    private readonly JudgePrompts _prompts;
    private readonly IReadOnlyDictionary<int, IReadOnlyList<string>>? _references;
    private readonly Judge _judge;
    private readonly IWorkObserver _observer;

    /// <param name="references">Answers that judges see, by question; null for none.</param>
    public BenchJudging(Judge judge, JudgePrompts prompts, IReadOnlyDictionary<int, IReadOnlyList<string>>? references,
        IWorkObserver observer) =>
        (_judge, _prompts, _references, _observer) = (judge, prompts, references, observer);

    /// <summary>The matches of some models, in FastChat's order: first turns, then second ones.</summary>
    public static IReadOnlyList<BenchMatch> Matches(IReadOnlyList<BenchQuestion> questions, IReadOnlyList<BenchAnswers> models,
        JudgeMode mode, string? baseline)
    {
        (BenchAnswers, BenchAnswers?)[] pairs = mode switch
        {
            JudgeMode.Single => [.. models.Select(model => (model, (BenchAnswers?)null))],
            JudgeMode.PairwiseBaseline => [.. models.Where(model => model.Name != baseline)
                .Select(model => (model, (BenchAnswers?)models.First(other => other.Name == baseline)))],
            _ => [.. from i in Enumerable.Range(0, models.Count) from j in Enumerable.Range(i + 1, models.Count - i - 1)
                     select (models[i], (BenchAnswers?)models[j])],
        };
        return [.. from turn in (int[])[1, 2] from question in questions where question.Turns.Count >= turn
                   from pair in pairs select new BenchMatch(question, turn, pair.Item1, pair.Item2)];
    }

    /// <summary>Judges what is not judged yet.</summary>
    /// <param name="matches">All of one mode.</param>
    /// <param name="path">The file of judgements, a line for each match.</param>
    public IReadOnlyList<BenchJudgement> Run(IReadOnlyList<BenchMatch> matches, string path, CancellationToken cancel)
    {
        var found = new BenchJudgement?[matches.Count];
        var asked = matches.Select(Words).ToArray();
        var places = matches.Select((match, i) => (Key: Key(match), i)).ToDictionary(pair => pair.Key, pair => pair.i);
        _judge.Open();
        using var journal = new Journal(path, line =>
        {
            if (places.TryGetValue(KeyOf(line), out var i))
                found[i] = Known(matches[i], asked[i], line, path);
        });
        using var bar = _observer.Began($"judgements of {_judge.Name}", matches.Count, "judgements");
        bar.Report(found.Count(judgement => judgement is not null));
        int[] missing = [.. Enumerable.Range(0, matches.Count).Where(i => found[i] is null)];
        var requests = missing.SelectMany(i => asked[i].User.Select((user, order) => (Match: i, Order: order, User: user))).ToArray();
        var replies = missing.ToDictionary(i => i, i => new string?[asked[i].User.Count]);
        var heard = missing.ToDictionary(i => i, _ => 0);
        _judge.Ask([.. requests.Select(request => (asked[request.Match].Prompt.System, request.User))], (r, reply, reason) =>
        {
            var (i, order) = (requests[r].Match, requests[r].Order);
            replies[i][order] = reply ?? $"(not asked: {reason})";
            if (++heard[i] < replies[i].Length)
                return;
            var line = Line(matches[i], asked[i], replies[i]!);
            journal.Add(line);
            found[i] = Read(matches[i], JsonSerializer.SerializeToElement(line));
            bar.Advance();
        }, cancel);
        return found!;
    }

    private (JudgePrompt Prompt, IReadOnlyList<string> User) Words(BenchMatch match)
    {
        var question = match.Question;
        var prompt = _prompts.Of(match.Other is not null, question.NeedsReference, match.Turn == 2);
        var places = new Dictionary<string, string>();
        var isSecond = match.Turn == 2;
        if (isSecond)
            (places["question_1"], places["question_2"]) = (question.Turns[0], question.Turns[1]);
        else
            places["question"] = question.Turns[0];
        if (question.NeedsReference)
            for (var turn = 0; turn < match.Turn; turn++)
                places[$"ref_answer_{turn + 1}"] = _references![question.Id][turn];
        if (match.Other is null)
            return (prompt, [Filled("answer", match.Model, "", match.Model)]);
        return (prompt, [Filled("answer_a", match.Model, "answer_b", match.Other), Filled("answer_a", match.Other, "answer_b", match.Model)]);

        string Filled(string first, BenchAnswers one, string second, BenchAnswers two)
        {
            var filled = new Dictionary<string, string>(places);
            Put(first, one);
            if (second.Length > 0)
                Put(second, two);
            return prompt.Filled(filled);

            void Put(string name, BenchAnswers answers)
            {
                if (!isSecond)
                    filled[name] = answers.Turns[question.Id][0];
                else
                    for (var turn = 0; turn < 2; turn++)
                        filled[$"{name}_{turn + 1}"] = answers.Turns[question.Id][turn];
            }
        }
    }

    private JsonObject Line(BenchMatch match, (JudgePrompt Prompt, IReadOnlyList<string> User) asked, string[] replies)
    {
        var line = new JsonObject { ["question_id"] = match.Question.Id };
        var judge = new JsonArray(_judge.Name, asked.Prompt.Name);
        if (match.Other is null)
        {
            line["model"] = match.Model.Name;
            line["judge"] = judge;
            line["user_prompt"] = asked.User[0];
            line["judgment"] = replies[0];
            line["score"] = Verdict.Mark(replies[0]) ?? -1;
        }
        else
        {
            (line["model_1"], line["model_2"]) = (match.Model.Name, match.Other.Name);
            line["g1_winner"] = Named(Verdict.Of(replies[0], asked.Prompt.Rating), "model_1", "model_2");
            line["g2_winner"] = Named(Verdict.Of(replies[1], asked.Prompt.Rating), "model_2", "model_1");
            line["judge"] = judge;
            for (var order = 0; order < 2; order++)
                (line[$"g{order + 1}_user_prompt"], line[$"g{order + 1}_judgment"]) = (asked.User[order], replies[order]);
        }
        line["turn"] = match.Turn;
        line["tstamp"] = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() / 1000.0;
        return line;

        static string Named(Winner winner, string a, string b) =>
            winner switch { Winner.A => a, Winner.B => b, Winner.Tie => "tie", _ => "error" };
    }

    private static BenchJudgement Known(BenchMatch match, (JudgePrompt Prompt, IReadOnlyList<string> User) asked, JsonElement line, string path)
    {
        string[] keys = match.Other is null ? ["user_prompt"] : ["g1_user_prompt", "g2_user_prompt"];
        return keys.Select(key => line.GetProperty(key).GetString()).SequenceEqual(asked.User) ? Read(match, line)
            : throw new InputException($"{path} holds a judgement of other answers of {match.Model.Name} to question {match.Question.Id}, "
                + "or by another prompt", "marks of different answers would be mixed up",
                "name another --output, or remove that file to judge anew");
    }

    private static BenchJudgement Read(BenchMatch match, JsonElement line)
    {
        if (match.Other is null)
            return new(match, line.GetProperty("score").GetDouble() is >= 0 and var mark ? mark : null, null);
        var (first, second) = (line.GetProperty("g1_winner").GetString(), line.GetProperty("g2_winner").GetString());
        return new(match, null, first == "error" || second == "error" ? null : first != second || first == "tie" ? 0 : first == "model_1" ? 1 : 2);
    }

    private static (int, int, string?, string?) Key(BenchMatch match) =>
        (match.Question.Id, match.Turn, match.Model.Name, match.Other?.Name);

    private static (int, int, string?, string?) KeyOf(JsonElement line) => (line.GetProperty("question_id").GetInt32(),
        line.GetProperty("turn").GetInt32(), (line.TryGetProperty("model", out var model) ? model : line.GetProperty("model_1")).GetString(),
        line.TryGetProperty("model_2", out var other) ? other.GetString() : null);
}
