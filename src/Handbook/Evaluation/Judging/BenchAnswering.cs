using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Training.Sampling;

namespace Handbook.Evaluation.Judging;

/// <summary>A model that answers questions.</summary>
/// <param name="Name">As answers name it.</param>
/// <param name="Key">What decides its answers: its weights, its length, its seed.</param>
/// <param name="Open">Opens it for a temperature; sources of several temperatures may be open one after the other.</param>
internal sealed record Answerer(string Name, string Key, Func<double, IAnswerSource> Open);

/// <summary>Lets a model answer questions turn by turn, each at the temperature of its category (<c>gen_model_answer.py</c> of
/// FastChat).</summary>
/// <remarks>Answers are kept one by one; the file of answers is written when all are there. A model that cannot be asked a question (too
/// long for it) answers with an empty text, which is counted and told.</remarks>
internal static class BenchAnswering
{
    /// <summary>Answers what is not answered yet.</summary>
    /// <param name="folder">Gets <c>model_answer/NAME.jsonl</c>.</param>
    /// <returns>The file.</returns>
    public static string Run(Answerer model, IReadOnlyList<BenchQuestion> questions, string folder, IWorkObserver observer,
        CancellationToken cancel)
    {
        var path = Path.Combine(folder, "model_answer", $"{EvaluationRun.FileName(model.Name)}.jsonl");
        var said = Steps(model, questions, question => question.Temperature, folder, observer, cancel);
        var time = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() / 1000.0;
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        if (!File.Exists(path))
            JsonLines.Write(path, questions.OrderBy(question => question.Id).Select(question =>
                BenchAnswers.Line(question.Id, model.Name, said[question.Id], time)));
        return path;
    }

    /// <summary>Answers to each turn, by question; what was answered before is not asked again.</summary>
    public static IReadOnlyDictionary<int, string[]> Steps(Answerer model, IReadOnlyList<BenchQuestion> questions,
        Func<BenchQuestion, double> temperature, string folder, IWorkObserver observer, CancellationToken cancel)
    {
        var steps = Path.Combine(folder, ".steps", $"{EvaluationRun.FileName(model.Name)}.jsonl");
        new RunState(Path.Combine(folder, ".state.json"), "name another --output, or remove that folder to begin anew")
            .Require($"answers of {model.Name}", RunState.Hash(string.Join('\0', questions.SelectMany(question => question.Turns
                .Prepend($"{temperature(question)}").Prepend($"{question.Id}")).Prepend(model.Key))), steps);
        var said = questions.ToDictionary(question => question.Id, question => new string?[question.Turns.Count]);
        var (refused, cut) = (0, 0);
        using (var journal = new Journal(steps, line =>
        {
            if (said.TryGetValue(line.GetProperty("question_id").GetInt32(), out var turns)
                && line.GetProperty("turn").GetInt32() is var turn && turn < turns.Length)
                turns[turn] = line.GetProperty("text").GetString();
            Count(line.TryGetProperty("refused", out _), line.GetProperty("finished").GetBoolean());
        }))
        {
            using var bar = observer.Began($"answers of {model.Name}", said.Values.Sum(turns => turns.Length), "answers");
            bar.Report(said.Values.Sum(turns => turns.Count(turn => turn is not null)));
            foreach (var group in questions.GroupBy(temperature).OrderBy(group => group.Key))
            {
                if (group.All(question => said[question.Id].All(turn => turn is not null)))
                    continue;
                using var source = model.Open(group.Key);
                for (var turn = 0; turn < 2; turn++)
                    Turn([.. group.Where(question => turn < question.Turns.Count && said[question.Id][turn] is null)], turn, source);
            }

            void Turn(BenchQuestion[] missing, int turn, IAnswerSource source)
            {
                var asked = new List<(BenchQuestion Question, AnswerRequest Request)>();
                foreach (var question in missing)
                {
                    var prompt = Judge.Prompt("", [.. question.Turns.Take(turn + 1).SelectMany((words, i) =>
                        i < turn ? (string[])[words, said[question.Id][i]!] : [words])]);
                    if (source.Refuses(prompt) is { } reason)
                        Keep(question, "", finished: true, reason);
                    else
                        asked.Add((question, new(prompt, [question.Id * 2L + turn])));
                }
                source.Answer([.. asked.Select(one => one.Request)], (i, _, answer) =>
                    Keep(asked[i].Question, answer.Text.Trim(), answer.Finished, null), cancel);

                void Keep(BenchQuestion question, string text, bool finished, string? reason)
                {
                    var line = new JsonObject { ["question_id"] = question.Id, ["turn"] = turn, ["text"] = text, ["finished"] = finished };
                    if (reason is not null)
                        line["refused"] = reason;
                    journal.Add(line);
                    said[question.Id][turn] = text;
                    Count(reason is not null, finished);
                    bar.Advance();
                }
            }
        }
        if (refused > 0)
            observer.Warned($"{model.Name} could not be asked {refused:N0} turns, which count as empty answers; \"refused\" in {steps} says why");
        if (cut > 0)
            observer.Noted($"{cut:N0} answers of {model.Name} ended at their greatest length, --max-new-tokens");
        return said.ToDictionary(pair => pair.Key, pair => Array.ConvertAll(pair.Value, turn => turn!));

        void Count(bool isRefused, bool finished)
        {
            if (isRefused)
                refused++;
            else if (!finished)
                cut++;
        }
    }
}
