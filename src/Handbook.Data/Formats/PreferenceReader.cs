using System.Text.Json;
using Handbook.Data.Sources;
using Handbook.Text.Templates;

namespace Handbook.Data.Formats;

/// <summary>Reads rows with answers that people prefer or reject, whichever way a prompt is told from its answers.</summary>
/// <param name="row">Finds columns by our names.</param>
/// <param name="keepsToolCalls">Whether the chat template renders tool calls.</param>
/// <param name="answersAreLastTurns">Takes the last turns of two conversations for the answers; otherwise the prompt is what both begin
/// with.</param>
internal sealed class PreferenceReader(RowReader row, TurnRules keepsToolCalls, bool answersAreLastTurns)
{
    /// <summary>Columns that may hold what is answered, the first that a row has before the others.</summary>
    private static readonly string[] s_prompts = ["prompt", "messages", "conversations", "instruction"];

    /// <summary>Two answers, the better one first; of a list of answers, the best with each that is worse.</summary>
    public Example Pair(JsonElement json)
    {
        if (row.Column(json, "answers") is { } list)
            return Ranked(json, RankedAnswers.Read(list));
        var (chosen, rejected) = (row.Required(json, "chosen"), row.Required(json, "rejected"));
        if (row.HasColumn("preference") && SecondIsBetter(json))
            (chosen, rejected) = (rejected, chosen);
        var (good, bad) = (Turns(chosen), Turns(rejected));
        var margin = Margin(json);
        if (good is null && bad is null)
            return TextPair(json, Text("chosen", chosen), Text("rejected", rejected), margin);
        if (good is null || bad is null)
            throw new UnusableRowException("wrong type",
                $"chosen is {JsonOptions.Name(chosen.ValueKind)} and rejected {JsonOptions.Name(rejected.ValueKind)}, but both must be "
                + "texts or both lists of turns");
        var (prompt, goodAnswer, badAnswer) = Split(json, good, bad);
        var pair = Answered(json, prompt, goodAnswer, badAnswer, margin);
        return Unheard(json, prompt) is { } unheard ? pair with { Remarks = [.. pair.Remarks, unheard] } : pair;
    }

    /// <summary>An answer that is good or bad by itself, or a list of such.</summary>
    public Example Unpaired(JsonElement json)
    {
        if (row.Column(json, "answers") is { } list)
            return new SeveralExamples([.. RankedAnswers.Read(list).Select(answer => answer.Score is 0 or 1
                ? Only(TextPair(json, answer.Text, answer.Text, 0), isGood: answer.Score == 1)
                : throw new UnusableRowException("score is neither 1 nor 0",
                    $"it is {answer.Score}, so it does not say whether the answer is good"))]);
        var isGood = Label(json);
        if (row.Column(json, "prompt") is { } prompt && row.Column(json, "completion") is { } completion)
        {
            var (before, after) = (Turns(prompt), Turns(completion));
            return before is null && after is null && !row.NeedsTurns(json)
                ? new AnswersExample(Text("prompt", prompt), isGood ? Text("completion", completion) : null,
                    isGood ? null : Text("completion", completion))
                : Judged(before ?? [Turn("user", Text("prompt", prompt))], after ?? [Turn("assistant", Text("completion", completion))]);
        }
        if (Conversation(json) is not { } turns)
            return Judged([Turn("user", row.Instruction(json))], [Turn("assistant", row.Text(json, "output"))]);
        if (turns is not [.., var last] || Role(last) != "assistant")
            throw new UnusableRowException("no answer at the end", "the last turn is not the assistant's");
        return Judged(turns[..^1], [last]);

        ChatAnswersExample Judged(List<JsonElement> before, List<JsonElement> answer) =>
            Answered(json, before, isGood ? answer : null, isGood ? null : answer);
    }

    private SeveralExamples Ranked(JsonElement json, IReadOnlyList<(string Text, double Score)> answers)
    {
        var best = answers.MaxBy(answer => answer.Score);
        var worse = answers.Where(answer => answer.Score < best.Score).ToArray();
        return worse.Length > 0
            ? new([.. worse.Select(answer => TextPair(json, best.Text, answer.Text, Margin(json)))])
            : throw new UnusableRowException("no preference", "no answer is worse than the best")
            {
                IsRule = true,
                Fix = "give the answers of a row different scores"
            };
    }

    private static Example Only(Example pair, bool isGood) => pair switch
    {
        AnswersExample text => isGood ? text with { Rejected = null } : text with { Chosen = null },
        ChatAnswersExample chat => isGood ? chat with { Rejected = null } : chat with { Chosen = null },
        _ => pair,
    };

    private Example TextPair(JsonElement json, string good, string bad, double margin)
    {
        var prompt = row.Column(json, "prompt");
        if (prompt is { } said && Turns(said) is null && !row.NeedsTurns(json))
            return new AnswersExample(Text("prompt", said), good, bad, margin);
        if ((prompt is { } given ? Turns(given) ?? [Turn("user", Text("prompt", given))] : Before(json)) is { } turns)
            return Answered(json, turns, [Turn("assistant", good)], [Turn("assistant", bad)], margin);
        if (row.NeedsTurns(json))
            throw new UnusableRowException("no place for system, history or tools",
                "chosen and rejected are whole texts, and the row names no prompt")
            {
                Fix =
                "add a column prompt, or leave those columns out"
            };
        var shared = SharedLength(good, bad);
        return new AnswersExample(good[..shared], good[shared..], bad[shared..], margin);
    }

    /// <summary>Tells prompt and answers of two conversations apart.</summary>
    private (List<JsonElement> Prompt, List<JsonElement> Good, List<JsonElement> Bad) Split(JsonElement json, List<JsonElement> good,
        List<JsonElement> bad)
    {
        if (row.Column(json, "prompt") is { } given && Turns(given) is { } prompt)
            // Some sets repeat the prompt before each answer.
            return StartsWith(good, prompt) && StartsWith(bad, prompt) ? (prompt, good[prompt.Count..], bad[prompt.Count..])
                : (prompt, good, bad);
        if (good.Count == 0 || bad.Count == 0)
            throw new UnusableRowException("empty conversation", "");
        RequireAnswer("chosen", good);
        RequireAnswer("rejected", bad);
        var shared = 0;
        var most = Math.Min(good.Count, bad.Count) - 1;
        while (shared < most && JsonElement.DeepEquals(good[shared], bad[shared]))
            shared++;
        if (answersAreLastTurns && good.Count > 1)
            return (good[..^1], [good[^1]], [bad[^1]]);
        if (shared > 0)
            return (good[..shared], good[shared..], bad[shared..]);
        var before = row.Column(json, "prompt") is { } text ? [Turn("user", Text("prompt", text))] : Before(json);
        return before is null ? throw new UnusableRowException("no common prompt", "chosen and rejected differ from their first turn on, "
            + "and the row names no prompt")
        { Fix = "add a column prompt, or name it with column_mapping: {prompt: …}" }
            : (before, good, bad);
    }

    private static void RequireAnswer(string name, List<JsonElement> turns)
    {
        if (turns is [.., var last] && Role(last) is { } role && role is "user" or "system")
            throw new UnusableRowException("no answer at the end",
                $"{name} ends with the {role} turn")
            {
                Fix =
                "end chosen and rejected with what the assistant says, or remove the last turn"
            };
    }

    /// <summary>The turns before answers that are given by themselves: a conversation, or an instruction; null where there is
    /// neither.</summary>
    private List<JsonElement>? Before(JsonElement json) =>
        Conversation(json) ?? (row.Column(json, "instruction") is null ? null : [Turn("user", row.Instruction(json))]);

    private List<JsonElement>? Conversation(JsonElement json) =>
        (row.Column(json, "messages") ?? row.Column(json, "conversations")) is { } value
            ? [.. new ChatTurns(keepsToolCalls).Add(value).ToJson().EnumerateArray()] : null;

    /// <summary>Turns with answers behind them, and what of them is not read.</summary>
    private ChatAnswersExample Answered(JsonElement json, List<JsonElement> prompt, List<JsonElement>? good, List<JsonElement>? bad,
        double margin = 0)
    {
        var chat = row.Chat(json, row.Opened(json, List(prompt), out var remarks));
        if (TurnWeight.Remark(prompt.Concat(good ?? []).Concat(bad ?? [])) is { } unread)
            remarks = [.. remarks, unread];
        return new(chat, good is null ? null : List(good), bad is null ? null : List(bad), margin) { Remarks = remarks };
    }

    /// <summary>Says that a column with a prompt is not read, because two conversations hold a prompt that says something else; null where
    /// it is, or where both say the same.</summary>
    private string? Unheard(JsonElement json, List<JsonElement> prompt)
    {
        var name = s_prompts.FirstOrDefault(name => row.Column(json, name) is not null);
        return name is null || IsHeard() ? null
            : $"chosen and rejected hold their own prompt, and the column {row.NameOf(name)}, which says something else, is not read";

        bool IsHeard()
        {
            var value = row.Column(json, name)!.Value;
            try
            {
                if (Turns(value) is { } turns)
                    return turns.Zip(prompt).All(pair => JsonElement.DeepEquals(pair.First, pair.Second));
            }
            catch (UnusableRowException)
            {
                return false;       // no turns that anybody could read
            }
            return value.ValueKind == JsonValueKind.String && value.GetString()!.Trim() is var text
                && prompt.Any(turn => turn.TryGetProperty("content", out var said) && said.ValueKind == JsonValueKind.String
                    && said.GetString()!.Trim() is var words
                    && (words == text || name == "instruction" && words.StartsWith(text, StringComparison.Ordinal)));
        }
    }

    private double Margin(JsonElement json) => row.Column(json, "margin") is not { } value ? 0
        : value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var margin) && double.IsFinite(margin) ? margin
        : value.ValueKind == JsonValueKind.String && double.TryParse(value.GetString(), out margin) && double.IsFinite(margin) ? margin
        : throw new UnusableRowException("margin is no number", value.GetRawText());

    private bool Label(JsonElement json) => Scalar(row.Required(json, "label")) switch
    {
        "true" or "1" => true,
        "false" or "0" => false,
        var other => throw new UnusableRowException("label is neither true nor false", $"it is {other}")
        {
            Fix = "write true or false (1 "
            + "or 0) in the column that says whether an answer is good; column_mapping: {label: …} names another"
        },
    };

    private bool SecondIsBetter(JsonElement json) => (row.Column(json, "preference") is { } value ? Scalar(value) : "0") switch
    {
        "1" => false,
        "2" => true,
        "0" => throw new UnusableRowException("no preference", "neither answer is said to be better")
        {
            IsRule = true,
            Fix = "say 1 or 2 in the column that column_mapping names for preference"
        },
        var other => throw new UnusableRowException("preference is neither 1 nor 2", $"it is {other}"),
    };

    /// <summary>A value as text, however it is written: 1.0 and "1" are 1.</summary>
    private static string Scalar(JsonElement value)
    {
        var text = value.ValueKind == JsonValueKind.String ? value.GetString()!.Trim() : value.GetRawText();
        return double.TryParse(text, out var number) ? number.ToString() : text.ToLowerInvariant();
    }

    /// <summary>A list of turns, or one turn; null where the value is a text.</summary>
    private List<JsonElement>? Turns(JsonElement value) => !ChatTurns.AreTurns(value) ? null
        : ChatTurns.Parsed(value) is { ValueKind: JsonValueKind.Array } list && list.GetArrayLength() == 0 ? []
        : [.. new ChatTurns(keepsToolCalls).Add(value).ToJson().EnumerateArray()];

    private string Text(string name, JsonElement value) => value.ValueKind == JsonValueKind.String
        ? value.GetString()! : throw row.WrongType(name, value);

    private static JsonElement Turn(string role, string content) => TurnOpening.Turn(role, content);

    private static string? Role(JsonElement turn) => turn.GetProperty("role").GetString();

    private static JsonElement List(List<JsonElement> turns) => JsonLists.Of(turns);

    private static bool StartsWith(List<JsonElement> turns, List<JsonElement> beginning) =>
        turns.Count > beginning.Count && beginning.Index().All(turn => JsonElement.DeepEquals(turns[turn.Index], turn.Item));

    /// <summary>Length of the beginning that two texts share, without a blank at its end; at least one character is left to the shorter
    /// text.</summary>
    private static int SharedLength(string one, string other)
    {
        var shared = one.AsSpan().CommonPrefixLength(other);
        var differs = shared < Math.Min(one.Length, other.Length);
        if (!differs)
            shared = Math.Max(0, shared - 1);
        if (shared > 0 && char.IsHighSurrogate(one[shared - 1]))
            shared--;
        return differs && shared > 0 && one[shared - 1] == ' ' ? shared - 1 : shared;
    }
}
