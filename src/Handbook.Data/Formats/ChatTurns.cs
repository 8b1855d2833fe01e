using System.Buffers;
using System.Text;
using System.Text.Json;
using Handbook.Data.Sources;

namespace Handbook.Data.Formats;

/// <summary>How turns are gathered.</summary>
/// <param name="KeepsToolCalls">Whether the template renders <c>tool_calls</c>; if not, a call becomes the turn's text.</param>
/// <param name="PadsWithNulls">Whether the rows come from a table, which gives every value the fields of all: a null there says that the
/// row has no such field.</param>
internal readonly record struct TurnRules(bool KeepsToolCalls, bool PadsWithNulls)
{
    public static implicit operator TurnRules(bool keepsToolCalls) => new(keepsToolCalls, false);
}

/// <summary>Gathers the turns of a conversation in the one layout that chat templates read: role and content.</summary>
/// <remarks>
/// A content that is null or a list of parts stays what it is, and so does what the arguments of a call hold. Other fields of a turn that
/// are null say nothing and are left out.
/// </remarks>
/// <param name="rules">How turns are gathered.</param>
internal sealed class ChatTurns(TurnRules rules)
{
    private readonly List<Action<Utf8JsonWriter>> _turns = [];

    public ChatTurns Add(string role, string content)
    {
        _turns.Add(json =>
        {
            json.WriteStartObject();
            json.WriteString("role", role);
            json.WriteString("content", content);
            json.WriteEndObject();
        });
        return this;
    }

    /// <summary>Adds a list of turns in either layout: role and content, or from and value.</summary>
    public ChatTurns Add(JsonElement list)
    {
        // What a text holds was never in a table.
        var drops = rules.PadsWithNulls && list.ValueKind != JsonValueKind.String;
        list = Parsed(list);
        if (list.ValueKind == JsonValueKind.Object)
            Turn(list, drops);
        else if (list.ValueKind == JsonValueKind.Array)
            foreach (var turn in list.EnumerateArray())
                Turn(turn, drops);
        else
            throw new UnusableRowException("wrong type", $"the conversation is {JsonOptions.Name(list.ValueKind)}, not a list of turns");
        return this;
    }

    public JsonElement ToJson()
    {
        if (_turns.Count == 0)
            throw new UnusableRowException("empty conversation", "");
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, _writing))
        {
            json.WriteStartArray();
            foreach (var turn in _turns)
                turn(json);
            json.WriteEndArray();
        }
        return JsonDocument.Parse(buffer.WrittenMemory, JsonOptions.Document).RootElement;
    }

    /// <summary>Whether a turn has a text, another content or a tool call.</summary>
    public static bool SaysSomething(JsonElement turn) =>
        turn.TryGetProperty("content", out var content) && content.ValueKind switch
        {
            JsonValueKind.String => !string.IsNullOrWhiteSpace(content.GetString()),
            JsonValueKind.Array =>
                content.EnumerateArray()
                .Any(part => part.ValueKind != JsonValueKind.Object || !part.TryGetProperty("text", out var text)
                || text.ValueKind != JsonValueKind.String || !string.IsNullOrWhiteSpace(text.GetString())),
            JsonValueKind.Null => false,
            _ => true,
        }
        || turn.TryGetProperty("tool_calls", out var calls) && calls.ValueKind == JsonValueKind.Array && calls.GetArrayLength() > 0;

    /// <summary>Whether a value is a list of turns, one turn, or the JSON text of either.</summary>
    public static bool AreTurns(JsonElement value)
    {
        var parsed = Parsed(value);
        return IsTurn(parsed) || (parsed.ValueKind == JsonValueKind.Array
            && (value.ValueKind == JsonValueKind.Array || (parsed.GetArrayLength() > 0 && parsed.EnumerateArray().All(IsTurn))));

        static bool IsTurn(JsonElement item) => item.ValueKind == JsonValueKind.Object
            && (item.TryGetProperty("role", out _) || item.TryGetProperty("from", out _));
    }

    /// <summary>The JSON that a text holds, where it holds any; some sets keep lists as texts.</summary>
    public static JsonElement Parsed(JsonElement value)
    {
        if (value.ValueKind != JsonValueKind.String || value.GetString()!.AsSpan().TrimStart() is not ['[' or '{', ..])
            return value;
        try
        {
            return JsonDocument.Parse(value.GetString()!, JsonOptions.Document).RootElement;
        }
        catch (JsonException)
        {
            return value;
        }
    }

    /// <summary>The value without properties that are null: tables give every row the columns of all.</summary>
    public static JsonElement WithoutNulls(JsonElement value)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, _writing))
            Copy(json, value, dropsNulls: true);
        return JsonDocument.Parse(buffer.WrittenMemory, JsonOptions.Document).RootElement;
    }

    private static readonly JsonWriterOptions _writing = new()
    {
        MaxDepth = 512,
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping
    };

    private void Turn(JsonElement turn, bool dropsNulls)
    {
        if (turn.ValueKind != JsonValueKind.Object)
            throw new UnusableRowException("wrong type",
                $"turn {_turns.Count + 1} is {JsonOptions.Name(turn.ValueKind)}, not an object with role and content");
        var isShareGpt = !turn.TryGetProperty("role", out var name) && turn.TryGetProperty("from", out name);
        if (name.ValueKind != JsonValueKind.String)
            throw new UnusableRowException("turn without role", $"turn {_turns.Count + 1}");
        var said = name.GetString()!;
        var role = isShareGpt ? Role(said) : said;
        turn.TryGetProperty(isShareGpt ? "value" : "content", out var content);
        var parts = new TurnContent(rules.KeepsToolCalls, dropsNulls);
        if (isShareGpt && said == "function_call")
            parts.AddCalls(content.ValueKind == JsonValueKind.String ? content.GetString()! : content.GetRawText());
        else
            parts.Add(content, $"turn {_turns.Count + 1}");
        _turns.Add(json =>
        {
            json.WriteStartObject();
            json.WriteString("role", role);
            parts.Write(json, content.ValueKind);
            foreach (var property in turn.EnumerateObject())
                if (property.Name is not ("role" or "from" or "value" or "content") && property.Value.ValueKind != JsonValueKind.Null)
                {
                    json.WritePropertyName(property.Name);
                    Copy(json, property.Value, dropsNulls);
                }
            json.WriteEndObject();
        });
    }

    private static string Role(string from) => Known(from)
        ?? throw new UnusableRowException("unknown speaker", $"from \"{Excerpt.Of(from)}\"");

    /// <summary>The role that a word for it in another layout or in capitals means; null for none.</summary>
    public static string? Meant(string role) => Known(role.Trim().ToLowerInvariant());

    private static string? Known(string from) => from switch
    {
        "human" or "user" => "user",
        "gpt" or "assistant" or "chatgpt" or "bot" or "model" or "bard" or "bing" or "function_call" => "assistant",
        "system" => "system",
        "observation" or "tool" or "function_response" or "function" => "tool",
        _ => null,
    };

    internal static void Copy(Utf8JsonWriter json, JsonElement value, bool dropsNulls)
    {
        if (!dropsNulls)
        {
            value.WriteTo(json);        // numbers keep their spelling: 1.0 stays a float
            return;
        }
        switch (value.ValueKind)
        {
            case JsonValueKind.Object:
                json.WriteStartObject();
                foreach (var property in value.EnumerateObject())
                    if (property.Value.ValueKind != JsonValueKind.Null)
                    {
                        json.WritePropertyName(property.Name);
                        Copy(json, property.Value, dropsNulls);
                    }
                json.WriteEndObject();
                break;
            case JsonValueKind.Array:
                json.WriteStartArray();
                foreach (var item in value.EnumerateArray())
                    Copy(json, item, dropsNulls);
                json.WriteEndArray();
                break;
            default:
                value.WriteTo(json);
                break;
        }
    }
}

/// <summary>What one turn says: text, reasoning, calls of tools.</summary>
internal sealed class TurnContent(bool keepsToolCalls, bool dropsNulls)
{
    private JsonElement? _parts;
    private readonly StringBuilder _text = new();
    private readonly StringBuilder _reasoning = new();
    private readonly List<JsonElement> _calls = [];

    /// <summary>Adds a content: a text, or a list of typed parts.</summary>
    public void Add(JsonElement content, string place)
    {
        switch (content.ValueKind)
        {
            case JsonValueKind.String:
                _text.Append(content.GetString());
                break;
            case JsonValueKind.Array when content.GetArrayLength() > 0 && content.EnumerateArray().All(IsText):
                _parts = content;
                break;
            case JsonValueKind.Array:
                foreach (var part in content.EnumerateArray())
                    AddPart(part, place);
                break;
            case JsonValueKind.Null or JsonValueKind.Undefined:
                break;
            default:
                throw new UnusableRowException("wrong type", $"{place}: the content is {JsonOptions.Name(content.ValueKind)}");
        }
    }

    /// <summary>Adds calls that are written as JSON text: one, or a list. What is no such JSON stays text.</summary>
    public void AddCalls(string text)
    {
        try
        {
            var value = keepsToolCalls ? JsonDocument.Parse(text, JsonOptions.Document).RootElement : default;
            if (value.ValueKind == JsonValueKind.Object && value.TryGetProperty("name", out _))
                _calls.Add(value);
            else if (value.ValueKind == JsonValueKind.Array && value.EnumerateArray()
                .All(call => call.ValueKind == JsonValueKind.Object && call.TryGetProperty("name", out _)))
                _calls.AddRange(value.EnumerateArray());
            else
                _text.Append(text);
        }
        catch (JsonException)
        {
            _text.Append(text);
        }
    }

    /// <param name="kind">What the row has for a content.</param>
    public void Write(Utf8JsonWriter json, JsonValueKind kind)
    {
        if (kind == JsonValueKind.Null)
            json.WriteNull("content");
        else if (_parts is { } parts)
        {
            json.WritePropertyName("content");
            ChatTurns.Copy(json, parts, dropsNulls);
        }
        else if (kind != JsonValueKind.Undefined)
            json.WriteString("content", _text.ToString());
        if (_reasoning.Length > 0)
            json.WriteString("reasoning_content", _reasoning.ToString());
        if (_calls.Count == 0)
            return;
        json.WriteStartArray("tool_calls");
        foreach (var call in _calls)
        {
            json.WriteStartObject();
            json.WriteString("type", "function");
            json.WritePropertyName("function");
            call.WriteTo(json);
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    private static bool IsText(JsonElement part) => part.ValueKind == JsonValueKind.Object && part.TryGetProperty("type", out var type)
        && type.ValueKind == JsonValueKind.String
        && type.ValueEquals("text") && part.TryGetProperty("text", out var text) && text.ValueKind == JsonValueKind.String;

    private void AddPart(JsonElement part, string place)
    {
        if (part.ValueKind == JsonValueKind.String)
        {
            _text.Append(part.GetString());
            return;
        }
        var type = part.ValueKind == JsonValueKind.Object && part.TryGetProperty("type", out var named) ? named.GetString() : null;
        var text = part.ValueKind == JsonValueKind.Object
            && (part.TryGetProperty("text", out var found) || part.TryGetProperty("value", out found)
            || (type is not null && part.TryGetProperty(type, out found))) && found.ValueKind == JsonValueKind.String
            ? found.GetString()
            : null;
        switch (type)
        {
            case "text" when text is not null:
                _text.Append(text);
                break;
            case "reasoning" or "thinking" when text is not null:
                _reasoning.Append(text);
                break;
            case "tool_call" when text is not null:
                AddCalls(text);
                break;
            default:
                throw new UnusableRowException("unsupported content", $"{place}: a part of the type \"{type}\"; only text is read");
        }
    }
}
