using System.Text.Json;
using System.Text.Json.Nodes;

namespace Handbook.Text.Templates;

/// <summary>What a chat template may look at beside the turns of a conversation.</summary>
/// <param name="Tools">JSON schemas of the tools the model may call; null for none.</param>
/// <param name="Documents">Documents to answer from; null for none.</param>
/// <param name="Variables">More variables for the template; null for none.</param>
public sealed record TemplateInputs(JsonElement? Tools, JsonElement? Documents, IReadOnlyDictionary<string, JsonElement>? Variables)
{
    /// <summary>A conversation with these beside its turns.</summary>
    /// <param name="messages">A JSON list of turns.</param>
    public Conversation With(JsonElement messages) =>
        new() { Messages = messages, Tools = Tools, Documents = Documents, Variables = Variables };

    /// <summary>What there is, by the names that templates use.</summary>
    public IEnumerable<string> Names =>
        [.. Tools is null ? [] : (string[])["tools"], .. Documents is null ? [] : (string[])["documents"], .. Variables?.Keys ?? []];

    /// <summary>All of it as one text, which differs where any of it does.</summary>
    public string ToJson()
    {
        var row = new JsonObject();
        AddTo(row);
        return row.ToJsonString();
    }

    /// <summary>Writes them into a row, each in the column that it is read from.</summary>
    public void AddTo(JsonObject row)
    {
        if (Tools is { } tools)
            row["tools"] = JsonNode.Parse(tools.GetRawText());
        if (Documents is { } documents)
            row["documents"] = JsonNode.Parse(documents.GetRawText());
        if (Variables is { } variables)
            row["chat_template_kwargs"] = new JsonObject(variables.Select(variable =>
                KeyValuePair.Create(variable.Key, JsonNode.Parse(variable.Value.GetRawText()))));
    }
}
