using System.Globalization;
using System.Text.Json;
using Handbook.Base;

namespace Handbook.Models.Constraints;

/// <summary>A JSON schema as a grammar: every text of the grammar is a value that the schema allows. Draft 2020-12.</summary>
/// <remarks>
/// Properties come in the order in which the schema has them. Where the schema leaves further properties open without asking for them,
/// none are written. What a grammar cannot hold, or is not built, is refused with its path.
/// </remarks>
internal sealed class SchemaGrammar
{
    /// <summary>Deeper nested schemas, without a name, are refused.</summary>
    private const int Deepest = 32;

    /// <summary>Schemas that lead to one another by names, in all.</summary>
    private const int Longest = 200;

    /// <summary>Most schemas, values and numbers of ranges in all: a larger grammar would hold up the answers of others.</summary>
    private const int MostParts = 20_000;

    /// <summary>Most characters of names and values in all, and of one name.</summary>
    private const int MostCharacters = 120_000, LongestName = 512;

    /// <summary>Most numbers of a range that are counted up.</summary>
    private const int MostNumbers = 1000;

    // They say something of the schema, and nothing of the value.
    private static readonly string[] s_remarks = ["$schema", "$id", "$comment", "$anchor", "title", "description", "default", "examples",
        "deprecated", "readOnly", "writeOnly", "$defs", "definitions", "strict"];

    private static readonly string[] s_kinds = ["object", "array", "string", "number", "integer", "boolean", "null"];

    private readonly JsonElement _root;
    private readonly Dictionary<string, Grammar.Rule> _named = [];

    // Levels above the schema that is being read by its name; what was read so far.
    private int _above, _parts, _characters;

    private SchemaGrammar(JsonElement root) => _root = root;

    /// <param name="path">Where the schema stands, for messages.</param>
    /// <exception cref="InputException">A part of it is no schema, or is not built.</exception>
    public static Grammar Of(JsonElement schema, string path) => new SchemaGrammar(schema).Value(schema, path, 0);

    private Grammar Value(JsonElement schema, string path, int depth)
    {
        if (schema.ValueKind == JsonValueKind.True)
            return JsonGrammar.Value;
        if (schema.ValueKind != JsonValueKind.Object)
            throw Wrong(path, $"is {schema.GetRawText()}, but must be a schema", "write an object, such as {\"type\": \"string\"}");
        if (depth > Deepest)
            throw Wrong(path, "nests too deeply", "give parts of it names below $defs");
        Count(1, path);
        var keys = schema.EnumerateObject().Select(key => key.Name).Except(s_remarks).ToList();
        if (keys.Remove("$ref"))
            return Alone(keys, path, "$ref", Named(schema.GetProperty("$ref"), $"{path}.$ref", depth));
        if (keys.Remove("const"))
            return Alone([.. keys.Except(["type"])], path, "const", Constants(schema, [schema.GetProperty("const")], path, "const"));
        if (keys.Remove("enum"))
            return Alone([.. keys.Except(["type"])], path, "enum", schema.GetProperty("enum") is { ValueKind: JsonValueKind.Array } values
                && values.GetArrayLength() > 0 ? Constants(schema, values.EnumerateArray(), path, "enum")
                : throw Wrong($"{path}.enum", "must be a list of values", "name at least one"));
        foreach (var many in (ReadOnlySpan<string>)["anyOf", "allOf"])
            if (keys.Remove(many))
                return Alone(keys, path, many, Several(schema.GetProperty(many), $"{path}.{many}", many, depth));
        if (!keys.Remove("type"))
            return keys.Count == 0 ? JsonGrammar.Value : Typed(keys.Contains("properties") ? "object" : keys.Contains("items") ? "array"
                : throw Unbuilt(path, keys[0]), schema, keys, path, depth);
        var kinds = Kinds(schema.GetProperty("type"), path);
        if (kinds is [var single])
            return Typed(single, schema, keys, path, depth);
        if (keys.FirstOrDefault(key => !kinds.Any(kind => KeysOf(kind).Contains(key))) is { } strange)
            throw Unbuilt(path, strange);
        return Grammar.Or([.. kinds.Select(kind => Typed(kind, schema, [.. keys.Intersect(KeysOf(kind))], path, depth))]);
    }

    private static string[] Kinds(JsonElement type, string path) => type.ValueKind == JsonValueKind.String ? [type.GetString()!]
        : type.ValueKind == JsonValueKind.Array && type.GetArrayLength() > 0
            && type.EnumerateArray().All(one => one.ValueKind == JsonValueKind.String) ? [.. type.EnumerateArray().Select(one => one.GetString()!)]
        : throw Wrong($"{path}.type", "must be a word or a list of words", $"the words are {string.Join(", ", s_kinds)}");

    private static Grammar Alone(IEnumerable<string> others, string path, string key, Grammar grammar) =>
        others.FirstOrDefault() is { } other ? throw Wrong($"{path}.{other}", $"stands beside {key}", $"write either of them, {key} inside anyOf if need be") : grammar;

    private static string[] KeysOf(string kind) => kind switch
    {
        "object" => ["properties", "required", "additionalProperties"],
        "array" => ["items", "prefixItems", "minItems", "maxItems"],
        "string" => ["minLength", "maxLength", "format"],
        "integer" => ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"],
        "number" => ["minimum"],
        _ => [],
    };

    private Grammar Typed(string kind, JsonElement schema, IReadOnlyList<string> keys, string path, int depth)
    {
        if (!s_kinds.Contains(kind))
            throw Wrong($"{path}.type", $"is {kind}", $"use one of {string.Join(", ", s_kinds)}");
        if (keys.FirstOrDefault(key => !KeysOf(kind).Contains(key)) is { } strange)
            throw Unbuilt(path, strange);
        return kind switch
        {
            "object" => Object(schema, path, depth),
            "array" => List(schema, path, depth),
            "string" => String(schema, path),
            "integer" => Integer(schema, path),
            "number" => schema.TryGetProperty("minimum", out var least) ? NotNegative(least, path) : JsonGrammar.Number,
            "boolean" => JsonGrammar.Boolean,
            _ => JsonGrammar.Null,
        };
    }

    /// <summary>Counts parts of the whole schema.</summary>
    private void Count(int parts, string path)
    {
        if ((_parts += parts) > MostParts)
            throw Wrong(path, $"is one part too many: together there are more than {MostParts:N0} schemas, values and numbers of ranges",
                "ask for less at once");
    }

    private void Spell(int characters, string path)
    {
        if ((_characters += characters) > MostCharacters)
            throw Wrong(path, $"is too much: together the names and values have more than {MostCharacters:N0} characters", "shorten them");
    }

    private Grammar.Rule Named(JsonElement name, string path, int depth)
    {
        var text = name.ValueKind == JsonValueKind.String ? name.GetString()! : "";
        if (_named.TryGetValue(text, out var rule))
            return rule;
        if (text != "#" && !text.StartsWith("#/", StringComparison.Ordinal))
            throw Wrong(path, $"is {name.GetRawText()}", "name a part of the same schema, such as #/$defs/item");
        var at = _root;
        foreach (var part in text.Split('/')[1..])
            if (at.ValueKind != JsonValueKind.Object || !at.TryGetProperty(Uri.UnescapeDataString(part)
                .Replace("~1", "/", StringComparison.Ordinal).Replace("~0", "~", StringComparison.Ordinal), out at))
                throw Wrong(path, $"is {text}, which is not there", "name a part of the same schema, such as #/$defs/item");
        if ((_above += depth + 1) > Longest)
            throw Wrong(path, $"lies behind more than {Longest} schemas that lead to one another", "name what is meant, without names between");
        _named[text] = rule = new();
        rule.Body = Value(at, text, 0);
        _above -= depth + 1;
        // A rule that is nothing but itself would never begin.
        for (var (body, seen) = (rule.Body, new HashSet<Grammar> { rule }); body is Grammar.Rule other; body = other.Body)
            if (!seen.Add(body))
                throw Wrong(path, $"is {text}, which is nothing but itself", "give it a type");
        return rule;
    }

    /// <summary>Values that are written out: those of the schema's type, where it has one.</summary>
    private Grammar Constants(JsonElement schema, IEnumerable<JsonElement> values, string path, string key)
    {
        if (schema.TryGetProperty("type", out var type))
        {
            var kinds = Kinds(type, path);
            values = values.Where(value => kinds.Any(kind => Is(value, kind)));
        }
        Grammar[] ways = [.. values.Select(value =>
        {
            Count(1, $"{path}.{key}");
            Spell(value.GetRawText().Length, $"{path}.{key}");
            return JsonGrammar.Constant(value);
        })];
        return ways.Length > 0 ? Grammar.Or(ways) : throw Wrong($"{path}.{key}", "has no value of the schema's type", "leave type out, or name another value");
    }

    private static bool Is(JsonElement value, string kind) => value.ValueKind switch
    {
        JsonValueKind.Object => kind == "object",
        JsonValueKind.Array => kind == "array",
        JsonValueKind.String => kind == "string",
        JsonValueKind.Number => kind == "number" || kind == "integer" && value.TryGetDouble(out var number) && number == Math.Floor(number),
        JsonValueKind.Null => kind == "null",
        _ => kind == "boolean",
    };

    private Grammar Several(JsonElement schemas, string path, string key, int depth)
    {
        if (schemas.ValueKind != JsonValueKind.Array || schemas.GetArrayLength() == 0)
            throw Wrong(path, "must be a list of schemas", "name at least one");
        return key != "allOf" || schemas.GetArrayLength() == 1
            ? Grammar.Or([.. schemas.EnumerateArray().Select((one, i) => Value(one, $"{path}[{i}]", depth + 1))])
            : throw Wrong(path, "has several schemas that must all hold", "write them as one");
    }

    private Grammar Object(JsonElement schema, string path, int depth)
    {
        var properties = !schema.TryGetProperty("properties", out var given) ? []
            : given.ValueKind == JsonValueKind.Object ? given.EnumerateObject().ToArray()
            : throw Wrong($"{path}.properties", "must be an object of schemas", "leave it out for none");
        foreach (var property in properties)
        {
            if (property.Name.Length > LongestName)
                throw Wrong($"{path}.properties", $"has a name of {property.Name.Length:N0} characters", $"use at most {LongestName}");
            Spell(property.Name.Length, $"{path}.properties");
        }
        var required = !schema.TryGetProperty("required", out var names) ? []
            : names.ValueKind == JsonValueKind.Array && names.EnumerateArray().All(name => name.ValueKind == JsonValueKind.String)
                ? names.EnumerateArray().Select(name => name.GetString()!).ToHashSet()
                : throw Wrong($"{path}.required", "must be a list of names", "leave it out for none");
        if (required.Except(properties.Select(property => property.Name)).FirstOrDefault() is { } missing)
            throw Wrong($"{path}.required", $"names {missing}, which is not among the properties", "describe it there");
        var further = !schema.TryGetProperty("additionalProperties", out var rest) || rest.ValueKind == JsonValueKind.False ? null
            : Value(rest, $"{path}.additionalProperties", depth + 1);
        if (properties.Length == 0 && rest.ValueKind is JsonValueKind.Undefined or JsonValueKind.True && required.Count == 0)
            return JsonGrammar.Object;
        var comma = Grammar.Of(JsonGrammar.Space, Grammar.Text(","), JsonGrammar.Space);
        var more = further is null ? null : JsonGrammar.Pair(OtherName([.. properties.Select(property => property.Name)]), further);
        // From the last to the first: what may come where no property came yet, and where one did.
        var next = more is null ? Grammar.Empty : Grammar.Times(Grammar.Of(comma, more), 0, null);
        var first = more is null ? Grammar.Empty : Grammar.Maybe(Grammar.Of(more, next));
        foreach (var property in properties.Reverse())
        {
            var pair = JsonGrammar.Pair(JsonGrammar.Name(property.Name),
                Value(property.Value, $"{path}.properties.{property.Name}", depth + 1));
            var (came, follows) = (Grammar.Of(pair, next), Grammar.Of(comma, pair, next));
            (first, next) = required.Contains(property.Name) ? (came, follows) : (Grammar.Or(came, first), Grammar.Or(follows, next));
        }
        return Grammar.Of(Grammar.Text("{"), JsonGrammar.Space, first, JsonGrammar.Space, Grammar.Text("}"));
    }

    /// <summary>A name that is none of some: it leaves each of them at some letter. It is written plainly, so that no escape hides one.</summary>
    private static Grammar OtherName(string[] names)
    {
        return Grammar.Of(Grammar.Text("\""), Rest([.. names.Select(name => System.Text.Encoding.UTF8.GetBytes(name))], 0));

        static Grammar Rest(byte[][] left, int at)
        {
            var any = Grammar.Times(JsonGrammar.Plain, 0, null);
            if (left.Length == 0)
                return Grammar.Of(any, Grammar.Text("\""));
            var taken = left.Where(name => name.Length > at).GroupBy(name => name[at]).ToArray();
            // Another letter than those that the names go on with; behind the first byte of a wider one nothing else may begin here.
            var set = UInt256.Of(0x20, 0x7F).Without((byte)'"').Without((byte)'\\');
            foreach (var byLetter in taken)
                set = set.Without(byLetter.Key);
            List<Grammar> ways = [Grammar.Of(new Grammar.Bytes(set), any, Grammar.Text("\""))];
            ways.AddRange(taken.Where(byLetter => byLetter.Key < 0x80 && byLetter.Key is not ((byte)'"' or (byte)'\\'))
                .Select(byLetter => Grammar.Of(Grammar.Range(byLetter.Key, byLetter.Key), Rest([.. byLetter], at + 1))));
            if (left.All(name => name.Length != at))
                ways.Add(Grammar.Text("\""));
            return Grammar.Or([.. ways]);
        }
    }

    private Grammar List(JsonElement schema, string path, int depth)
    {
        var (least, most) = (Count(schema, "minItems", path) ?? 0, Count(schema, "maxItems", path));
        if (most < least)
            throw Wrong($"{path}.maxItems", $"is {most}, and minItems is {least}", "use a larger one");
        if (!schema.TryGetProperty("prefixItems", out var prefix))
            return JsonGrammar.Listed(schema.TryGetProperty("items", out var items) ? Value(items, $"{path}.items", depth + 1)
                : JsonGrammar.Value, least, most);
        var isOpen = schema.TryGetProperty("items", out var rest) && rest.ValueKind != JsonValueKind.False;
        if (isOpen || least > 0 || most is not null || prefix.ValueKind != JsonValueKind.Array || prefix.GetArrayLength() == 0)
            throw Wrong($"{path}.prefixItems", "must be a list of schemas, beside nothing but items: false",
                "leave minItems and maxItems out");
        var comma = Grammar.Of(JsonGrammar.Space, Grammar.Text(","), JsonGrammar.Space);
        return Grammar.Of([Grammar.Text("["), JsonGrammar.Space, .. prefix.EnumerateArray().SelectMany((one, i) =>
            (Grammar[])[i == 0 ? Grammar.Empty : comma, Value(one, $"{path}.prefixItems[{i}]", depth + 1)]), JsonGrammar.Space, Grammar.Text("]")]);
    }

    private static Grammar String(JsonElement schema, string path)
    {
        var (least, most) = (Count(schema, "minLength", path) ?? 0, Count(schema, "maxLength", path));
        if (most < least)
            throw Wrong($"{path}.maxLength", $"is {most}, and minLength is {least}", "use a larger one");
        if (!schema.TryGetProperty("format", out var format))
            return JsonGrammar.Text(least, most);
        if (least > 0 || most is not null)
            throw Wrong($"{path}.format", "stands beside a length", "leave one of them out");
        Grammar digit = Grammar.Any("09"), hex = Grammar.Any("09", "af");
        // Days that every month has: a grammar does not know how long a month is.
        var date = Grammar.Of(Grammar.Times(digit, 4, 4), Grammar.Text("-"), Grammar.Or(Grammar.Of(Grammar.Text("0"), Grammar.Any("19")),
            Grammar.Of(Grammar.Text("1"), Grammar.Any("02"))), Grammar.Text("-"), Grammar.Or(Grammar.Of(Grammar.Text("0"), Grammar.Any("19")),
            Grammar.Of(Grammar.Text("1"), digit), Grammar.Of(Grammar.Text("2"), Grammar.Any("08"))));
        var clock = Grammar.Of(Grammar.Or(Grammar.Of(Grammar.Any("01"), digit), Grammar.Of(Grammar.Text("2"), Grammar.Any("03"))),
            Grammar.Text(":"), Grammar.Any("05"), digit, Grammar.Text(":"), Grammar.Any("05"), digit, Grammar.Text("Z"));
        var body = (format.ValueKind == JsonValueKind.String ? format.GetString() : null) switch
        {
            "date" => date,
            "time" => clock,
            "date-time" => Grammar.Of(date, Grammar.Text("T"), clock),
            "uuid" => Grammar.Of(Grammar.Times(hex, 8, 8), Grammar.Times(Grammar.Of(Grammar.Text("-"), Grammar.Times(hex, 4, 4)), 3, 3),
                Grammar.Text("-"), Grammar.Times(hex, 12, 12)),
            _ => throw Wrong($"{path}.format", $"is {format.GetRawText()}, which is not built",
                "use date, time, date-time or uuid, or leave it out"),
        };
        return Grammar.Of(Grammar.Text("\""), body, Grammar.Text("\""));
    }

    private Grammar Integer(JsonElement schema, string path)
    {
        // Where both kinds of a bound stand there, both hold.
        long?[] lower = [Bound(schema, "minimum", path), Bound(schema, "exclusiveMinimum", path) + 1];
        long?[] upper = [Bound(schema, "maximum", path), Bound(schema, "exclusiveMaximum", path) - 1];
        var (least, most) = (lower.Max(), upper.Min());
        if (least is null && most is null)
            return JsonGrammar.Integer;
        if (most is null && least is 0 or 1)
            return least == 0 ? JsonGrammar.Natural : Grammar.Of(Grammar.Any("19"), Grammar.Times(Grammar.Any("09"), 0, 17));
        if (least is null || most is null || most - least is < 0 or >= MostNumbers)
            throw Wrong($"{path}.{(least is null ? "maximum" : "minimum")}", "is built for 0 and 1 alone, or with a maximum at most "
                + $"{MostNumbers} numbers above", "leave it out, or name the other bound");
        Count((int)(most - least).Value, path);
        return Grammar.Or([.. Enumerable.Range(0, (int)(most - least).Value + 1)
            .Select(i => Grammar.Text((least.Value + i).ToString(CultureInfo.InvariantCulture)))]);
    }

    private static Grammar NotNegative(JsonElement least, string path) => least.ValueKind == JsonValueKind.Number && least.GetDouble() == 0
        ? Grammar.Of(JsonGrammar.Natural, JsonGrammar.Fraction)
        : throw Wrong($"{path}.minimum", $"is {least.GetRawText()}; for numbers it is built for 0 alone", "leave it out");

    private static int? Count(JsonElement schema, string key, string path) => !schema.TryGetProperty(key, out var value) ? null
        : value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var count) && count is >= 0 and <= 100_000 ? count
        : throw Wrong($"{path}.{key}", $"is {value.GetRawText()}", "use a whole number from 0 to 100,000");

    private static long? Bound(JsonElement schema, string key, string path) => !schema.TryGetProperty(key, out var value) ? null
        : value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out var bound) && bound is > -1L << 52 and < 1L << 52 ? bound
        : throw Wrong($"{path}.{key}", $"is {value.GetRawText()}", "use a whole number");

    private static InputException Unbuilt(string path, string key) => Wrong($"{path}.{key}", "is not built here", "leave it out; built are "
        + "type, properties, required, additionalProperties, items, prefixItems, minItems, maxItems, minLength, maxLength, format, enum, "
        + "const, anyOf, $ref, and bounds of integers");

    private static InputException Wrong(string path, string what, string fix) => new($"{path} {what}", fix: fix) { Key = path };
}
