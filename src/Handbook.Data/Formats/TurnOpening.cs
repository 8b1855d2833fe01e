using System.Text.Json;
using Handbook.Data.Sources;

namespace Handbook.Data.Formats;

/// <summary>What stands before a conversation in columns of its own: a system text, and a history of questions with answers.</summary>
internal static class TurnOpening
{
    /// <summary>The conversation behind its system text and its history. A system turn of its own stays the first.</summary>
    /// <param name="turns">A list of turns; may be empty.</param>
    /// <param name="system">The system text; null where there is none.</param>
    /// <param name="history">The turns before, as <see cref="History"/> gives them.</param>
    public static JsonElement Before(JsonElement turns, string? system, IReadOnlyCollection<JsonElement> history)
    {
        if (system is null && history.Count == 0)
            return turns;
        var hasOwn = HasSystem(turns);
        IEnumerable<JsonElement> opening = hasOwn ? [turns[0]] : system is null ? [] : [Turn("system", system)];
        return JsonLists.Of([.. opening, .. history, .. turns.EnumerateArray().Skip(hasOwn ? 1 : 0)]);
    }

    /// <summary>The turns up to what is asked for: what the assistant says last is left out. Empty where nobody
    /// else says anything.</summary>
    public static List<JsonElement> UpToAnswer(IEnumerable<JsonElement> turns)
    {
        List<JsonElement> asked = [.. turns];
        while (asked is [.., var last] && last.GetProperty("role").ValueEquals("assistant"))
            asked.RemoveAt(asked.Count - 1);
        return asked;
    }

    /// <summary>Whether a conversation begins with what the system says.</summary>
    public static bool HasSystem(JsonElement turns) =>
        turns.GetArrayLength() > 0 && turns[0].TryGetProperty("role", out var role)
            && (role.ValueEquals("system") || role.ValueEquals("developer"));

    /// <summary>The turns of a list of [question, answer] pairs, or of the JSON text of one.</summary>
    /// <exception cref="UnusableRowException">It is no such list.</exception>
    public static List<JsonElement> History(JsonElement? value)
    {
        if (value is not { } given)
            return [];
        var pairs = ChatTurns.Parsed(given);
        if (pairs.ValueKind == JsonValueKind.String && string.IsNullOrWhiteSpace(pairs.GetString()))
            return [];
        if (pairs.ValueKind != JsonValueKind.Array)
            throw new UnusableRowException("wrong type",
                $"history is {JsonOptions.Name(pairs.ValueKind)}, not a list of [question, answer] pairs");
        var turns = new List<JsonElement>();
        foreach (var pair in pairs.EnumerateArray())
            if (pair.ValueKind == JsonValueKind.Array && pair.GetArrayLength() == 2 && pair[0].ValueKind == JsonValueKind.String
                && pair[1].ValueKind == JsonValueKind.String)
                turns.AddRange([Turn("user", pair[0].GetString()!), Turn("assistant", pair[1].GetString()!)]);
            else
                throw new UnusableRowException("wrong type", "history is not a list of [question, answer] pairs");
        return turns;
    }

    /// <summary>One turn.</summary>
    public static JsonElement Turn(string role, string content) => new ChatTurns(rules: false).Add(role, content).ToJson()[0];
}
