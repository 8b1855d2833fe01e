using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Training.Sampling;

namespace Handbook.Evaluation.Judging;

/// <summary>A question of one or two turns, as <c>question.jsonl</c> of MT-Bench has it. arXiv:2306.05685.</summary>
/// <param name="Id"><c>question_id</c>.</param>
/// <param name="Category">Decides the temperature of the answers, and whether the judge sees a reference answer.</param>
/// <param name="Turns">What the user says, turn after turn.</param>
internal sealed record BenchQuestion(int Id, string Category, IReadOnlyList<string> Turns)
{
    /// <summary>Whether the judge sees a reference answer (<c>NEED_REF_CATS</c> of FastChat).</summary>
    public bool NeedsReference => Category is "math" or "reasoning" or "coding" or "arena-hard-200";

    /// <summary>The temperature of its answers (<c>temperature_config</c> of FastChat).</summary>
    public double Temperature => Category switch
    {
        "extraction" or "math" or "coding" or "reasoning" or "arena-hard-200" => 0,
        "stem" or "humanities" => 0.1,
        _ => 0.7,
    };

    /// <exception cref="InputException">The file is not one of questions.</exception>
    public static IReadOnlyList<BenchQuestion> Read(string path)
    {
        var questions = new List<BenchQuestion>();
        var seen = new Dictionary<int, string>();
        foreach (var row in BenchRow.Read(path, "--questions"))
        {
            var question = new BenchQuestion(row.Whole("question_id"), row.TextOrNull("category") ?? "general", row.Texts("turns"));
            if (question.Turns.Count > 2)
                throw new InputException($"{row.Place}: the question has {question.Turns.Count} turns",
                    "judges are asked about a first and a second one", "leave the others out");
            if (!seen.TryAdd(question.Id, row.Place))
                throw new InputException($"{row.Place}: question_id {question.Id} stands at {seen[question.Id]}, too",
                    fix: "give each question a number of its own");
            questions.Add(question);
        }
        return questions;
    }
}

/// <summary>What a model answered, by question, as FastChat's <c>model_answer/NAME.jsonl</c> has it.</summary>
/// <param name="Name">The model.</param>
/// <param name="Turns">Answers to each turn, by <c>question_id</c>.</param>
internal sealed record BenchAnswers(string Name, IReadOnlyDictionary<int, IReadOnlyList<string>> Turns)
{
    /// <summary>Answers to these questions; of several choices the first counts, as in FastChat.</summary>
    /// <param name="path">A file of answers; the model is its name without <c>.jsonl</c>.</param>
    /// <param name="questions">Questions; other answers are passed over.</param>
    /// <param name="option">What named the file.</param>
    /// <param name="need">The questions that must have an answer; null for all.</param>
    /// <exception cref="InputException">An answer is missing or has another form.</exception>
    public static BenchAnswers Read(string path, IReadOnlyList<BenchQuestion> questions, string option,
        Func<BenchQuestion, bool>? need = null)
    {
        var wanted = questions.Where(need ?? (_ => true)).ToDictionary(question => question.Id);
        var turns = new Dictionary<int, IReadOnlyList<string>>();
        foreach (var row in BenchRow.Read(path, option))
        {
            var id = row.Whole("question_id");
            if (!wanted.TryGetValue(id, out var question))
                continue;
            var choices = row.Value.TryGetProperty("choices", out var list) && list.ValueKind == JsonValueKind.Array
                && list.GetArrayLength() > 0 && list[0].ValueKind == JsonValueKind.Object ? list[0]
                : throw row.Missing("choices", "a list with the turns of an answer");
            var said = new BenchRow(choices, row.Place).Texts("turns");
            if (said.Count < question.Turns.Count)
                throw new InputException($"{row.Place}: question {id} has {question.Turns.Count} turns, and the answer {said.Count}",
                    fix: "answer the question again, or leave its line out");
            turns[id] = said;
        }
        int[] missing = [.. wanted.Keys.Where(id => !turns.ContainsKey(id))];
        return missing.Length == 0 ? new(Path.GetFileNameWithoutExtension(path), turns)
            : throw new InputException($"{option} {path} answers {turns.Count:N0} of {wanted.Count:N0} questions: "
                + $"{string.Join(", ", missing.Take(5))}{(missing.Length > 5 ? ", …" : "")} are missing",
                fix: "name the questions that were answered with --questions, or answer the others, too");
    }

    /// <summary>A line of the file.</summary>
    /// <param name="question"><c>question_id</c>.</param>
    /// <param name="model"><c>model_id</c>.</param>
    /// <param name="turns">The answers.</param>
    /// <param name="time">Seconds since 1970.</param>
    public static JsonObject Line(int question, string model, IReadOnlyList<string> turns, double time) => new()
    {
        ["question_id"] = question,
        ["answer_id"] = RunState.Hash(string.Join('\0', turns.Prepend(model).Prepend($"{question}")))[..22],
        ["model_id"] = model,
        ["choices"] = new JsonArray(new JsonObject
        {
            ["index"] = 0,
            ["turns"] = new JsonArray([.. turns.Select(turn => (JsonNode)turn)]),
        }),
        ["tstamp"] = time,
    };
}
