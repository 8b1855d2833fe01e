using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base.Keys;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Plans;

namespace Handbook.Recipes;

/// <summary>The keys of recipes as a JSON schema (draft 2020-12), with which editors complete and check the YAML.</summary>
/// <remarks>It is stricter than reading, which takes <c>yes</c> for true and a text for a number; and it knows one key at a time, not
/// what must hold among several: <c>handbook validate</c> does.</remarks>
internal static class RecipeSchema
{
    private static readonly JsonSerializerOptions s_compact = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>The schema, a line for each key.</summary>
    /// <param name="method">Only the keys of this method, with its defaults and its losses; null takes those of all.</param>
    public static string Write(TrainingMethod? method = null)
    {
        var text = new StringBuilder("{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n");
        text.Append($"  \"title\": {Json(method is { } of ? $"A recipe for handbook {RecipeNames.Of(of)}" : "A recipe of the handbook")},\n");
        text.Append("  \"type\": \"object\",\n  \"additionalProperties\": false,\n  \"properties\": {\n");
        var properties = RecipeKeys.All.Where(key => method is not { } asked || key.Serves(asked) || key.Elsewhere is not null)
            .SelectMany(key => key.Aliases.Select(alias => (Name: alias, Schema: Alias(key, method)))
                .Prepend((Name: key.Name, Schema: Property(key, method))));
        text.Append(string.Join(",\n", properties.Select(property => $"    {Json(property.Name)}: {property.Schema.ToJsonString(s_compact)}")));
        return text.Append("\n  }\n}\n").ToString();
    }

    private static JsonObject Property(RecipeKey key, TrainingMethod? method)
    {
        var schema = Schema(key, method);
        schema["description"] = KeyReference.Meaning(key);
        if (key.Disposition is Disposition.Rejected or Disposition.NotBuilt)
            schema["enum"] = Distinct(Value(key.Default), null, key.Disposition == Disposition.Rejected ? false : null);
        if (key.Disposition is Disposition.Works or Disposition.NoEffect)
            schema["default"] = Value(Default(key, method));
        return schema;
    }

    private static JsonObject Alias(RecipeKey key, TrainingMethod? method)
    {
        var schema = Schema(key, method);
        schema["description"] = $"Another name of {key.Name}.";
        schema["deprecated"] = true;
        return schema;
    }

    private static object? Default(RecipeKey key, TrainingMethod? method) => method is not { } of ? key.Default
        : MethodDefinition.Of(of).Defaults(RecipeDialect.Mixture, new()).Where(other => other.Key == key.Name).Select(other => other.Value)
            .FirstOrDefault(key.Default);

    private static JsonObject Schema(RecipeKey key, TrainingMethod? method)
    {
        if (key.Name != "loss_type")
        {
            var schema = Of(key.Type);
            KeyRange.Of(key, method)?.Write(schema);
            if (key.Name == "dataset_mixer")
                schema["additionalProperties"]!["minimum"] = 0;
            return schema;
        }
        var losses = LossNames.All.Where(entry => method is null || entry.Method.Method == method)
            .SelectMany(entry => RecipeNames.Spellings(entry.Losses)).Select(spelling => spelling.Name).Distinct().ToArray();
        return losses.Length == 0 ? Of(key.Type) : new JsonObject
        {
            ["anyOf"] = new JsonArray(new JsonObject { ["enum"] = Names(losses, orNull: true) },
                new JsonObject { ["type"] = "array", ["items"] = new JsonObject { ["enum"] = Names(losses, orNull: false) } }),
        };
    }

    private static JsonObject Of(Type declared)
    {
        var type = Nullable.GetUnderlyingType(declared) ?? declared;
        return type switch
        {
            _ when type == typeof(object) => [],
            _ when type == typeof(bool) => Typed("boolean", "null"),
            _ when type == typeof(int) || type == typeof(long) => Typed("integer", "null"),
            // YAML 1.1 takes 5e-7, without a dot, for a text
            _ when type == typeof(double) => new JsonObject
            {
                ["type"] = new JsonArray("number", "string", "null"),
                ["pattern"] = @"^[-+]?[0-9]+[eE][-+]?[0-9]+$",
            },
            _ when type == typeof(StepInterval) => new JsonObject { ["type"] = new JsonArray("number", "null"), ["minimum"] = 0 },
            // `true`, 5 and their like are texts where a text is asked
            _ when type == typeof(string) => Typed("string", "number", "boolean", "null"),
            { IsEnum: true } => new JsonObject
            {
                ["enum"] = Names(RecipeNames.Spellings(type).Select(spelling => spelling.Name),
                orNull: true)
            },
            _ when type == typeof(IReadOnlyList<string>) => new JsonObject
            {
                ["type"] = new JsonArray("array", "string", "null"),
                ["items"] = Typed("string", "number", "boolean"),
            },
            { IsGenericType: true } when type.GetGenericTypeDefinition() == typeof(IReadOnlyList<>) => new JsonObject
            {
                ["type"] = type.GenericTypeArguments[0].IsClass ? new JsonArray("array", "null") : new JsonArray("array", "number", "null"),
                ["items"] = Of(type.GenericTypeArguments[0]),
            },
            { IsGenericType: true } => new JsonObject
            {
                ["type"] = new JsonArray("object", "null"),
                ["additionalProperties"] = Of(type.GenericTypeArguments[1]),
            },
            _ => Record(type),
        };
    }

    private static JsonObject Record(Type type)
    {
        var defaults = Activator.CreateInstance(type);
        var properties = new JsonObject();
        foreach (var property in type.GetProperties())
        {
            var schema = Of(property.PropertyType);
            if (property is { Name: "Weight" })
                schema["minimum"] = 0;
            schema["description"] = KeyDocs.Summary(property, code: false);
            schema["default"] = Value(property.GetValue(defaults));
            properties[RecipeNames.Key(property.Name)] = schema;
        }
        var record = new JsonObject
        {
            ["type"] = new JsonArray("object", "null"),
            ["additionalProperties"] = false,
            ["properties"] = properties,
        };
        if (properties["id"] is not null)       // an entry without a name names nothing
            record["required"] = new JsonArray("id");
        return record;
    }

    private static JsonObject Typed(params ReadOnlySpan<string> names) =>
        new() { ["type"] = new JsonArray([.. names.ToArray().Select(name => (JsonNode)name)]) };

    // YAML reads `true`, `no` and 1.9 as what they look like: both are the name
    private static JsonArray Names(IEnumerable<string> names, bool orNull)
    {
        var values = new List<JsonNode?>();
        foreach (var name in names)
        {
            values.Add(name);
            if (name is "true" or "false" or "no")
                values.Add(name == "true");
            else if (double.TryParse(name, NumberStyles.Float, CultureInfo.InvariantCulture, out var number))
                values.Add(number);
        }
        if (orNull)
            values.Add(null);
        return Distinct([.. values]);
    }

    private static JsonArray Distinct(params ReadOnlySpan<JsonNode?> values)
    {
        var array = new JsonArray();
        foreach (var value in values)
            if (!array.Any(other => JsonNode.DeepEquals(other, value)))
                array.Add(value?.DeepClone());
        return array;
    }

    private static JsonNode? Value(object? value) => value switch
    {
        null => null,
        bool truth => truth,
        int number => number,
        long number => number,
        double number => number,
        StepInterval steps => steps.Value,
        Enum name => RecipeNames.Of(name),
        string text => text,
        System.Collections.IDictionary map => new JsonObject(map.Keys.Cast<string>().Select(key =>
            KeyValuePair.Create(key, Value(map[key])))),
        System.Collections.IEnumerable list => new JsonArray([.. list.Cast<object?>().Select(Value)]),
        _ => new JsonObject(value.GetType().GetProperties().Select(property =>
            KeyValuePair.Create(RecipeNames.Key(property.Name), Value(property.GetValue(value))))),
    };

    private static string Json(string text) => JsonSerializer.Serialize(text, s_compact);
}
