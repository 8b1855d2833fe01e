using System.Text.Json;
using System.Text.Json.Nodes;

namespace Handbook.Server;

/// <summary>The messages of a chat request, judged and in the form in which chat templates take them.</summary>
internal static class ChatMessages
{
    /// <summary>Most messages of a request.</summary>
    public const int Most = 4096;

    private static readonly string[] s_roles = ["system", "developer", "user", "assistant", "tool"];

    /// <exception cref="ApiException">A message is none.</exception>
    public static JsonElement Read(JsonElement messages)
    {
        if (messages.ValueKind != JsonValueKind.Array || messages.GetArrayLength() == 0)
            throw ApiException.Bad("messages", "messages must be a list with at least one message");
        if (messages.GetArrayLength() > Most)
            throw ApiException.Bad("messages", $"messages has {messages.GetArrayLength()} messages, but may have at most {Most}");
        return JsonSerializer.SerializeToElement(new JsonArray([.. messages.EnumerateArray().Select((message, i) =>
            Message(message, $"messages[{i}]"))]));
    }

    private static JsonObject Message(JsonElement message, string path)
    {
        if (message.ValueKind != JsonValueKind.Object)
            throw ApiException.Bad(path, $"{path} is {RequestBody.Shown(message)}, but must be an object with role and content");
        var role = message.TryGetProperty("role", out var said) ? RequestBody.TextOf(said, $"{path}.role")
            : throw ApiException.Bad($"{path}.role", $"{path}.role is missing");
        if (!s_roles.Contains(role))
            throw ApiException.Bad($"{path}.role", $"{path}.role is {RequestBody.Shown(said)}, but must be one of "
                + string.Join(", ", s_roles));
        var turn = new JsonObject { ["role"] = role == "developer" ? "system" : role };
        var calls = false;
        foreach (var field in message.EnumerateObject())
            switch (field.Name)
            {
                case "role":
                    break;
                case "content":
                    turn["content"] = Content(field.Value, $"{path}.content");
                    break;
                case "name" or "tool_call_id" when field.Value.ValueKind != JsonValueKind.Null:
                    turn[field.Name] = RequestBody.TextOf(field.Value, $"{path}.{field.Name}");
                    break;
                case "reasoning_content" when field.Value.ValueKind == JsonValueKind.String:
                    turn[field.Name] = RequestBody.TextOf(field.Value, $"{path}.{field.Name}");
                    break;
                case "tool_calls" when field.Value.ValueKind != JsonValueKind.Null:
                    turn["tool_calls"] = Calls(field.Value, $"{path}.tool_calls");
                    calls = turn["tool_calls"]!.AsArray().Count > 0;
                    break;
                default:
                    if (field.Value.ValueKind != JsonValueKind.Null)
                        throw ApiException.Bad($"{path}.{field.Name}", $"{path}.{field.Name} is not known here", "unknown_parameter");
                    break;
            }
        if (turn["content"] is null && !(role == "assistant" && calls))
            throw ApiException.Bad($"{path}.content", $"{path}.content is missing");
        turn["content"] ??= "";
        return turn;
    }

    private static JsonNode? Content(JsonElement content, string path)
    {
        if (content.ValueKind == JsonValueKind.Null)
            return null;
        if (content.ValueKind != JsonValueKind.Array)
            return RequestBody.TextOf(content, path);
        // Parts are texts here, and several are one behind another.
        return string.Concat(content.EnumerateArray().Select((part, i) =>
        {
            var kind = part.ValueKind == JsonValueKind.Object && part.TryGetProperty("type", out var type)
                ? RequestBody.TextOf(type, $"{path}[{i}].type") : "";
            return kind == "text" && part.TryGetProperty("text", out var text) ? RequestBody.TextOf(text, $"{path}[{i}].text")
                : throw ApiException.Bad($"{path}[{i}]", $"{path}[{i}] is {(kind == "" ? "no part" : $"a part of the type {kind}")}, but "
                    + "only parts of the type text can be read", "unsupported_parameter");
        }));
    }

    private static JsonArray Calls(JsonElement calls, string path)
    {
        if (calls.ValueKind != JsonValueKind.Array)
            throw ApiException.Bad(path, $"{path} is {RequestBody.Shown(calls)}, but must be a list");
        return new([.. calls.EnumerateArray().Select((call, i) =>
        {
            if (call.ValueKind != JsonValueKind.Object || !call.TryGetProperty("function", out var function)
                || function.ValueKind != JsonValueKind.Object || !function.TryGetProperty("name", out var name)
                || !function.TryGetProperty("arguments", out var arguments))
                throw ApiException.Bad($"{path}[{i}]", $"{path}[{i}] must be an object with function.name and function.arguments");
            return new JsonObject
            {
                ["id"] = call.TryGetProperty("id", out var id) ? RequestBody.TextOf(id, $"{path}[{i}].id") : $"call_{i}",
                ["type"] = "function",
                ["function"] = new JsonObject
                {
                    ["name"] = RequestBody.TextOf(name, $"{path}[{i}].function.name"),
                    ["arguments"] = RequestBody.TextOf(arguments, $"{path}[{i}].function.arguments"),
                },
            };
        })]);
    }
}
