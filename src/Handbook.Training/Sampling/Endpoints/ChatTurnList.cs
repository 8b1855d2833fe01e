using System.Text.Json;
using Handbook.Base;
using OpenAI.Chat;

namespace Handbook.Training.Sampling.Endpoints;

/// <summary>Turns as the endpoint's client wants them.</summary>
internal static class ChatTurnList
{
    /// <param name="prompt">A JSON list of turns with role and content.</param>
    /// <param name="place">Where it stands, for messages.</param>
    public static IReadOnlyList<ChatMessage> Of(JsonElement prompt, string place) =>
        [.. prompt.EnumerateArray().Select(turn => Turn(turn, place))];

    private static ChatMessage Turn(JsonElement turn, string place)
    {
        var role = turn.GetProperty("role").GetString();
        var content = turn.TryGetProperty("content", out var said) && said.ValueKind == JsonValueKind.String ? said.GetString()!
            : throw new InputException($"{place}: a turn of {role} is not a text, which is all that is sent to an endpoint",
                fix: "remove the row, or sample in this process");
        return role switch
        {
            "user" => new UserChatMessage(content),
            "assistant" => new AssistantChatMessage(content),
            "system" or "developer" => new SystemChatMessage(content),
            _ => throw new InputException($"{place}: a turn of the role {role} cannot be sent to an endpoint",
                fix: "use system, user and assistant"),
        };
    }
}
