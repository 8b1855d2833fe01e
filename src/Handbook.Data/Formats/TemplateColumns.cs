using System.Text.Json;
using Handbook.Data.Sources;
using Handbook.Text.Templates;

namespace Handbook.Data.Formats;

/// <summary>Reads the columns that are for the chat template alone: <c>tools</c>, <c>documents</c> and
/// <c>chat_template_kwargs</c>.</summary>
internal static class TemplateColumns
{
    /// <summary>What a row gives the template beside its turns; null where it gives nothing.</summary>
    /// <param name="column">The value of one of our columns; null where the row has it not.</param>
    /// <param name="padsWithNulls">Whether the rows come from a table, whose nested values have the fields of all rows.</param>
    /// <exception cref="UnusableRowException">A column holds something else.</exception>
    public static TemplateInputs? Read(Func<string, JsonElement?> column, bool padsWithNulls)
    {
        var inputs = new TemplateInputs(List(column("tools"), "tools", padsWithNulls),
            List(column("documents"), "documents", padsWithNulls), Variables(column("chat_template_kwargs")));
        return inputs is { Tools: null, Documents: null, Variables: null or { Count: 0 } } ? null : inputs;
    }

    /// <summary>A list, or the JSON text of one; null where it is absent or empty.</summary>
    public static JsonElement? List(JsonElement? column, string name, bool padsWithNulls) => column is not { } value ? null
        : ChatTurns.Parsed(value) is { ValueKind: JsonValueKind.Array } list ? list.GetArrayLength() == 0 ? null : padsWithNulls
            && value.ValueKind == JsonValueKind.Array ? ChatTurns.WithoutNulls(list) : list
        : value.ValueKind == JsonValueKind.String && string.IsNullOrWhiteSpace(value.GetString()) ? null
        : throw WrongType(name, value);

    private static Dictionary<string, JsonElement>? Variables(JsonElement? column) => column is not { } value ? null
        : ChatTurns.Parsed(value) is { ValueKind: JsonValueKind.Object } variables ? variables.EnumerateObject()
            .Where(entry => entry.Value.ValueKind != JsonValueKind.Null).ToDictionary(entry => entry.Name, entry => entry.Value)
        : value.ValueKind == JsonValueKind.String && string.IsNullOrWhiteSpace(value.GetString()) ? null
        : throw WrongType("chat_template_kwargs", value);

    private static UnusableRowException WrongType(string name, JsonElement value) =>
        new("wrong type", $"{name} is {JsonOptions.Name(value.ValueKind)}");
}
