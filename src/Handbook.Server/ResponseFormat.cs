using System.Text.Json;
using Handbook.Models.Constraints;
using Handbook.Serving;

namespace Handbook.Server;

/// <summary>The field <c>response_format</c>: any text, any JSON object, or JSON of a schema.</summary>
internal static class ResponseFormat
{
    private const string Key = "response_format";

    /// <returns>What may come; null for anything.</returns>
    /// <exception cref="ApiException">It is none, or its schema has a part that is not built.</exception>
    public static TokenGrammar? Read(RequestBody body, ServedModel model)
    {
        if (body.Inner(Key) is not { } format)
            return null;
        var type = format.RequireText("type");
        switch (type)
        {
            case "text":
                format.Finish();
                return null;
            case "json_object":
                format.Finish();
                return model.Grammar(type, () => JsonGrammar.Object);
            case "json_schema":
                var named = format.Inner("json_schema") ?? throw format.Wrong("json_schema", "is missing");
                named.Text("name");             // for the client's own use
                named.Text("description");
                named.Flag("strict");           // it is held to the schema in any case
                var schema = named.Require("schema");
                named.Finish();
                format.Finish();
                return model.Grammar($"schema {schema.GetRawText()}", () => SchemaGrammar.Of(schema, $"{Key}.json_schema.schema"));
            default:
                throw format.Wrong("type", $"is {(type.Length > 40 ? type[..40] + "…" : type)}, but must be text, json_object or "
                    + "json_schema");
        }
    }
}
