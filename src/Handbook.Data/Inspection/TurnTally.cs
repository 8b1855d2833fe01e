using System.Text.Json;
using Handbook.Data.Formats;

namespace Handbook.Data.Inspection;

/// <summary>Who speaks in conversations, how often, and in which order.</summary>
internal sealed class TurnTally
{
    public long Conversations { get; private set; }

    /// <summary>Turns of each role.</summary>
    public SortedDictionary<string, long> Roles { get; } = new(StringComparer.Ordinal);

    /// <summary>Conversations that end with each role.</summary>
    public SortedDictionary<string, long> LastRoles { get; } = new(StringComparer.Ordinal);

    /// <summary>Turns of a conversation.</summary>
    public Measurements Turns { get; } = new();

    /// <summary>Conversations that begin with a system turn.</summary>
    public long WithSystem { get; private set; }

    /// <summary>Conversations in which a role other than tool speaks twice in a row.</summary>
    public long Doubled { get; private set; }

    /// <summary>Conversations with a turn that says nothing.</summary>
    public long Silent { get; private set; }

    /// <summary>Conversations with a call of a tool.</summary>
    public long WithCalls { get; private set; }

    public void Add(IReadOnlyList<JsonElement> turns)
    {
        if (turns.Count == 0)
            return;
        Conversations++;
        Turns.Add(turns.Count);
        string[] roles = [.. turns.Select(RowParts.Role)];
        foreach (var role in roles)
            Roles[role] = Roles.GetValueOrDefault(role) + 1;
        LastRoles[roles[^1]] = LastRoles.GetValueOrDefault(roles[^1]) + 1;
        WithSystem += roles[0] == "system" ? 1 : 0;
        Doubled += roles.Zip(roles.Skip(1)).Any(pair => pair.First == pair.Second && pair.First != "tool") ? 1 : 0;
        Silent += turns.Any(turn => turn.ValueKind == JsonValueKind.Object && !ChatTurns.SaysSomething(turn)) ? 1 : 0;
        WithCalls += turns.Any(turn => turn.ValueKind == JsonValueKind.Object && turn.TryGetProperty("tool_calls", out var calls)
            && calls.ValueKind == JsonValueKind.Array && calls.GetArrayLength() > 0) ? 1 : 0;
    }
}
