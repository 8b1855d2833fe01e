using System.Text.Json;
using System.Text.RegularExpressions;
using Handbook.Models.Constraints;
using Handbook.Serving;

namespace Handbook.Server;

/// <summary>The fields <c>tools</c>, <c>tool_choice</c> and <c>parallel_tool_calls</c> of a chat.</summary>
/// <param name="Tools">What may be called; empty for nothing.</param>
/// <param name="Json">The same as chat templates take it; null for nothing.</param>
/// <param name="Grammar">What holds the answer: the call that must be made, or any text with calls of strict tools; null for
/// nothing.</param>
/// <param name="Several">Whether more than one call is taken.</param>
internal sealed partial record ChatTools(IReadOnlyList<Tool> Tools, JsonElement? Json, TokenGrammar? Grammar, bool Several)
{
    private const int Most = 128;

    private static readonly ChatTools s_none = new([], null, null, true);

    public static ChatTools Read(RequestBody body, ServedModel model)
    {
        var several = body.Find("parallel_tool_calls") is null || body.Flag("parallel_tool_calls");
        var choice = body.Find("tool_choice");
        if (body.Find("tools") is not { } list || list.ValueKind == JsonValueKind.Array && list.GetArrayLength() == 0)
            return choice is not { } alone || alone.ValueKind == JsonValueKind.String && alone.GetString() is "none" or "auto" ? s_none
                : throw body.Wrong("tool_choice", "has a meaning only with tools");
        if (list.ValueKind != JsonValueKind.Array || list.GetArrayLength() > Most)
            throw body.Wrong("tools", $"must be a list of at most {Most} tools");
        var tools = list.EnumerateArray().Select((tool, i) => One(tool, $"tools[{i}]")).ToArray();
        var isNamed = choice is { ValueKind: JsonValueKind.Object };
        var word = choice is not { } said ? "auto" : said.ValueKind == JsonValueKind.String ? said.GetString()! : "";
        if (word == "none")
            return s_none;
        if (!isNamed && word is not ("auto" or "required"))
            throw body.Wrong("tool_choice", "must be none, auto, required, or an object that names a function");
        if (model.Tools is not { } form || !model.IsTold(list))
            throw body.Wrong("tools", $"cannot be told to {model.Name}: its chat template has no place for them, or shows calls in a form "
                + "that is not known here (<tool_call>, [TOOL_CALLS], or Llama 3's JSON)", "unsupported_parameter");
        var taken = tools.Select((tool, i) => (Tool: tool, Path: $"tools[{i}].function.parameters")).ToArray();
        if (isNamed)
        {
            var name = choice!.Value.TryGetProperty("function", out var function) && function.ValueKind == JsonValueKind.Object
                && function.TryGetProperty("name", out var called) ? RequestBody.TextOf(called, "tool_choice.function.name")
                : throw body.Wrong("tool_choice", "must be an object with type and function.name");
            taken = [.. taken.Where(one => one.Tool.Name == name)];
            if (taken.Length == 0)
                throw body.Wrong("tool_choice", $"names {(name.Length > 64 ? name[..64] + "…" : name)}, which is none of the tools");
        }
        var key = JsonSerializer.Serialize(taken.Select(one => one.Tool));
        // Of tools that are not strict only the name is held to, and that the arguments are an object.
        return new(tools, list.Clone(), word != "auto" ? model.Grammar($"call {word} {key}", () => form.OneOf(taken))
            : tools.Any(tool => tool.IsStrict) ? model.Grammar($"calls {key}", () => form.Within([.. taken.Select(one =>
                one.Tool.IsStrict ? one : (one.Tool with { Parameters = null }, one.Path))])) : null, several);
    }

    private static Tool One(JsonElement tool, string path)
    {
        if (tool.ValueKind != JsonValueKind.Object || !tool.TryGetProperty("type", out var type)
            || type.ValueKind != JsonValueKind.String || !type.ValueEquals("function")
            || !tool.TryGetProperty("function", out var function) || function.ValueKind != JsonValueKind.Object
            || !function.TryGetProperty("name", out var called))
            throw ApiException.Bad(path, $"{path} must be an object with type: function and a function with a name");
        var name = RequestBody.TextOf(called, $"{path}.function.name");
        if (!Name().IsMatch(name))
            throw ApiException.Bad($"{path}.function.name", $"{path}.function.name may have letters, digits, _ and - , at most 64");
        if (function.TryGetProperty("strict", out var strict)
            && strict.ValueKind is not (JsonValueKind.True or JsonValueKind.False or JsonValueKind.Null))
            throw ApiException.Bad($"{path}.function.strict", $"{path}.function.strict is {RequestBody.Shown(strict)}, but must be true or "
                + "false");
        foreach (var field in function.EnumerateObject())
            if (field.Name is not ("name" or "description" or "parameters" or "strict"))
                throw ApiException.Bad($"{path}.function.{field.Name}", $"{path}.function.{field.Name} is not known here",
                    "unknown_parameter");
        return new(name, function.TryGetProperty("parameters", out var parameters) && parameters.ValueKind != JsonValueKind.Null
            ? parameters.Clone() : null, strict.ValueKind == JsonValueKind.True);
    }

    [GeneratedRegex(@"\A[A-Za-z0-9_-]{1,64}\z")]
    private static partial Regex Name();
}
