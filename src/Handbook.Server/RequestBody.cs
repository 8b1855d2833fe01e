using System.Text.Json;
using System.Text.Unicode;
using Handbook.Base;
using Microsoft.AspNetCore.Http;

namespace Handbook.Server;

/// <summary>The JSON object of a request. Every key is read or refused: nothing that a client asks for goes by in silence.</summary>
internal sealed class RequestBody
{
    /// <summary>Levels that JSON may nest.</summary>
    public const int MaxDepth = 64;

    // They identify the asker or choose a tier of somebody else's service; there is nothing here that they could change.
    private static readonly string[] s_withoutEffect = ["user", "metadata", "safety_identifier", "prompt_cache_key", "service_tier"];

    private readonly JsonElement _json;
    private readonly string _path;
    private readonly HashSet<string> _read = [.. s_withoutEffect];

    private RequestBody(JsonElement json, string path) => (_json, _path) = (json, path);

    /// <summary>Reads the body of a request.</summary>
    /// <param name="most">Most bytes.</param>
    /// <param name="bound">Behind the bound in the message: the option that sets it, or nothing.</param>
    /// <param name="cancel">Ends the reading.</param>
    /// <exception cref="ApiException">It is of another type, larger, or no JSON object.</exception>
    public static async Task<RequestBody> Read(HttpRequest request, long most, string bound, CancellationToken cancel)
    {
        // Another type than this is what a page of somebody else's may send from a browser without asking.
        if (request.ContentType?.Split(';')[0].Trim().Equals("application/json", StringComparison.OrdinalIgnoreCase) != true)
            throw new ApiException(415, "the request must have the header `Content-Type: application/json`",
                code: "unsupported_media_type");
        if (request.ContentLength > most)
            throw TooLarge();
        using var bytes = new MemoryStream();
        var part = new byte[16384];
        while (await request.Body.ReadAsync(part, cancel) is > 0 and var count)
        {
            if (bytes.Length + count > most)
                throw TooLarge();
            bytes.Write(part, 0, count);
        }
        return Parse(bytes.GetBuffer().AsMemory(0, (int)bytes.Length));

        ApiException TooLarge() => new(413, $"the request is larger than {Size.Of(most)}{bound}", code: "request_too_large");
    }

    /// <exception cref="ApiException">It is no JSON object.</exception>
    public static RequestBody Parse(ReadOnlyMemory<byte> bytes)
    {
        if (!Utf8.IsValid(bytes.Span))
            throw new ApiException(400, "the request is not UTF-8", code: "invalid_encoding");
        JsonElement json;
        try
        {
            using var document = JsonDocument.Parse(bytes, new() { MaxDepth = MaxDepth, AllowDuplicateProperties = false });
            json = document.RootElement.Clone();
            // Only an escape can be half of a pair: the bytes are UTF-8. Checked here, so that no part of a request has to be afraid of it.
            if (bytes.Span.IndexOf("\\ud"u8) >= 0 || bytes.Span.IndexOf("\\uD"u8) >= 0)
                RequireCharacters(json, "");
        }
        catch (InvalidOperationException)
        {
            throw new ApiException(400, "a key of the request has half of a surrogate pair (\\ud800 to \\udfff), which is no character",
                code: "invalid_json");
        }
        catch (JsonException mistake)
        {
            throw new ApiException(400, $"the request is not JSON: {mistake.Message}", code: "invalid_json");
        }
        return json.ValueKind == JsonValueKind.Object ? new(json, "") : throw new ApiException(400, "the request must be a JSON object",
            code: "invalid_json");
    }

    private static void RequireCharacters(JsonElement value, string path)
    {
        if (value.ValueKind == JsonValueKind.Object)
            foreach (var property in value.EnumerateObject())
                RequireCharacters(property.Value, path.Length == 0 ? property.Name : $"{path}.{property.Name}");
        else if (value.ValueKind == JsonValueKind.Array)
            foreach (var (i, item) in value.EnumerateArray().Index())
                RequireCharacters(item, $"{path}[{i}]");
        else if (value.ValueKind == JsonValueKind.String)
            TextOf(value, path);
    }

    /// <summary>The value of a key; null where it is absent or null.</summary>
    public JsonElement? Find(string key)
    {
        _read.Add(key);
        return _json.TryGetProperty(key, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;
    }

    public JsonElement Require(string key) => Find(key) ?? throw Wrong(key, "is missing", "missing_required_parameter");

    public string? Text(string key) => Find(key) is { } value ? TextOf(value, _path + key) : null;

    public string RequireText(string key) => TextOf(Require(key), _path + key);

    public double? Number(string key, double least, double most)
    {
        if (Find(key) is not { } value)
            return null;
        if (value.ValueKind != JsonValueKind.Number || !value.TryGetDouble(out var number) || !double.IsFinite(number))
            throw Wrong(key, $"is {Shown(value)}, but must be a number");
        return number >= least && number <= most ? number : throw Wrong(key, $"is {Shown(value)}, but must lie between {least} and {most}");
    }

    public long? Whole(string key, long least, long most)
    {
        if (Find(key) is not { } value)
            return null;
        if (value.ValueKind != JsonValueKind.Number || !value.TryGetInt64(out var number))
            throw Wrong(key, $"is {Shown(value)}, but must be a whole number");
        return number >= least && number <= most ? number : throw Wrong(key, $"is {Shown(value)}, but must lie between {least} and {most}");
    }

    public bool Flag(string key) => Find(key) is { } value && value.ValueKind switch
    {
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => throw Wrong(key, $"is {Shown(value)}, but must be true or false"),
    };

    /// <summary>A text or a list of texts; empty where the key is absent.</summary>
    public IReadOnlyList<string> Texts(string key, int most)
    {
        if (Find(key) is not { } value)
            return [];
        if (value.ValueKind == JsonValueKind.String)
            return [TextOf(value, _path + key)];
        if (value.ValueKind != JsonValueKind.Array)
            throw Wrong(key, $"is {Shown(value)}, but must be a text or a list of texts");
        if (value.GetArrayLength() > most)
            throw Wrong(key, $"has {value.GetArrayLength()} texts, but may have at most {most}");
        return [.. value.EnumerateArray().Select((item, i) => TextOf(item, $"{_path}{key}[{i}]"))];
    }

    /// <summary>An object within; null where it is absent.</summary>
    public RequestBody? Inner(string key) => Find(key) is not { } value ? null : value.ValueKind == JsonValueKind.Object
        ? new(value, $"{_path}{key}.") : throw Wrong(key, $"is {Shown(value)}, but must be an object");

    /// <summary>Refuses a key that is known, but has a value other than the one that changes nothing.</summary>
    public void Refuse(string key, string why, Func<JsonElement, bool>? isHarmless = null)
    {
        if (Find(key) is { } value && isHarmless?.Invoke(value) != true)
            throw Wrong(key, $"is {Shown(value)}: {why}", "unsupported_parameter");
    }

    /// <summary>Refuses keys that nobody has read.</summary>
    public void Finish()
    {
        foreach (var property in _json.EnumerateObject())
            if (!_read.Contains(property.Name))
                throw Wrong(property.Name, "is not known here" + (Spelling.Nearest(property.Name, [.. _read]) is { } near
                    ? $"; did you mean {near}?" : ""), "unknown_parameter");
    }

    public ApiException Wrong(string key, string what, string? code = null) => ApiException.Bad(_path + key, $"{_path}{key} {what}", code);

    /// <summary>A text of JSON.</summary>
    /// <exception cref="ApiException">It is another value, or has half of a surrogate pair.</exception>
    public static string TextOf(JsonElement value, string path)
    {
        if (value.ValueKind != JsonValueKind.String)
            throw ApiException.Bad(path, $"{path} is {Shown(value)}, but must be a text");
        try
        {
            return value.GetString()!;
        }
        catch (InvalidOperationException)
        {
            throw ApiException.Bad(path, $"{path} has half of a surrogate pair (\\ud800 to \\udfff), which is no character");
        }
    }

    /// <summary>A value for messages, cut where it is long.</summary>
    public static string Shown(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object => "an object",
        JsonValueKind.Array => "a list",
        _ => value.GetRawText() is { Length: > 60 } text ? text[..60] + "…" : value.GetRawText(),
    };
}
