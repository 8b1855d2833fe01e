using System.Text.Json;

namespace Handbook.Text.Templates;

/// <summary>Writes a conversation in the forms that a template takes, where it stands in others; what it says stays.</summary>
internal static class ConversationForm
{
    public static Conversation For(TemplateForms forms, Conversation conversation)
    {
        if (conversation.Messages.ValueKind != JsonValueKind.Array || !conversation.Messages.EnumerateArray()
            .Any(message => Differs(forms, message)))
            return conversation;
        return conversation with
        {
            Messages = Conversation.Write(json =>
            {
                json.WriteStartArray();
                foreach (var message in conversation.Messages.EnumerateArray())
                    if (Differs(forms, message))
                        Message(json, forms, message);
                    else
                        message.WriteTo(json);
                json.WriteEndArray();
            }),
        };
    }

    private static bool Differs(TemplateForms forms, JsonElement message) => message.ValueKind == JsonValueKind.Object
        && message.EnumerateObject().Any(property => property.Name switch
    {
        "content" => IsParts(property.Value) ? !forms.TakesParts : property.Value.ValueKind == JsonValueKind.String && !forms.TakesText,
        "tool_calls" => property.Value.ValueKind == JsonValueKind.Array
            && property.Value.EnumerateArray().Any(call => Arguments(call) is { } arguments && Rewritten(forms, arguments) is not null),
        _ => false,
    });

    private static void Message(Utf8JsonWriter json, TemplateForms forms, JsonElement message)
    {
        json.WriteStartObject();
        foreach (var property in message.EnumerateObject())
        {
            json.WritePropertyName(property.Name);
            if (property.Name == "content" && IsParts(property.Value) && !forms.TakesParts)
                json.WriteStringValue(string.Concat(property.Value.EnumerateArray().Select(part => part.GetProperty("text").GetString())));
            else if (property.Name == "content" && property.Value.ValueKind == JsonValueKind.String && !forms.TakesText)
                Parts(json, property.Value);
            else if (property.Name == "tool_calls" && property.Value.ValueKind == JsonValueKind.Array)
            {
                json.WriteStartArray();
                foreach (var call in property.Value.EnumerateArray())
                    Call(json, forms, call);
                json.WriteEndArray();
            }
            else
                property.Value.WriteTo(json);
        }
        json.WriteEndObject();
    }

    private static void Parts(Utf8JsonWriter json, JsonElement text)
    {
        json.WriteStartArray();
        json.WriteStartObject();
        json.WriteString("type", "text");
        json.WritePropertyName("text");
        text.WriteTo(json);
        json.WriteEndObject();
        json.WriteEndArray();
    }

    private static void Call(Utf8JsonWriter json, TemplateForms forms, JsonElement call)
    {
        if (call.ValueKind != JsonValueKind.Object)
        {
            call.WriteTo(json);
            return;
        }
        json.WriteStartObject();
        foreach (var property in call.EnumerateObject())
        {
            json.WritePropertyName(property.Name);
            if (property.Name == "function")
                Call(json, forms, property.Value);
            else if (property.Name == "arguments" && Rewritten(forms, property.Value) is { } other)
                other.WriteTo(json);
            else
                property.Value.WriteTo(json);
        }
        json.WriteEndObject();
    }

    private static JsonElement? Arguments(JsonElement call) => call.ValueKind != JsonValueKind.Object ? null
        : call.TryGetProperty("function", out var function) && function.ValueKind == JsonValueKind.Object
            && function.TryGetProperty("arguments", out var arguments) ? arguments
        : call.TryGetProperty("arguments", out arguments) ? arguments : null;

    /// <summary>Arguments in the form that the template takes; null where they stand in it.</summary>
    private static JsonElement? Rewritten(TemplateForms forms, JsonElement arguments) => arguments.ValueKind switch
    {
        JsonValueKind.String when forms.TakesArgumentObjects => Read(arguments.GetString()!),
        JsonValueKind.Object when forms.TakesArgumentTexts => JsonSerializer.SerializeToElement(Text(arguments)),
        _ => null,
    };

    /// <summary>An object as Python's <c>json.dumps</c> writes it.</summary>
    private static string Text(JsonElement value)
    {
        var outer = Budget.Start();
        try
        {
            return PyJson.Write(PyJson.Read(value), new(EnsureAscii: false, Indent: null, ", ", ": ", SortKeys: false));
        }
        finally
        {
            Budget.Restore(outer);
        }
    }

    private static JsonElement? Read(string text)
    {
        if (text.AsSpan().TrimStart() is not ['{', ..])
            return null;
        try
        {
            return JsonDocument.Parse(text, new() { MaxDepth = 512 }).RootElement is { ValueKind: JsonValueKind.Object } value ? value
                : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    /// <summary>A list of text parts alone; what else a list may hold is the template's.</summary>
    private static bool IsParts(JsonElement content) => content.ValueKind == JsonValueKind.Array && content.EnumerateArray().All(part =>
        part.ValueKind == JsonValueKind.Object && part.TryGetProperty("text", out var text) && text.ValueKind == JsonValueKind.String
        && (!part.TryGetProperty("type", out var type) || type.ValueEquals("text")));
}
